"""The provider's own form, as the stub has it: card numbers are typed into a frame of the provider's, on a phone."""

import re

import pytest
from playwright.sync_api import expect

from client import ok
from page_fixtures import PHONE, Visitor
from conftest import new_organizer
from stack import Stack, until
from test_page import heading

KEY = "pk_test_of_the_stub"


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A stack whose page shows the provider's form."""
    stack = Stack(tmp_path_factory.mktemp("form") / "state")
    try:
        stack.up(ONSALE_PAYMENT_PUBLISHABLE_KEY=KEY, ONSALE_PAYMENT_ACTION_SECONDS="6")
        yield stack
    finally:
        stack.remove()


@pytest.fixture
def buyer(chromium, shop):
    """A visitor on a phone whose browser says what it sent where."""
    complaints, sent = [], []
    visitor = Visitor(chromium, shop.url, complaints, viewport=PHONE, has_touch=True)
    visitor.page.on("request", lambda request: sent.append((request.url, request.post_data or "")))
    visitor.sent = sent
    yield visitor
    visitor.context.close()
    assert not complaints, complaints


@pytest.fixture
def event(shop):
    sections = [{"name": "Stalls", "price": 8000, "rows": [{"row": row, "seats": 15} for row in "AB"]}]
    return new_organizer(shop).create_event(sections, currency="EUR", hold_seconds=60)


def checkout(buyer, event):
    page = buyer.register().goto(f"/event/{event}")
    page.get_by_role("button", name="Get tickets").click()
    expect(heading(page, "Your 2 tickets are held")).to_be_visible()
    expect(page.frame_locator("iframe[title='Card details']").get_by_label("Card number")).to_be_visible()
    return page


def type_card(page, number, expiry="12 / 39", code="123"):
    frame = page.frame_locator("iframe[title='Card details']")
    frame.get_by_label("Card number").press_sequentially(number)
    frame.get_by_label("Expiry").press_sequentially(expiry.replace(" / ", ""))
    frame.get_by_label("Security code").press_sequentially(code)
    expect(frame.get_by_label("Expiry")).to_have_value(expiry)


def pay(page):
    page.get_by_role("button", name=re.compile("^Pay ")).click()


def statuses(shop, event):
    """How the payments of an event have ended, once all of them have."""
    from client import Client

    provider = Client(shop.settings["ONSALE_PAYMENT_URL"], shop.settings["ONSALE_PAYMENT_KEY"])

    def found():
        payments = ok(provider.get("/v1/payment_intents", limit=100))["data"]
        own = sorted(p["status"] for p in payments if p["metadata"].get("onsale_event") == str(event))
        return own if own and set(own) <= {"succeeded", "canceled"} else None

    return until(found, 40, "everything at the provider to be closed")


def expect_numbers_at_the_provider_alone(shop, buyer, *numbers):
    provider = shop.settings["ONSALE_PAYMENT_URL"]
    for number in numbers:
        spelled = re.compile(r"\D*".join(number))
        seen = [url for url, body in buyer.sent if spelled.search(body) or spelled.search(url)]
        assert seen and all(url.startswith(provider + "/") for url in seen), seen
        for log in (shop.state / "log").glob("*"):
            assert not spelled.search(log.read_text(errors="replace")), log.name


def test_who_types_a_card_has_paid(shop, buyer, event, pictures):
    page = checkout(buyer, event)
    pictures(page, "form")
    assert page.get_by_text("test card").count() == 0 and page.get_by_role("radio").count() == 0
    type_card(page, "4242424242424242")
    pictures(page, "typed")
    pay(page)
    expect(heading(page, "They are yours")).to_be_visible()
    assert statuses(shop, event) == ["succeeded"]
    expect_numbers_at_the_provider_alone(shop, buyer, "4242424242424242")
    policy = ok_policy(page, shop.url)
    provider = shop.settings["ONSALE_PAYMENT_URL"]
    assert f"script-src 'self' {provider};" in policy and f"frame-src {provider}" in policy
    assert "connect-src 'self';" in policy


def ok_policy(page, url):
    answer = page.request.get(url + "/tickets")
    assert answer.status == 200
    return answer.headers["content-security-policy"]


def test_a_card_that_is_refused_may_be_followed_by_another(shop, buyer, event, pictures):
    page = checkout(buyer, event)
    type_card(page, "4000000000009995")
    pay(page)
    expect(page.get_by_text("Your card has not enough money for this. Nothing was charged.")).to_be_visible()
    pictures(page, "refused")
    frame = page.frame_locator("iframe[title='Card details']")
    expect(frame.get_by_label("Card number")).to_be_visible()
    for name in ("Card number", "Expiry", "Security code"):
        frame.get_by_label(name).fill("")
    type_card(page, "5555555555554444")
    pay(page)
    expect(heading(page, "They are yours")).to_be_visible()
    assert statuses(shop, event) == ["canceled", "succeeded"]
    expect_numbers_at_the_provider_alone(shop, buyer, "4000000000009995", "5555555555554444")


def test_what_was_mistyped_is_said_beside_the_fields(shop, buyer, event, pictures):
    page = checkout(buyer, event)
    pay(page)
    frame = page.frame_locator("iframe[title='Card details']")
    expect(frame.get_by_role("alert")).to_have_text("Your card's details are incomplete.")
    type_card(page, "4242424242424241")
    pay(page)
    expect(frame.get_by_role("alert")).to_have_text("Your card number is invalid.")
    expect(page.get_by_role("alert").filter(has_text="Your card number is invalid.")).to_be_visible()
    pictures(page, "mistyped")
    frame.get_by_label("Card number").fill("4242 4242 4242 4242")
    pay(page)
    expect(heading(page, "They are yours")).to_be_visible()
    assert statuses(shop, event) == ["succeeded"]


def test_who_types_another_card_while_offline_pays_with_that(shop, buyer, event):
    page = checkout(buyer, event)
    type_card(page, "4242424242424242")
    page.evaluate("Object.defineProperty(navigator, 'onLine', { configurable: true, get: () => false })")
    page.route("**/api/ticket/confirm", lambda route: route.abort())
    pay(page)
    expect(page.get_by_text("You are offline. Your seats stay held")).to_be_visible()
    page.unroute("**/api/ticket/confirm")
    page.evaluate("delete navigator.onLine")
    page.frame_locator("iframe[title='Card details']").get_by_label("Card number").fill("5555 5555 5555 4444")
    pay(page)
    expect(heading(page, "They are yours")).to_be_visible()
    tokens = [body for url, body in buyer.sent if url.endswith("/stub/confirmation_tokens")]
    assert len(tokens) == 2 and "5555" in tokens[1], "the card that was typed first was charged"
    assert statuses(shop, event) == ["succeeded"]


def test_a_form_whose_script_is_something_else_says_so(buyer, event):
    buyer.page.route("**/stub/stripe.js", lambda route: route.fulfill(body="", content_type="text/javascript"))
    page = buyer.register().goto(f"/event/{event}")
    page.get_by_role("button", name="Get tickets").click()
    expect(page.get_by_text("The payment form could not be loaded. Load this page again")).to_be_visible()


def test_the_form_has_the_colours_of_the_page_around_it(chromium, shop, event):
    complaints = []
    visitor = Visitor(chromium, shop.url, complaints, viewport=PHONE, color_scheme="dark")
    try:
        page = checkout(visitor, event)
        number = page.frame_locator("iframe[title='Card details']").get_by_label("Card number")
        for scheme in ("dark", "light"):
            page.emulate_media(color_scheme=scheme)
            ink = page.evaluate("getComputedStyle(document.body).color")
            card = page.evaluate(
                "(() => { const probe = document.body.appendChild(document.createElement('i'));"
                "probe.style.color = 'var(--card)'; const { color } = getComputedStyle(probe); probe.remove(); return color })()"
            )
            expect(number).to_have_css("color", ink)
            expect(number).to_have_css("background-color", card)
    finally:
        visitor.context.close()
    assert not complaints, complaints


def to_the_bank(buyer, event):
    page = checkout(buyer, event)
    type_card(page, "4000000000003220")
    pay(page)
    expect(heading(page, "Your bank wants to hear from you")).to_be_visible()
    return page


def test_whose_bank_says_yes_has_paid(shop, buyer, event, pictures):
    page = to_the_bank(buyer, event)
    pictures(page, "bank")
    page.get_by_role("link", name="Continue to your bank").click()
    page.get_by_role("button", name="Yes, pay").click()
    expect(heading(page, "They are yours")).to_be_visible()
    assert statuses(shop, event) == ["succeeded"]


def test_whose_bank_says_no_types_another(shop, buyer, event):
    page = to_the_bank(buyer, event)
    page.get_by_role("link", name="Continue to your bank").click()
    page.get_by_role("button", name="No").click()
    expect(page.get_by_text("Your bank was not convinced that it is you. Nothing was charged.")).to_be_visible()
    type_card(page, "4242424242424242")
    pay(page)
    expect(heading(page, "They are yours")).to_be_visible()
    assert statuses(shop, event) == ["canceled", "succeeded"]


def test_who_walks_away_from_their_bank_is_not_charged(shop, buyer, event):
    page = to_the_bank(buyer, event)
    page.get_by_role("link", name="Continue to your bank").click()
    expect(heading(page, "Is this you?")).to_be_visible()
    assert statuses(shop, event) == ["canceled"]
    page.go_back()
    told = page.get_by_text("Your bank wanted to ask you first, and that did not happen. Nothing was charged.")
    expect(told).to_be_visible(timeout=40_000)
    type_card(page, "4242424242424242")
    pay(page)
    expect(heading(page, "They are yours")).to_be_visible()
    assert statuses(shop, event) == ["canceled", "succeeded"]
