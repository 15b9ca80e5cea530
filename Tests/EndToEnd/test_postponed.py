"""Events that are put off, or moved: what buyers read on the page, in the list, on their tickets and in their calendars."""

import re
import uuid

from playwright.sync_api import expect

from client import ok
from page_checks import accessibility, overflowing
from page_fixtures import PHONE
from stack import until

POSTPONED = "Postponed, new date to follow"


def card(page, name):
    """The event in the list."""
    return page.get_by_role("listitem").filter(has=page.get_by_role("heading", name=name))


def found(buyer, name):
    """The event as the search tells it."""
    return next((event for event in ok(buyer.get("/api/search", terms=name))["events"] if event["name"] == name), None)


def test_a_postponed_event_says_so_until_it_has_a_date_again(stack, visit, hall, organizer, pictures):
    event = hall(name="Verklaerte Nacht Aside", time_zone="Europe/Berlin", date="2032-05-01T19:30:00")
    visitor = visit(viewport=PHONE).register()
    request = visitor.client.buy(event.id, 2, adjacent=True)["request_id"]

    said = stack.admin("postpone", str(event.id))
    assert "stopped" in said, said
    # It sells nothing meanwhile.
    until(lambda: organizer.queue(event.id)["state"] == "stopped", what="a sale that is stopped")
    page = visitor.goto(event.path)
    expect(page.get_by_text(f"{POSTPONED}.")).to_be_visible()
    expect(page.get_by_text("It was to be on Saturday, 1 May 2032")).to_be_visible()
    pictures(page, "event")
    assert not overflowing(page) and not accessibility(page)
    until(lambda: found(visitor.client, "Verklaerte Nacht Aside")["postponed"], what="a list that knows")
    page = visitor.goto("/?terms=Verklaerte+Aside")
    expect(card(page, "Verklaerte Nacht Aside").get_by_text(POSTPONED)).to_be_visible()
    expect(card(page, "Verklaerte Nacht Aside").get_by_text("It was to be on Sat, 1 May 2032")).to_be_visible()
    pictures(page, "list")
    assert not overflowing(page) and not accessibility(page)
    page = visitor.goto("/tickets")
    expect(page.get_by_role("note").get_by_text(f"{POSTPONED}.")).to_be_visible()
    expect(page.get_by_text("Your tickets stay valid.")).to_be_visible()
    # The ticket names no day on which it is good for nothing.
    expect(page.locator(".stub-when").first).to_have_text(re.compile(f"^{POSTPONED} · "))
    pictures(page, "tickets")
    assert not accessibility(page)
    plain = visit(java_script_enabled=False).goto(event.path)
    expect(plain.get_by_text(f"{POSTPONED}. It was to be on Saturday, 1 May 2032, 19:30 (Europe/Berlin)")).to_be_visible()
    calendar = visitor.client.get(f"{event.path}/event.ics").text.replace("\r\n ", "").split("\r\n")
    assert "STATUS:TENTATIVE" in calendar and "SUMMARY:Postponed: Verklaerte Nacht Aside" in calendar

    said = stack.admin("date", str(event.id), "2032-06-12T20:00")
    assert "stopped" in said, said
    ok(organizer.post(f"/api/admin/events/{event.id}/resume"))
    hit = until(lambda: (lambda hit: not hit["postponed"] and hit)(found(visitor.client, "Verklaerte Nacht Aside")),
                what="a list with the new date")
    assert hit["date_local"] == "2032-06-12T20:00:00+02:00" and hit["date_was_local"] == "2032-05-01T19:30:00+02:00", hit
    # Found by where it is in time now, and no more by where it was.
    by_day = lambda day: [e["id"] for e in ok(visitor.client.get("/api/search", **{"from": day, "to": day}))["events"]]  # noqa: E731
    assert event.id in by_day("2032-06-12") and event.id not in by_day("2032-05-01")
    page = visitor.goto("/?terms=Verklaerte+12+June+2032")
    expect(card(page, "Verklaerte Nacht Aside").get_by_text("Sat, 12 Jun 2032")).to_be_visible()
    expect(card(page, "Verklaerte Nacht Aside").get_by_text(re.compile("^Moved from Sat, 1 May 2032"))).to_be_visible()
    pictures(page, "list-moved")
    page = visitor.goto("/tickets")
    expect(page.get_by_text(re.compile("^Moved from .*1 May 2032.* to .*12 Jun 2032.*stay valid"))).to_be_visible()
    expect(page.get_by_text(POSTPONED)).to_have_count(0)
    assert visitor.client.poll(request)["state"] == "purchased"


def test_who_waits_or_holds_seats_of_a_postponed_event_reads_why_nothing_moves(visit, organizer):
    event = organizer.create_event([{"name": "Floor", "price": 2500, "capacity": 2}], name="Waiting For a Date")
    holder, waiter = visit().register(), visit(viewport=PHONE).register()
    for visitor in (holder, waiter):
        page = visitor.goto(f"/event/{event}")
        page.get_by_role("button", name=re.compile("^(Get tickets|Join the line)")).click()
    expect(holder.page.get_by_role("button", name=re.compile("^Pay "))).to_be_visible()
    ok(organizer.post(f"/api/admin/events/{event}/postpone"))
    why = "The event is postponed, and sales wait for its new date"
    # As soon as they hear of a message.
    expect(holder.page.get_by_text(f"{why}: your seats are kept")).to_be_visible(timeout=20_000)
    expect(waiter.page.get_by_text(f"{why}. Nobody loses")).to_be_visible(timeout=20_000)
    for visitor in (holder, waiter):
        expect(visitor.page.get_by_text(f"{POSTPONED} · Town Hall")).to_be_visible()
    assert not accessibility(waiter.page) and not overflowing(waiter.page)
    # With a date they go on, and pay for what they see.
    ok(organizer.call("PUT", f"/api/admin/events/{event}", {"date": "2032-06-12T20:00:00Z"}))
    ok(organizer.post(f"/api/admin/events/{event}/resume"))
    expect(holder.page.get_by_text("The event is postponed")).to_have_count(0, timeout=20_000)
    holder.page.get_by_role("radio", name=re.compile("^Visa")).first.check()
    holder.page.get_by_role("button", name=re.compile("^Pay ")).click()
    expect(holder.page.get_by_text(re.compile("12 Jun 2032")).first).to_be_visible()


def test_a_postponed_sale_goes_on_where_its_organizer_keeps_it_open(stack, organizer, buyer):
    event = organizer.create_event(name="Sold On Regardless")
    assert "open" in stack.admin("postpone", str(event), "--keep-open")
    assert ok(buyer.get(f"/api/event/{event}"))["onsale_state"] == "open"
    assert buyer.buy(event)["state"] == "purchased"
    listed = next(e for e in ok(organizer.get("/api/admin/events", limit=500, after=event - 1))["events"] if e["id"] == event)
    assert listed["postponed"] is True and listed["state"] == "open"


def test_a_postponed_sale_whose_end_is_past_is_not_resumed_to_be_closed(stack, organizer):
    event = organizer.create_event(name="Closed By A Trap")
    ok(organizer.post(f"/api/admin/events/{event}/postpone"))
    stack.sql("UPDATE event SET sales_end_at = now() - interval '1 hour' WHERE id = %s", event)
    answer = organizer.post(f"/api/admin/events/{event}/resume")
    assert answer.status_code == 409 and "sales_end_at" in answer.json()["detail"], answer.text
    ok(organizer.call("PUT", f"/api/admin/events/{event}", {"sales_end_at": "2032-01-01T00:00:00Z"}))
    ok(organizer.post(f"/api/admin/events/{event}/resume"))
    until(lambda: ok(organizer.get(f"/api/event/{event}"))["onsale_state"] == "open", what="a sale that goes on")


def test_a_postponed_draft_tells_no_time_and_does_not_open_when_it_has_a_date_again(stack, organizer, buyer):
    draft = organizer.create_event(name="Not Opened By A Date", open=False, onsale_at="2032-01-01T10:00:00Z")
    assert ok(buyer.get(f"/api/event/{draft}"))["onsale_at"] == "2032-01-01T10:00:00Z"
    ok(organizer.post(f"/api/admin/events/{draft}/postpone"))
    until(lambda: ok(buyer.get(f"/api/event/{draft}"))["onsale_at"] is None, what="no time any more")
    stack.sql("UPDATE event SET onsale_at = now() - interval '1 hour' WHERE id = %s", draft)
    # Whoever sends all of it back has decided nothing; who says so, or gives another date, has.
    before = ok(organizer.get(f"/api/event/{draft}"))["date"]
    ok(organizer.call("PUT", f"/api/admin/events/{draft}", {"date": before, "description": "As it was."}))
    assert stack.sql("SELECT postponed_at IS NOT NULL FROM event WHERE id = %s", draft) == [(True,)]
    assert organizer.call("PUT", f"/api/admin/events/{draft}", {"postponed": True}).status_code == 400
    ok(organizer.call("PUT", f"/api/admin/events/{draft}", {"postponed": False}))
    assert stack.sql("SELECT postponed_at, onsale_at, state FROM event WHERE id = %s", draft) == [(None, None, "draft")]


def test_a_cancelled_event_promises_no_new_date(stack, organizer, buyer):
    word = f"gone{uuid.uuid4().hex[:8]}"
    event = organizer.create_event(name=word)
    ok(organizer.post(f"/api/admin/events/{event}/postpone"))
    until(lambda: (hit := found(buyer, word)) and hit["postponed"], what="a list that knows")
    stack.admin("cancel", str(event), "--reason", "The singer is ill.", "--no-wait")
    until(lambda: (hit := found(buyer, word)) is None or not hit["postponed"], what="a list that promises nothing")
    assert ok(buyer.get(f"/api/event/{event}"))["postponed"] is False
