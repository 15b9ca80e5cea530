"""Whose bank says yes after the hold is over: the same seats if nobody else has them, else nothing, and told so."""

import subprocess

import pytest
from playwright.sync_api import expect

from client import Client, ok, problem
from conftest import new_buyer, new_organizer
from page_fixtures import PHONE, Visitor
from stack import Stack, until
from test_bank import ASKS_ITS_BANK
from test_page import choose_seats, heading, pay


@pytest.fixture
def shop(tmp_path):
    """A stack that waits for banks for a moment only, and each of whose workers fails with its first cancel."""
    stack = Stack(tmp_path / "state")
    try:
        stack.up(ONSALE_PAYMENT_ACTION_SECONDS="2", ONSALE_FAULT="confirm.void:before:error:1")
        yield stack
    finally:
        stack.remove()


@pytest.fixture
def late(chromium, shop, pictures):
    """A buyer who is at their bank while their hold ends: the event, the page and the request."""
    visitors, complaints = [], []

    def new(rows=1, agrees=False):
        sections = [{"name": "Stalls", "price": 8000, "rows": [{"row": row, "seats": 2} for row in "AB"[:rows]]}]
        event = new_organizer(shop).create_event(sections, currency="EUR", hold_seconds=10)
        visitor = Visitor(chromium, shop.url, complaints, viewport=PHONE, has_touch=True)
        visitors.append(visitor)
        page = visitor.register().goto(f"/event/{event}")
        page.get_by_role("button", name="Get tickets").click()
        expect(heading(page, "Your 2 tickets are held")).to_be_visible()
        request = page.url.rsplit("/", 1)[-1]
        box = page.get_by_role("checkbox", name="as good ones of the same section")
        expect(box).not_to_be_checked()
        if agrees:
            box.check()
            pictures(page, "agrees")
        pay(page, ASKS_ITS_BANK)
        page.get_by_role("link", name="Continue to your bank").click()
        expect(heading(page, "Is this you?")).to_be_visible()

        def is_over():
            answer = ok(visitor.client.get(f"/api/request/{request}"))
            return answer["state"] == "declined" and "expires_at" not in answer

        until(is_over, 30, "the hold to be over")
        return event, page, visitor, request

    yield new
    for visitor in visitors:
        visitor.context.close()
    assert not complaints, complaints


def statuses(shop, event):
    """How the payments of an event have ended, once all of them have; what is left to be done is due now."""
    provider = Client(shop.settings["ONSALE_PAYMENT_URL"], shop.settings["ONSALE_PAYMENT_KEY"])

    def found():
        subprocess.run(
            ["psql", "-XAtq", "-c", "UPDATE outbox SET available_at = now()", shop.settings["ONSALE_DATABASE_URL"]], check=True
        )
        payments = ok(provider.get("/v1/payment_intents", limit=100))["data"]
        own = sorted(p["status"] for p in payments if p["metadata"].get("onsale_event") == str(event))
        return own if set(own) <= {"succeeded", "canceled"} else None

    return until(found, 60, "everything at the provider to be closed")


def test_seats_that_nobody_else_has_are_theirs(shop, late, pictures):
    event, page, _, request = late()
    page.go_back()
    expect(heading(page, "Your bank wanted to ask you first, and that did not happen")).to_be_visible()
    expect(page.get_by_text("Should your bank still say yes while they are free, and you have not asked again")).to_be_visible()
    pictures(page, "waiting")
    page.go_forward()
    page.get_by_role("button", name="Yes, pay").click()
    assert statuses(shop, event) == ["succeeded"]
    page.goto(f"{shop.url}/queue/{request}")
    expect(heading(page, "They are yours")).to_be_visible()
    pictures(page, "yours")


def test_the_page_hears_of_it_by_itself(shop, late):
    event, page, visitor, request = late()
    bank = page
    watching = visitor.open_tab()
    watching.goto(f"{shop.url}/queue/{request}")
    expect(heading(watching, "Your bank wanted to ask you first, and that did not happen")).to_be_visible()
    bank.get_by_role("button", name="Yes, pay").click()
    assert statuses(shop, event) == ["succeeded"]
    expect(heading(watching, "They are yours")).to_be_visible()


@pytest.mark.parametrize("agrees", (True, False))
def test_other_seats_are_for_who_agreed_to_them_alone(shop, late, pictures, agrees):
    event, page, visitor, request = late(rows=2, agrees=agrees)
    other = new_buyer(shop)
    taken = other.hold(event, 2)["request_id"]
    ok(other.confirm(taken, "pm_card_visa"), 202)
    other.await_state(taken, "purchased")
    page.get_by_role("button", name="Yes, pay").click()
    if not agrees:
        assert statuses(shop, event) == ["canceled", "succeeded"]
        told = ok(visitor.client.get(f"/api/request/{request}"))
        assert (told["state"], told["reason"]) == ("declined", "too_late")
        return
    assert statuses(shop, event) == ["succeeded", "succeeded"]
    told = ok(visitor.client.get(f"/api/request/{request}"))
    assert (told["state"], told["reason"], told["amount"]) == ("purchased", "other_seats", 16000)
    assert [ticket["row"] for ticket in told["tickets"]] == ["B", "B"]
    assert [ticket["row"] for ticket in ok(other.get(f"/api/request/{taken}"))["tickets"]] == ["A", "A"]
    page.goto(f"{shop.url}/queue/{request}")
    expect(heading(page, "They are yours")).to_be_visible()
    expect(page.get_by_text("These are others of the same section, as you agreed")).to_be_visible()
    pictures(page, "others")
    own = ok(visitor.client.get("/api/me/tickets"))["purchases"][0]
    assert own["other_seats"] and [ticket["row"] for ticket in own["tickets"]] == ["B", "B"]
    assert not ok(other.get("/api/me/tickets"))["purchases"][0]["other_seats"]
    page.goto(f"{shop.url}/tickets")
    expect(page.get_by_text("These are others of the same section, as you agreed")).to_be_visible()
    pictures(page, "my-tickets")
    shown = shop.admin("payment", request)
    assert "purchase   sold" in shown and "others     has them, as agreed" in shown, shown
    shop.onsale("audit")


def test_what_was_said_of_other_seats_is_not_taken_back_unheard(shop):
    event = new_organizer(shop).create_event(currency="EUR")
    buyer = new_buyer(shop)
    request = buyer.hold(event)["request_id"]
    said = {"request_id": request, "payment_method": "pm_card_threeDSecure2Required"}
    answer = ok(buyer.post("/api/ticket/confirm", {**said, "other_seats": True}), 202)
    assert answer == {"state": "confirming", "other_seats": "agreed"}
    # The same again is the same; otherwise it is told that another payment is under way than was asked for.
    assert ok(buyer.post("/api/ticket/confirm", {**said, "other_seats": True}), 202) == answer
    problem(buyer.post("/api/ticket/confirm", said), 409, "other_agreement")

    def is_noted():
        shown = shop.onsale("admin", "payment", request, check=False)
        return shown.returncode == 0 and "others     agreed" in shown.stdout

    until(is_noted, 20, "it to be kept with the purchase")


def test_seats_that_were_chosen_by_name_are_no_others(chromium, shop):
    sections = [{"name": "Stalls", "price": 8000, "rows": [{"row": "A", "seats": 2}]}]
    event = new_organizer(shop).create_event(sections, currency="EUR")
    buyer = new_buyer(shop)
    answer = ok(buyer.reserve(event, None, ticket_ids=[1]), 202)
    request = answer["request_id"]
    buyer.await_state(request, "reserved")
    said = {"request_id": request, "payment_method": "pm_card_visa", "other_seats": True}
    assert ok(buyer.post("/api/ticket/confirm", said), 202) == {"state": "confirming", "other_seats": "n/a"}
    buyer.await_state(request, "purchased")
    assert "others     n/a" in shop.admin("payment", request)
    # The page does not offer it either.
    complaints = []
    visitor = Visitor(chromium, shop.url, complaints, viewport=PHONE, has_touch=True)
    page = visitor.register().goto(f"/event/{event}")
    choose_seats(page, event, [("Stalls", "A", "2")])
    page.get_by_role("button", name="Get tickets").click()
    expect(heading(page, "Your ticket is held")).to_be_visible()
    expect(page.get_by_role("button", name="Pay ")).to_be_visible()
    expect(page.get_by_role("checkbox")).to_have_count(0)
    visitor.context.close()
    assert not complaints, complaints


def test_seats_that_somebody_else_has_are_not_charged(shop, late, pictures):
    event, page, visitor, request = late()
    other = new_buyer(shop)
    taken = other.hold(event, 2)["request_id"]
    ok(other.confirm(taken, "pm_card_visa"), 202)
    other.await_state(taken, "purchased")
    page.get_by_role("button", name="Yes, pay").click()
    assert statuses(shop, event) == ["canceled", "succeeded"]
    page.goto(f"{shop.url}/queue/{request}")
    expect(heading(page, "Your bank agreed too late")).to_be_visible()
    expect(page.get_by_text("The payment was cancelled: nothing is charged.")).to_be_visible()
    pictures(page, "too-late")
    told = ok(visitor.client.get(f"/api/request/{request}"))
    assert (told["state"], told["reason"]) == ("declined", "too_late")
