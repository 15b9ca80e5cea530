"""Looking around without an account, and the wall that comes when somebody asks for seats."""

import re

import pytest
from playwright.sync_api import expect

from client import Client, ok, problem
from page_checks import accessibility, contrasts, overflowing, small_targets
from page_fixtures import DESKTOP, PHONE
from stack import until
from test_page import choose_seats, heading


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_that_can_be_looked_at_is_seen_without_an_account(visit, hall, buyer, pictures, size, scheme):
    event = hall(name="Overture for Strangers")
    found = {"terms": "overture for strangers"}
    until(lambda: ok(buyer.get("/api/search", **found))["events"], what="the event in the index")
    visitor = visit(viewport=size, color_scheme=scheme)
    asked = []
    visitor.page.on("request", lambda request: asked.append((request.method, request.url.removeprefix(visitor.site))))

    def check(name):
        pictures(visitor.page, name)
        assert not accessibility(visitor.page), name
        assert not contrasts(visitor.page), name
        assert not overflowing(visitor.page), name
        assert not small_targets(visitor.page), name

    page = visitor.goto("/?terms=overture+for+strangers")
    hit = page.get_by_role("link", name=re.compile("Overture for Strangers"))
    expect(hit.first).to_be_visible()
    expect(page.get_by_role("navigation").get_by_role("link", name="Sign in")).to_be_visible()
    check("list")
    hit.first.click()
    expect(heading(page, "Overture for Strangers")).to_be_visible()
    expect(page.get_by_role("button", name="Get tickets")).to_be_enabled()
    check("event")
    page.get_by_role("radio", name="Choose seats").check()
    expect(page.get_by_role("listbox", name="Seat map")).to_be_visible()
    check("seats")
    # One token for all of it, also in another tab; no call for anybody's own things, and no cookie.
    other = visitor.open_tab()
    other.goto(visitor.site + event.path)
    expect(heading(other, "Overture for Strangers")).to_be_visible()
    assert [each for each in asked if each[0] != "GET"] == [("POST", "/api/sessions/guest")]
    assert not [each for each in asked if each[1].startswith("/api/me/")]
    assert visitor.context.cookies() == []
    choose_seats(page, event, [("Stalls", "B", "2"), ("Stalls", "B", "3")])
    page.get_by_role("button", name="Get tickets").click()
    expect(heading(page, "Sign in")).to_be_focused()
    expect(page.get_by_text("Sign in to get tickets for Overture for Strangers. What you chose is kept.")).to_be_visible()
    check("wall")


def test_seats_that_a_guest_chose_are_still_chosen_after_signing_in(visit, hall, anyone):
    event = hall(name="Kept Choice")
    email, password = "kept-choice@example.com", "correct horse"
    ok(anyone.post("/api/users", {"name": "Mina", "email": email, "password": password}), 201)
    visitor = visit()
    page = visitor.goto(event.path)
    choose_seats(page, event, [("Stalls", "B", "2"), ("Circle", "A", "4")])
    page.get_by_role("button", name="Get tickets").click()
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    expect(heading(page, "Kept Choice")).to_be_visible()
    assert page.url == visitor.site + event.path
    let_go = page.get_by_role("button", name=re.compile("^Let go of"))
    expect(let_go).to_have_count(2)
    expect(page.get_by_role("complementary")).to_contain_text("€135.00")
    page.get_by_role("button", name="Get tickets").click()
    expect(heading(page, "Your 2 tickets are held")).to_be_visible()
    for seat in ("Row B, seat 2", "Row A, seat 4"):
        expect(page.get_by_text(seat)).to_be_visible()
    # It was for that once: the next look at the event begins anew.
    page.goto(visitor.site + event.path)
    expect(page.get_by_role("radio", name="Best available")).to_be_checked()
    expect(let_go).to_have_count(0)


def test_a_seat_that_went_while_its_chooser_signed_in_is_let_go_of(visit, hall, buyer):
    event = hall(name="Gone Meanwhile")
    visitor = visit()
    page = visitor.goto(event.path)
    choose_seats(page, event, [("Stalls", "B", "2"), ("Stalls", "B", "3")])
    page.get_by_role("button", name="Get tickets").click()
    seats = ok(buyer.get(f"/api/event/{event.id}/tickets"))["tickets"]
    (third,) = [each["id"] for each in seats if (each["section"], each["row"], each["seat"]) == ("Stalls", "B", "3")]
    buyer.hold(event.id, None, ticket_ids=[third])
    visitor.register()
    page.goto(visitor.site + event.path)
    expect(page.get_by_text("A seat you chose was just taken.")).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("^Let go of"))).to_have_count(1)


def test_a_guests_token_that_is_refused_is_replaced_unseen(visit, hall):
    event = hall(name="Second Ticket")
    visitor = visit()
    page = visitor.goto(event.path)
    expect(heading(page, "Second Ticket")).to_be_visible()
    # As after the installation's secret was changed.
    page.evaluate("localStorage.setItem('onsale.guest', JSON.stringify({ token: 'a.b.c', until: Date.now() + 1e6 }))")
    page.reload()
    expect(heading(page, "Second Ticket")).to_be_visible()
    expect(page.get_by_role("button", name="Get tickets")).to_be_enabled()


def test_before_a_sale_a_guest_is_told_to_see_to_an_account(visit, organizer, pictures):
    event = organizer.create_event(
        [{"name": "Floor", "price": 3000, "capacity": 50}], name="Early Bird", onsale_at="2032-01-01T09:00:00Z",
        open=False,
    )  # fmt: skip
    page = visit().goto(f"/event/{event}")
    page.get_by_role("button", name="More tickets").click()
    page.get_by_role("link", name="Sign in before sales open").click()
    expect(page.get_by_text("Sign in to get tickets for Early Bird.")).to_be_visible()
    page.go_back()
    expect(page.get_by_text("3 tickets").first).to_be_visible()
    pictures(page, "before")


def test_a_guests_token_in_the_place_of_an_accounts_is_told_so(anyone, organizer):
    event = organizer.create_event()
    guest = Client(anyone.url, ok(anyone.post("/api/sessions/guest"))["token"])
    refused = guest.reserve(event, 1)
    problem(refused, 403, "account_required")
    assert "account" in refused.json()["detail"]
