"""Whose bank says yes after the hold is over: the same seats if nobody else has them, else nothing, and told so."""

import subprocess

import pytest
from playwright.sync_api import expect

from client import Client, ok
from conftest import new_buyer, new_organizer
from page_fixtures import PHONE, Visitor
from stack import Stack, until
from test_bank import ASKS_ITS_BANK
from test_page import heading, pay


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
def late(chromium, shop):
    """A buyer who is at their bank while their hold ends: the event, the page and the request."""
    visitors, complaints = [], []

    def new():
        sections = [{"name": "Stalls", "price": 8000, "rows": [{"row": "A", "seats": 2}]}]
        event = new_organizer(shop).create_event(sections, currency="EUR", hold_seconds=10)
        visitor = Visitor(chromium, shop.url, complaints, viewport=PHONE, has_touch=True)
        visitors.append(visitor)
        page = visitor.register().goto(f"/event/{event}")
        page.get_by_role("button", name="Get tickets").click()
        expect(heading(page, "Your 2 tickets are held")).to_be_visible()
        request = page.url.rsplit("/", 1)[-1]
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
