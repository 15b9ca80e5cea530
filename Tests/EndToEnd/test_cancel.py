"""An event that does not take place: everybody gets their money back, and is told so."""

from playwright.sync_api import expect

from client import ok, problem
from conftest import new_buyer
from stack import assert_books_agree, until


def await_done(organizer, event):
    path = f"/api/admin/events/{event}/cancel"
    return until(lambda: (c := ok(organizer.get(path)))["state"] == "done" and c, 40, "the cancellation's end")


def test_a_cancelled_event_gives_everything_back(stack, organizer, ledger):
    event = organizer.create_event([{"name": "Floor", "price": 2500, "capacity": 9}])
    problem(organizer.get(f"/api/admin/events/{event}/cancel"), 404, "not_cancelled")
    buyers = [new_buyer(stack) for _ in range(5)]
    for number, buyer in enumerate(buyers):
        buyer.buy(event, 1 + number % 2)
    holder, late = new_buyer(stack), new_buyer(stack)
    left = organizer.queue(event)["available"]
    held = [new_buyer(stack) for _ in range(left)]
    places = [each.hold(event, 1)["request_id"] for each in held]
    waiting = ok(holder.reserve(event), 202)["request_id"]
    told = ok(organizer.post(f"/api/admin/events/{event}/cancel", {"reason": "The hall is flooded."}), 202)
    assert told["purchases"]["all"] == 5 and told["state"] == "under_way"
    for buyer, place in zip(held, places, strict=True):
        ended = buyer.await_state(place, "expired")
        assert ended["reason"] == "event_cancelled"
    assert holder.await_state(waiting, "rejected")["reason"] == "event_cancelled"
    problem(late.reserve(event), 409)
    done = await_done(organizer, event)
    assert done["purchases"] == {"all": 5, "refunded": 5, "failed": 0, "left": 0, "retried": 0}
    assert done["refunded_amount"] == 7 * 2500
    until(lambda: organizer.queue(event)["state"] == "cancelled", what="the word to everybody")
    assert ok(late.get(f"/api/event/{event}"))["cancelled"] is True
    for buyer in buyers:
        [mine] = ok(buyer.get("/api/me/tickets"))["purchases"]
        assert mine["event_cancelled"] == "The hall is flooded." and mine["tickets"] == []
        assert [refund["state"] for refund in mine["refunds"]] == ["succeeded"]
    assert_books_agree(stack)
    report = stack.admin("cancel", str(event))
    assert f"event {event} is cancelled: 5 of 5 purchases given back, 175.00 USD; 0 failed, 0 left" in report


def test_the_command_line_shows_how_far_it_is(stack, organizer, buyer):
    event = organizer.create_event()
    buyer.buy(event, 2)
    assert stack.onsale("admin", "cancel", str(event), check=False).returncode == 64
    report = stack.admin("cancel", str(event), "--reason", "No hall")
    assert "1 of 1 purchases given back, 50.00 USD; 0 failed, 0 left" in report
    draft = organizer.create_event(open=False)
    assert stack.onsale("admin", "cancel", str(draft), "--reason", "x", check=False).returncode == 1


def test_the_page_says_so(visit, hall, organizer):
    event = hall(name="Requiem")
    visitor = visit().register()
    request = visitor.client.hold(event.id, 1)["request_id"]
    ok(visitor.client.confirm(request), 202)
    visitor.client.await_state(request, "purchased")
    ok(organizer.post(f"/api/admin/events/{event.id}/cancel", {"reason": "The singer is ill."}), 202)
    await_done(organizer, event.id)
    page = visitor.goto("/tickets")
    expect(page.get_by_text("Cancelled. The singer is ill.")).to_be_visible()
    expect(page.get_by_text("Refunded: €80.00")).to_be_visible()
    page = visitor.goto(event.path)
    expect(page.get_by_text("Cancelled", exact=True)).to_be_visible()
    expect(page.get_by_text("The singer is ill.").first).to_be_visible()
