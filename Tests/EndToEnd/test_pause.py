"""Sales that are paused, or stopped: whose time stands still, and who may pay."""

import time

from playwright.sync_api import expect

from client import ok, problem
from stack import assert_books_agree, until


def act(organizer, event, action):
    return ok(organizer.post(f"/api/admin/events/{event}/{action}"))


def test_the_time_to_pay_stands_still_in_a_pause(stack, organizer, buyer, other_buyer):
    event = organizer.create_event(hold_seconds=10)
    request = buyer.hold(event, 1)["request_id"]
    act(organizer, event, "pause")
    told = until(lambda: (a := buyer.poll(request)).get("hold_time") == "paused" and a, what="the word to the buyer")
    left, end = told["expires_in_seconds"], time.monotonic() + 10.5
    waiting = ok(other_buyer.reserve(event), 202)["request_id"]
    # Longer than the hold has.
    until(lambda: time.monotonic() > end, 15, what="more time than the hold has")
    told = buyer.poll(request)
    assert (told["state"], told["expires_in_seconds"]) == ("reserved", left)
    assert other_buyer.poll(waiting)["state"] == "queued"
    assert_books_agree(stack)
    act(organizer, event, "resume")
    other_buyer.await_state(waiting, "reserved")
    told = until(lambda: "hold_time" not in (a := buyer.poll(request)) and a, what="the word to the buyer")
    assert told["state"] == "reserved" and 0 < told["expires_in_seconds"] <= left
    buyer.await_state(request, "expired")


def test_no_payment_starts_while_a_sale_is_stopped(stack, organizer, buyer):
    event = organizer.create_event()
    request = buyer.hold(event, 1)["request_id"]
    assert act(organizer, event, "stop")["state"] == "stopped"
    until(lambda: organizer.queue(event)["state"] == "stopped", what="the stop")
    problem(buyer.confirm(request), 409, "sale_stopped")
    assert buyer.poll(request)["hold_time"] == "stopped"
    assert f"{event}\tstopped" in stack.admin("status", str(event))
    assert act(organizer, event, "pause")["state"] == "paused"
    until(lambda: organizer.queue(event)["state"] == "paused", what="the pause")
    ok(buyer.confirm(request), 202)
    buyer.await_state(request, "purchased")
    assert "stopped" in stack.admin("stop", str(event))
    stack.admin("resume", str(event))


def test_the_page_shows_the_time_that_stands_still(visit, hall, organizer):
    event = hall(name="Aria", hold_seconds=60)
    visitor = visit().register()
    request = visitor.client.hold(event.id, 1)["request_id"]
    act(organizer, event.id, "pause")
    until(lambda: visitor.client.poll(request).get("hold_time"), what="the pause")
    page = visitor.goto(f"/queue/{request}")
    expect(page.get_by_text("your time to pay stands still. You may pay all the same.")).to_be_visible()
    shown = page.locator(".hold-time").first
    before = shown.inner_text()
    page.wait_for_timeout(2_500)
    assert shown.inner_text() == before
    act(organizer, event.id, "stop")
    expect(page.get_by_text("no payment starts")).to_be_visible(timeout=30_000)
    act(organizer, event.id, "resume")
    expect(page.get_by_text("no payment starts")).to_have_count(0, timeout=30_000)
