"""What systems outside are told, checked with the library that Standard Webhooks publishes."""

import http.server
import json
import random
import threading
import time

import pytest
import standardwebhooks

from client import VISA, ok
from conftest import new_buyer
from stack import until


class Shop(http.server.ThreadingHTTPServer):
    """A system outside, which notes what it is told and answers as it is told to."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.heard = []
        self.paths = []
        # Status, or function of the path and the message.
        self.answer = lambda path, message: 204
        self.headers = {}
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def of(self, event, *types):
        with self.lock:
            heard = list(self.heard)
        return [
            message for message in heard
            if message["body"]["data"].get("event_id") == event and (not types or message["body"]["type"] in types)
        ]  # fmt: skip


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        message = {"headers": headers, "raw": raw, "body": json.loads(raw), "path": self.path}
        status = self.server.answer(self.path, message)
        message["status"] = status
        with self.server.lock:
            self.server.heard.append(message)
        self.send_response(status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        self.server.paths.append(self.path)
        self.send_error(404)

    def log_message(self, *_):
        pass


@pytest.fixture
def shop():
    shop = Shop()
    yield shop
    shop.shutdown()
    shop.server_close()


@pytest.fixture
def listen(stack):
    """Adds an endpoint for the time of the test; returns its number and its secret."""
    added = []

    def add(url, *options):
        lines = stack.admin("webhooks", "add", url, *options).splitlines()
        number = int(lines[0].split()[1])
        added.append(number)
        # A worker looks for endpoints once a second.
        time.sleep(2)
        return number, lines[1]

    yield add
    for number in added:
        stack.admin("webhooks", "remove", number)


def verified(message, secret):
    return standardwebhooks.Webhook(secret).verify(message["raw"], message["headers"])


def test_a_sale_is_told_and_signed(stack, organizer, buyer, shop, listen):
    _, secret = listen(shop.url + "/hook?token=s3cr3t")
    sections = [{"name": "Floor", "price": 2500, "rows": [{"row": "A", "seats": 4}]}]
    event = organizer.create_event(sections=sections, hold_seconds=60)
    held = buyer.hold(event, 2)
    ok(buyer.confirm(held["request_id"]), 202)
    bought = buyer.await_state(held["request_id"], "purchased")
    until(lambda: shop.of(event, "purchase.completed"), what="the message")
    messages = shop.of(event)
    assert [m["body"]["type"] for m in messages if m["body"]["data"].get("request_id")] == ["hold.granted", "purchase.completed"]
    for message in messages:
        assert verified(message, secret)["type"] == message["body"]["type"]
        assert message["headers"]["content-type"] == "application/json"
        assert abs(int(message["headers"]["webhook-timestamp"]) - time.time()) < 60
        assert message["headers"]["webhook-id"].startswith("msg_")
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        verified(messages[0], "whsec_" + "A" * 32)
    states = [m["body"]["data"] for m in messages if m["body"]["type"] == "event.state"]
    assert [(s["state_before"], s["state"]) for s in states] == [("draft", "open")]
    sale = shop.of(event, "purchase.completed")[0]["body"]["data"]
    assert sale["request_id"] == held["request_id"] and sale["user_id"] == buyer.user
    assert (sale["amount"], sale["currency"]) == (5000, "USD") and sale["payment_id"].startswith("pi_")
    assert [(t["section"], t["row"], t["price"]) for t in sale["tickets"]] == [("Floor", "A", 2500)] * 2
    assert {t["id"] for t in sale["tickets"]} == {t["id"] for t in bought["tickets"]}
    hold = shop.of(event, "hold.granted")[0]["body"]["data"]
    assert hold["request_id"] == held["request_id"] and hold["expires_at"].endswith("Z") and hold["amount"] == 5000
    # Neither secrets nor addresses, which may contain some, are in a log.
    for log in (stack.state / "log").glob("*"):
        text = log.read_text(errors="replace")
        assert secret not in text and "s3cr3t" not in text, log.name


def test_who_writes_to_buyers_hears_that_their_event_moved(organizer, shop, listen):
    event = organizer.create_event(name="Moved About")
    draft = organizer.create_event(name="Not Yet Told", open=False)
    listen(shop.url, "--types", "event.moved,event.state")
    path = f"/api/admin/events/{event}"
    moved = "2031-06-20T19:30:00Z"
    # Nobody has bought of a draft, and a description moves nothing.
    ok(organizer.call("PUT", f"/api/admin/events/{draft}", {"date": moved}))
    ok(organizer.call("PUT", path, {"description": "As it was."}))
    ok(organizer.post(f"{path}/postpone"))
    ok(organizer.call("PUT", path, {"date": moved, "location": "Usher Hall"}))
    until(lambda: len(shop.of(event, "event.moved")) == 2, what="both messages")
    told = [m["body"]["type"] for m in shop.of(event)]
    assert told == ["event.moved", "event.state", "event.moved"], told
    postponed, dated = (m["body"]["data"] for m in shop.of(event, "event.moved"))
    assert postponed["postponed"] is True and postponed["date"] == postponed["date_before"] == "2031-05-20T19:30:00Z"
    assert (dated["postponed"], dated["date"], dated["date_before"]) == (False, moved, "2031-05-20T19:30:00Z"), dated
    assert (dated["location"], dated["location_before"]) == ("Usher Hall", "Town Hall, Springfield"), dated
    assert not shop.of(draft)


def test_holds_that_end_and_a_hall_that_is_full_are_told(organizer, buyer, other_buyer, shop, listen):
    event = organizer.create_event(sections=[{"name": "GA", "price": 100, "capacity": 2}], hold_seconds=10)
    listen(shop.url, "--events", str(event))
    expired = buyer.hold(event)
    cancelled = other_buyer.hold(event)
    ok(other_buyer.cancel(cancelled["request_id"]))
    until(lambda: len(shop.of(event, "hold.expired")) == 2, 30, "both ends")
    reasons = {m["body"]["data"]["request_id"]: m["body"]["data"]["reason"] for m in shop.of(event, "hold.expired")}
    assert reasons == {expired["request_id"]: "expired", cancelled["request_id"]: "cancelled"}
    buyer.buy(event, 2)
    until(lambda: shop.of(event, "event.sold_out"), what="the full hall")
    ok(organizer.post(f"/api/admin/events/{event}/close"))
    until(lambda: [m["body"]["data"]["state"] for m in shop.of(event, "event.state")] == ["closed"], what="the close")


def test_what_is_not_taken_comes_again_in_order_of_its_request(stack, organizer, shop, listen):
    event = organizer.create_event(sections=[{"name": "GA", "price": 100, "capacity": 40}])
    listen(shop.url, "--events", str(event), "--types", "hold.granted,purchase.completed")
    refused = set()
    order = random.Random(7)

    def answer(path, message):
        time.sleep(order.random() / 20)
        if message["headers"]["webhook-id"] in refused or order.random() < 0.8:
            return 200
        refused.add(message["headers"]["webhook-id"])
        return 500

    shop.answer = answer
    buyers = [new_buyer(stack) for _ in range(20)]
    places = [ok(each.reserve(event, payment_method=VISA), 202)["request_id"] for each in buyers]
    for each, place in zip(buyers, places, strict=True):
        each.await_state(place, "purchased", seconds=30)
    until(lambda: len([m for m in shop.of(event) if m["status"] == 200]) >= 40, 60, "all messages")
    assert refused, "nothing was refused"
    for place in places:
        sent = [m for m in shop.of(event) if m["body"]["data"]["request_id"] == place]
        taken = [m["body"]["type"] for m in sent if m["status"] == 200]
        assert taken == ["hold.granted", "purchase.completed"]
        tries = [m["body"]["type"] for m in sent]
        assert tries == sorted(tries), f"a purchase was told before its hold: {tries}"
    until(lambda: "waiting  0" in stack.admin("webhooks", "list"), what="an empty outbox")


def test_a_secret_rotates_without_a_gap(stack, organizer, buyer, shop, listen):
    event = organizer.create_event()
    number, first = listen(shop.url, "--events", str(event), "--types", "purchase.completed")
    second = stack.admin("webhooks", "rotate", number).splitlines()[0]
    time.sleep(2)
    buyer.buy(event)
    message = until(lambda: shop.of(event), what="the message")[0]
    assert verified(message, first) and verified(message, second)
    assert len(message["headers"]["webhook-signature"].split()) == 2
    assert second not in stack.admin("webhooks", "list")


def test_one_endpoint_that_is_away_keeps_no_other_waiting(stack, organizer, buyer, shop, listen):
    event = organizer.create_event(sections=[{"name": "GA", "price": 100, "capacity": 40}])
    dead, _ = listen("http://127.0.0.1:9/", "--events", str(event), "--types", "purchase.completed")
    inside, _ = listen("https://10.255.255.1/", "--events", str(event), "--types", "purchase.completed")
    listen(shop.url, "--events", str(event), "--types", "purchase.completed")
    for _ in range(5):
        new_buyer(stack).buy(event)
    until(lambda: len(shop.of(event)) == 5, what="messages to the one that is there")
    shown = stack.admin("webhooks", "list")
    assert shown.count("waiting  5") == 2 and shown.count("waiting  0") >= 1, shown
    # Neither is asked for more than a few messages.
    until(lambda: "connect_failed" in stack.log("worker-1") + stack.log("worker-2"), what="the failure")


def test_redirects_are_not_followed(organizer, buyer, shop, listen):
    event = organizer.create_event()
    listen(shop.url + "/here", "--events", str(event), "--types", "purchase.completed")
    shop.answer = lambda path, message: 302
    shop.headers = {"Location": shop.url + "/elsewhere"}
    buyer.buy(event)
    until(lambda: len(shop.of(event)) >= 2, what="another try")
    assert shop.paths == [] and {m["path"] for m in shop.of(event)} == {"/here"}
    assert len({m["headers"]["webhook-id"] for m in shop.of(event)}) == 1


def test_what_is_sold_is_told_again_by_hand(stack, organizer, buyer, shop, listen):
    event = organizer.create_event()
    buyer.buy(event)
    number, _ = listen(shop.url, "--events", str(event), "--types", "purchase.completed")
    assert stack.admin("webhooks", "resend", number, event).startswith("1 purchases")
    first = until(lambda: shop.of(event), what="the message")[0]
    stack.admin("webhooks", "resend", number, event)
    until(lambda: len(shop.of(event)) == 2, what="the message once more")
    second = shop.of(event)[1]
    assert first["headers"]["webhook-id"] == second["headers"]["webhook-id"] and first["raw"] == second["raw"]


def test_who_adds_an_endpoint_is_told_what_is_wrong(stack):
    for arguments, words in [
        (["http://shop.example/"], "https://"),
        (["https://a:b@shop.example/"], "no user"),
        (["https://shop.example/", "--types", "purchase.done"], "purchase.completed"),
        (["https://shop.example/", "--events", "x"], "not the id of an event"),
    ]:
        result = stack.onsale("admin", "webhooks", "add", *arguments, check=False)
        assert result.returncode == 64 and words in result.stderr, result.stderr
    assert stack.onsale("admin", "webhooks", "rotate", "999", check=False).returncode == 1
    assert stack.onsale("admin", "webhooks", "replay", "999", "all", check=False).returncode == 1
