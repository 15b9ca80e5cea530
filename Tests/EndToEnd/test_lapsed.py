"""Who was told that the tickets are theirs, and whose money could not be taken: what they read then, on a phone."""

import re

import pytest
from playwright.sync_api import expect

from client import Client, ok
from conftest import new_organizer
from page_fixtures import PHONE, Visitor
from stack import Stack, until
from test_page import heading


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A stack whose first capture fails, so that its authorisation can lapse before the next try."""
    stack = Stack(tmp_path_factory.mktemp("lapsed") / "state")
    try:
        stack.up(ONSALE_FAULT="confirm.capture:before:error:1")
        yield stack
    finally:
        stack.remove()


@pytest.fixture
def buyer(chromium, shop):
    complaints = []
    visitor = Visitor(chromium, shop.url, complaints, viewport=PHONE, has_touch=True, color_scheme="dark")
    yield visitor
    visitor.context.close()
    assert not complaints, complaints


def test_whose_payment_lapsed_hears_of_it_everywhere_and_pays_once_more(shop, buyer, pictures):
    event = new_organizer(shop).create_event(
        [{"name": "Stalls", "price": 8000, "rows": [{"row": "A", "seats": 15}]}], currency="EUR", hold_seconds=60
    )
    page = buyer.register().goto(f"/event/{event}")
    page.get_by_role("button", name="Get tickets").click()
    expect(heading(page, "Your 2 tickets are held")).to_be_visible()
    page.get_by_role("button", name=re.compile("^Pay ")).click()
    expect(heading(page, "They are yours")).to_be_visible()

    provider = Client(shop.settings["ONSALE_PAYMENT_URL"], shop.settings["ONSALE_PAYMENT_KEY"])
    [payment] = [
        each
        for each in ok(provider.get("/v1/payment_intents", limit=100))["data"]
        if each["metadata"].get("onsale_event") == str(event)
    ]
    assert payment["status"] == "requires_capture", "it was to fail once"
    ok(provider.post(f"/stub/payments/{payment['id']}/lapse"))
    until(lambda: ok(buyer.client.get("/api/me/tickets"))["unpaid"], 60, "the sale to be taken back")

    # In another tab: nobody looks at the first one.
    other = buyer.open_tab()
    other.goto(shop.url + "/")
    expect(other.get_by_text("Your seats are held").first).to_be_visible()
    pictures(other, "banner")
    other.goto(shop.url + "/tickets")
    told = other.get_by_text("Your payment did not go through.")
    expect(told.first).to_be_visible()
    expect(other.get_by_text("The tickets are kept for you until")).to_be_visible()
    expect(other.get_by_text("Nothing bought yet")).to_have_count(0)
    pictures(other, "tickets")

    # The page that had said "They are yours" asks again when somebody comes back to it.
    page.evaluate("dispatchEvent(new Event('focus'))")
    expect(heading(page, "Your 2 tickets are held")).to_be_visible()
    expect(page.get_by_text("Your bank let go of the payment before it could be taken. Nothing was charged.")).to_be_visible()
    expect(page.get_by_text(re.compile(r"Pay within 1[12]:\d\d:\d\d"))).to_be_visible()
    pictures(page, "once-more")

    other.get_by_role("link", name="Pay once more").first.click()
    expect(heading(other, "Your 2 tickets are held")).to_be_visible()
    other.get_by_role("button", name=re.compile("^Pay ")).click()
    expect(heading(other, "They are yours")).to_be_visible()
    expect(heading(page, "They are yours")).to_be_visible()
    other.goto(shop.url + "/tickets")
    expect(other.get_by_text("2 tickets · €160.00")).to_be_visible()
    expect(other.get_by_text("Your payment did not go through.")).to_have_count(0)
    pictures(other, "paid")
