"""Accounts by mail: what is sent, to whom, and that it comes whatever fails meanwhile."""

import email.utils
import os
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.sync_api import expect

from client import Client, ok, problem
from page_checks import accessibility, overflowing, small_targets
from page_fixtures import PHONE, Visitor
from postbox import Postbox, certificate, link
from stack import Stack, alive, until

PASSWORD = "correct horse battery"
FROM = "Bühne & Co <tickets@onsale.example>"


@pytest.fixture(scope="module")
def postbox():
    box = Postbox(users={"onsale": "a secret: p@ss/word"}).start()
    yield box
    box.stop()


@pytest.fixture(scope="module")
def settings(postbox):
    return {
        "ONSALE_MAIL_URL": f"smtp://onsale:a%20secret%3A%20p%40ss%2Fword@127.0.0.1:{postbox.port}",
        "ONSALE_MAIL_FROM": FROM,
    }


@pytest.fixture(scope="module")
def mailing(tmp_path_factory, settings):
    stack = Stack(tmp_path_factory.mktemp("mailing") / "state", workers=1)
    try:
        stack.up(**settings)
        yield stack
    finally:
        stack.remove()


@pytest.fixture
def anyone(mailing):
    return Client(mailing.url)


@pytest.fixture
def address():
    return f"{os.urandom(6).hex()}@example.com"


@pytest.fixture
def visitor(chromium, mailing):
    complaints = []
    visitor = Visitor(chromium, mailing.url, complaints, viewport=PHONE)
    yield visitor
    visitor.context.close()
    assert not complaints, complaints


def sign_up(anyone, address, password=PASSWORD):
    return anyone.post("/api/users", {"name": "Mina", "email": address, "password": password})


def make(anyone, postbox, address):
    """An account whose address is confirmed."""
    ok(sign_up(anyone, address), 202)
    _, token = link(postbox.await_mail(address))
    return ok(anyone.post("/api/users/confirm", {"token": token, "password": PASSWORD}), 201)


def test_a_mail_is_one_that_every_server_takes_and_nobody_answers(mailing, anyone, postbox, address):
    answer = sign_up(anyone, address)
    assert ok(answer, 202) == {"state": "mailed"}
    mail = postbox.await_mail(address)
    assert not mail.defects and not any(header.defects for header in mail.values())
    assert mail["To"] == address and mail["From"] == FROM
    assert mail["From"].addresses[0].addr_spec == "tickets@onsale.example"
    assert mail.get_content_type() == "text/plain" and mail.get_content_charset() == "utf-8"
    assert mail["Content-Transfer-Encoding"] in ("quoted-printable", "base64")
    assert mail["Auto-Submitted"] == "auto-generated" and mail["MIME-Version"] == "1.0"
    assert re.fullmatch(r"<[0-9a-f-]{36}@onsale\.example>", mail["Message-ID"])
    assert abs(email.utils.parsedate_to_datetime(mail["Date"]).timestamp() - time.time()) < 600
    raw = next(content for _, to, content in postbox.envelopes if address in to)
    assert raw.isascii() and all(len(line) <= 998 and not line.startswith(b".") for line in raw.split(b"\r\n"))
    assert b"\n" not in raw.replace(b"\r\n", b"")
    url, token = link(mail)
    # Behind "#", which no server gets to see.
    assert url == f"{mailing.url}/account?mode=confirm#{token}"
    assert postbox.sessions and postbox.logins[-1][0] == "onsale"


def test_sign_up_tells_nobody_whether_there_is_an_account(anyone, postbox, address):
    session = make(anyone, postbox, address)
    assert session["token"]
    new = f"new-{address}"
    answers = [sign_up(anyone, each) for each in (address, new)]
    ignored = {"Date", "Content-Length"}
    assert len({(a.status_code, a.text, str({k: v for k, v in a.headers.items() if k not in ignored})) for a in answers}) == 1
    assert "already" in postbox.await_mail(address, 2)["Subject"]
    assert "Confirm" in postbox.await_mail(new)["Subject"]
    # The account is as it was.
    ok(anyone.post("/api/sessions", {"email": address, "password": PASSWORD}))
    problem(anyone.post("/api/sessions", {"email": new, "password": PASSWORD}), 401, "wrong_credentials")


@pytest.mark.parametrize("name", ["x\r\nBcc: spy@example.com", "x\nBcc: spy@example.com", "x\0", "\u2028"])
def test_no_name_gets_into_a_mail(anyone, postbox, address, name):
    answer = anyone.post("/api/users", {"name": name, "email": address, "password": PASSWORD})
    assert answer.status_code in (202, 400)
    words = {"name": "Free money at evil.example", "email": address, "password": PASSWORD}
    ok(anyone.post("/api/users", words), 202)
    mail = postbox.await_mail(address)
    assert "evil" not in mail.as_string() and "Bcc" not in mail
    assert not postbox.mails("spy@example.com")


@pytest.mark.parametrize("bad", ["a>@example.com", "a@example.com>\r\nRCPT TO:<spy@example.com", '"a b"@example.com', "a@[::1]"])
def test_no_address_says_anything_to_the_mail_server(anyone, bad):
    problem(anyone.post("/api/password/reset", {"email": bad}), 400, "invalid_field")
    problem(sign_up(anyone, bad), 400, "invalid_field")


def test_addresses_of_any_script_get_their_mail(anyone, postbox):
    address = f"mina-{os.urandom(4).hex()}-ü@example.com"
    ok(sign_up(anyone, address), 202)
    mail = postbox.await_mail(address)
    assert not mail.defects and "undisclosed" in str(mail["To"])
    link(mail)


def test_a_password_is_set_anew_by_mail(anyone, mailing, postbox, address):
    session = make(anyone, postbox, address)
    answers = [anyone.post("/api/password/reset", {"email": each}) for each in (address, f"nobody-{address}")]
    assert {(a.status_code, a.text) for a in answers} == {(202, '{"state":"mailed"}')}
    _, token = link(postbox.await_mail(address, 2))
    problem(anyone.post("/api/password", {"token": token[:-1] + "A", "password": "another good one"}), 410, "link_ended")
    ok(anyone.post("/api/password", {"token": token, "password": "another good one"}))
    problem(anyone.post("/api/password", {"token": token, "password": "a third good one"}), 410, "link_ended")
    problem(anyone.post("/api/sessions", {"email": address, "password": PASSWORD}), 401)
    ok(anyone.post("/api/sessions", {"email": address, "password": "another good one"}))
    problem(Client(mailing.url, session["token"]).get("/api/me/tickets"), 401, "session_ended")
    assert not postbox.mails(f"nobody-{address}")


def at_once(count, call):
    """The statuses of so many calls that come at the same moment, each on a connection of its own."""
    gate = threading.Barrier(count)

    def go(number):
        gate.wait(20)
        return call(number).status_code

    with ThreadPoolExecutor(count) as pool:
        return sorted(pool.map(go, range(count)))


def test_whoever_comes_at_the_same_moment_one_of_them_counts(mailing, postbox, address):
    client = Client(mailing.url)
    ok(sign_up(client, address), 202)
    _, token = link(postbox.await_mail(address))
    confirm = {"token": token, "password": PASSWORD}
    statuses = at_once(8, lambda _: Client(mailing.url).post("/api/users/confirm", confirm))
    assert statuses[0] == 201 and set(statuses[1:]) == {410}, statuses

    ok(client.post("/api/password/reset", {"email": address}), 202)
    _, token = link(postbox.await_mail(address, 2))

    def choose(number):
        return Client(mailing.url).post("/api/password", {"token": token, "password": f"chosen by number {number}"})

    statuses = at_once(8, choose)
    assert statuses[0] == 200 and set(statuses[1:]) == {410}, statuses
    works = [
        number for number in range(8)
        if client.post("/api/sessions", {"email": address, "password": f"chosen by number {number}"}).status_code == 200
    ]  # fmt: skip
    assert len(works) == 1

    former = f"chosen by number {works[0]}"
    sessions = [ok(client.post("/api/sessions", {"email": address, "password": former})) for _ in range(6)]

    def change(number):
        thief = Client(mailing.url, sessions[number]["token"])
        return thief.post("/api/me/password", {"current_password": former, "password": f"changed by number {number}"})

    statuses = at_once(6, change)
    assert statuses[0] == 200 and set(statuses[1:]) <= {401, 403}, statuses
    # No session of before goes on, however it came by.
    for session in sessions:
        problem(Client(mailing.url, session["token"]).get("/api/me/tickets"), 401, "session_ended")
        again = client.post("/api/sessions/refresh", {"refresh_token": session["refresh_token"]})
        problem(again, 401, "session_ended")


def test_mails_come_once_their_server_is_back_and_secrets_are_in_no_log(anyone, mailing, postbox, address, settings):
    postbox.refusals = ["451 later", "550 no such person"]
    postbox.data_refusals = ["421 going away"]
    ok(sign_up(anyone, address), 202)
    # Refused twice and once more after it was there: taken in the end.
    _, token = link(postbox.await_mail(address, seconds=120))
    ok(anyone.post("/api/users/confirm", {"token": token, "password": PASSWORD}), 201)
    # Nobody listens while it is asked for, and the process that would send it is killed.
    postbox.stop()
    ok(anyone.post("/api/password/reset", {"email": address}), 202)
    until(lambda: "a mail could not be sent" in mailing.log("indexer-1"), what="a try")
    pid = mailing.pid("indexer-1")
    mailing.kill("indexer-1")
    assert not alive(pid)
    postbox.start()
    mailing.up(**settings)
    _, token = link(postbox.await_mail(address, 2, seconds=120))
    metrics = mailing.metrics("indexer-1")
    assert 'onsale_mails_total{outcome="sent"}' in metrics and "onsale_mails_waiting" in metrics
    logs = mailing.log_ends() + "".join(mailing.log(name) for name in ("indexer-1", "serve-1")) + metrics
    for secret in ("p@ss", "p%40ss", token, address, PASSWORD):
        assert secret not in logs


def own_address():
    """One of this machine's that is not loopback."""
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return probe.getsockname()[0]
        except OSError:
            return None


def test_elsewhere_than_on_this_machine_nothing_is_said_without_tls(mailing, anyone, postbox, tmp_path, settings):
    host = own_address()
    if not host:
        pytest.skip("this machine has no address but loopback")
    # Without STARTTLS, and with a certificate that nobody vouches for.
    for starttls in (False, True):
        server = certificate(tmp_path, "mail.example.com")
        refused(mailing, anyone, Postbox(host=host, users={"onsale": "x"}, starttls=starttls, certificate=server))
    mailing.down()
    mailing.up(**settings)


def refused(mailing, anyone, other):
    """Has mail sent to a server that must not be told anything."""
    other.start()
    try:
        mailing.down()
        mailing.up(ONSALE_MAIL_URL=f"smtp://onsale:x@{other.host}:{other.port}", ONSALE_MAIL_FROM=FROM)
        ok(sign_up(anyone, f"{os.urandom(6).hex()}@example.com"), 202)
        until(lambda: other.sessions, what="a greeting")
        until(lambda: re.search(r"mail_failures_total [1-9]", mailing.metrics("indexer-1")), what="a failure")
        assert not other.envelopes and not other.logins
    finally:
        other.stop()


# --- The page ---


def check(page):
    assert not accessibility(page), accessibility(page)
    assert not overflowing(page), overflowing(page)
    assert not small_targets(page), small_targets(page)


def test_an_account_is_made_and_its_password_is_set_anew_on_a_phone(visitor, postbox, address):
    page = visitor.goto("/account?mode=register")
    requests = []
    page.on("request", lambda request: requests.append((request.url, request.headers.get("referer", ""))))
    page.get_by_label("Name").fill("Mina")
    page.get_by_label("Email").fill(address)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Create account").click()
    expect(page.get_by_role("status").filter(has_text="We have sent a mail")).to_be_visible()
    check(page)

    url, token = link(postbox.await_mail(address))
    page.goto(url)
    expect(page.get_by_role("heading", name="Confirm your address")).to_be_visible()
    assert token not in page.url
    check(page)
    page.get_by_label("Password").fill("not the one chosen")
    page.get_by_role("button", name="Confirm the address").click()
    expect(page.get_by_label("Password")).to_have_accessible_description(re.compile("not the one that was chosen"))
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Confirm the address").click()
    expect(page.get_by_role("link", name="My tickets")).to_be_visible()

    page.goto(f"{visitor.site}/account")
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("link", name="Forgot your password?").click()
    expect(page.get_by_role("heading", name="Forgot your password?")).to_be_visible()
    check(page)
    page.get_by_label("Email").fill(address)
    page.get_by_role("button", name="Send the link").click()
    expect(page.get_by_role("status").filter(has_text="a mail is on its way")).to_be_visible()
    url, second = link(postbox.await_mail(address, 2))
    page.goto(url)
    expect(page.get_by_role("heading", name="Choose a new password")).to_be_visible()
    assert second not in page.url
    check(page)
    page.get_by_label("New password").fill("another good one")
    page.get_by_role("button", name="Set the password").click()
    expect(page.get_by_role("link", name="My tickets")).to_be_visible()
    # The link was used.
    page.goto(url)
    page.get_by_label("New password").fill("a third good one")
    page.get_by_role("button", name="Set the password").click()
    expect(page.get_by_role("alert").filter(has_text="This link was used")).to_be_visible()
    check(page)
    for each in (token, second):
        assert not [entry for entry in requests if each in entry[0].split("#")[0] or each in entry[1]]


def test_without_mail_nothing_on_the_page_promises_one(visit, stack, anyone):
    page = visit().goto("/account")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    expect(page.get_by_role("link", name="Forgot your password?")).to_have_count(0)
    problem(Client(stack.url).post("/api/password/reset", {"email": "a@example.com"}), 404, "no_mail")
