"""The buyer's page in a real browser, against a real stack: by mouse, by keyboard, by touch."""

import base64
import json
import re
import time

import pytest
import requests
from playwright.sync_api import expect

from client import ok
from page_checks import accessibility, contrasts, inks_at_the_edge, overflowing, small_targets
from page_fixtures import ASSETS, PHONE
from stack import until


def heading(page, name):
    return page.get_by_role("heading", level=1, name=name)


def pay(page, card="Visa"):
    page.get_by_role("radio", name=re.compile(f"^{card}")).first.check()
    page.get_by_role("button", name=re.compile("^Pay ")).click()


def choose_seats(page, event, labels):
    """Clicks on seats by their names, through the plan that the map is drawn from."""
    page.get_by_role("radio", name="Choose seats").check()
    box = page.get_by_role("listbox", name="Seat map")
    expect(box).to_be_visible()
    for section, row, seat in labels:
        reach(page, box, f"{section}, Row {row}, seat {seat}")
        page.keyboard.press("Space")


def reach(page, box, name):
    """Moves the map's cursor to a seat by arrow keys, as far as the screen reader's text says it must go."""
    box.focus()
    page.keyboard.press("Home")
    for _ in range(400):
        text = box.get_by_role("option").inner_text()
        if text.startswith(f"{name},"):
            return
        section, row = text.split(", ")[:2]
        if f"{section}, {row}" == ", ".join(name.split(", ")[:2]):
            page.keyboard.press("ArrowRight")
        else:
            page.keyboard.press("ArrowDown" if not text.startswith("Circle, Row D") else "PageUp")
    raise AssertionError(f"{name} was not reached")


# --- Whole purchases ---


def test_a_purchase_by_mouse_from_registering_to_the_ticket(visit, hall, ledger):
    event = hall(name="Nachtmusik for Strings")
    page = visit().goto(event.path)
    # Nobody is signed in: the page asks for an account once seats are wanted, and comes back to the event, and the choice.
    page.get_by_role("radio", name=re.compile("^Circle")).check()
    page.get_by_role("button", name="More tickets").click()
    page.get_by_role("button", name="Get tickets").click()
    expect(page.get_by_text("Sign in to get tickets for Nachtmusik for Strings. What you chose is kept.")).to_be_visible()
    page.get_by_role("link", name="Create an account").click()
    expect(page.get_by_text("Create an account to get tickets for Nachtmusik for Strings.")).to_be_visible()
    page.get_by_label("Name").fill("Grace Hopper")
    page.get_by_label("Email").fill(f"grace-{time.time_ns()}@example.com")
    page.get_by_label("Password").fill("a long password")
    page.get_by_role("button", name="Create account").click()
    expect(heading(page, "Nachtmusik for Strings")).to_be_visible()

    expect(page.get_by_role("radio", name=re.compile("^Circle"))).to_be_checked()
    expect(page.get_by_role("complementary")).to_contain_text("€165.00")
    page.get_by_role("button", name="Get tickets").click()

    expect(heading(page, "Your 3 tickets are held")).to_be_visible()
    expect(page.get_by_text("Row A, seat")).to_have_count(3)
    page.get_by_role("button", name="Pay €165.00").dblclick()
    expect(heading(page, "They are yours")).to_be_visible()
    assert "Bought" in page.title()
    page.get_by_role("link", name="See all my tickets").click()
    expect(page.get_by_role("heading", name="Nachtmusik for Strings")).to_be_visible()
    expect(page.get_by_text("No.")).to_have_count(3)

    # Pressed twice, paid once.
    payments = until(lambda: [p for p in ledger(event.id) if p["status"] == "succeeded"], what="the capture")
    assert [p["amount"] for p in payments] == [16500]


def test_a_purchase_by_keyboard_only(visit, hall):
    hall(name="Keyboard Concerto")
    page = visit().register().goto("/")
    keys = page.keyboard

    def tab_to(locator):
        for _ in range(80):
            if locator.count() and locator.first.evaluate("(e) => e === document.activeElement"):
                # What has focus can be seen to have it.
                assert locator.first.evaluate(
                    "(e) => getComputedStyle(e).outlineStyle !== 'none'"
                    " || getComputedStyle(e.parentElement.querySelector('span') ?? e).outlineStyle !== 'none'"
                )
                return
            keys.press("Tab")
        raise AssertionError(f"{locator} cannot be reached by Tab")

    expect(heading(page, "Find your night out")).to_be_visible()
    keys.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    tab_to(page.get_by_role("searchbox"))
    keys.type("keyboard concerto")
    hit = page.get_by_role("link", name=re.compile("Keyboard Concerto"))
    expect(hit.first).to_be_visible()
    tab_to(hit)
    keys.press("Enter")
    # A new view's heading has focus, so that it is read out and Tab goes on from there.
    expect(heading(page, "Keyboard Concerto")).to_be_focused()
    tab_to(page.get_by_role("radio", name="Best available"))
    keys.press("ArrowRight")
    box = page.get_by_role("listbox", name="Seat map")
    tab_to(box)
    expect(box.get_by_role("option")).to_contain_text("Row A, seat 1,")
    keys.press("ArrowDown")
    keys.press("Space")
    keys.press("ArrowRight")
    keys.press("Space")
    expect(box.get_by_role("option", selected=True)).to_contain_text("Stalls, Row B, seat 2, €80.00, chosen")
    tab_to(page.get_by_role("button", name="Get tickets"))
    keys.press("Enter")
    expect(heading(page, "Your 2 tickets are held")).to_be_focused()
    expect(page.get_by_text("Row B, seat 2")).to_be_visible()
    tab_to(page.get_by_role("radio", name=re.compile("^Visa")).first)
    keys.press("ArrowDown")
    expect(page.get_by_role("radio", name=re.compile("^Mastercard"))).to_be_checked()
    tab_to(page.get_by_role("button", name="Pay €160.00"))
    keys.press("Enter")
    expect(heading(page, "They are yours")).to_be_focused()


def test_a_purchase_on_a_phone_by_touch(visit, hall):
    event = hall()
    visitor = visit(viewport=PHONE, has_touch=True, is_mobile=True, device_scale_factor=2)
    page = visitor.register().goto(event.path)
    page.get_by_role("radio", name="Choose seats").tap()
    canvas = page.locator(".seat-box canvas")
    expect(canvas).to_be_visible()
    chosen = page.get_by_role("button", name=re.compile("^Let go of"))
    for _ in range(4):
        # Seats too small for a finger are magnified first.
        canvas.tap()
        if chosen.count():
            break
        page.wait_for_timeout(150)
    expect(chosen).to_have_count(1)
    assert not overflowing(page)
    assert not small_targets(page)
    page.get_by_role("button", name="Get tickets").tap()
    expect(heading(page, "Your ticket is held")).to_be_visible()
    page.get_by_role("button", name=re.compile("^Pay ")).tap()
    expect(heading(page, "They are yours")).to_be_visible()
    assert not overflowing(page)


# --- In line ---


def stop_the_line(organizer, event):
    ok(organizer.post(f"/api/admin/events/{event}/pause"))


def second_in_line(visit, organizer, event):
    """Somebody whose page shows the line, behind one other; and that page."""
    stop_the_line(organizer, event.id)
    first, second = visit().register(), visit().register()
    first.client.reserve(event.id, 1)
    page = second.goto(event.path)
    page.get_by_role("button", name="Get tickets").click()
    expect(heading(page, "You are in line")).to_be_visible()
    return second, page


def test_the_line_survives_a_reload_and_being_offline(visit, hall, organizer):
    event = hall()
    second, page = second_in_line(visit, organizer, event)
    expect(page.locator(".queue-number")).to_have_text("1")
    assert page.title().startswith("1 ahead")
    address = page.url

    page.reload()
    expect(page.locator(".queue-number")).to_have_text("1")
    # The laptop is closed, and the page opened again from its address, in another tab.
    page.close()
    page = second.page = second.open_tab()
    page.goto(address)
    expect(page.locator(".queue-number")).to_have_text("1")
    # From the event's page there is a way back.
    page.goto(second.site + event.path)
    page.get_by_role("link", name="See where you are").click()
    assert page.url == address

    second.context.set_offline(True)
    page.evaluate("dispatchEvent(new Event('offline'))")
    expect(page.get_by_text("You are offline. Your place is kept")).to_be_visible()
    ok(organizer.post(f"/api/admin/events/{event.id}/resume"))
    second.context.set_offline(False)
    page.evaluate("dispatchEvent(new Event('online'))")
    expect(heading(page, "Your 2 tickets are held")).to_be_visible()


def test_a_busy_server_is_waited_out(visit, hall):
    event = hall()
    page = visit().register().goto(event.path)
    busy = {"status": 503, "headers": {"Retry-After": "1"}, "content_type": "application/problem+json",
            "body": '{"status":503,"code":"queue_full","title":"Busy","detail":"The line is full."}'}  # fmt: skip
    page.route("**/api/ticket/reserve", lambda route: route.fulfill(**busy), times=1)
    page.route("**/api/request/*", lambda route: route.fulfill(**busy), times=2)
    page.get_by_role("button", name="Get tickets").click()
    expect(page.get_by_role("button", name="Very busy. Trying again")).to_be_visible()
    expect(page.get_by_text("The service is busy. Your place is kept")).to_be_visible()
    expect(heading(page, "Your 2 tickets are held")).to_be_visible()


def test_the_operators_message_reaches_everyone_in_line(visit, hall, organizer):
    event = hall()
    stop_the_line(organizer, event.id)
    page = visit().register().goto(event.path)
    page.get_by_role("button", name="Get tickets").click()
    expect(heading(page, "You are in line")).to_be_visible()
    text = "<b>We go on at 10:15.</b>"
    ok(organizer.call("PUT", f"/api/admin/events/{event.id}/message", {"message": text}))
    # As text, never as markup.
    expect(page.get_by_text(text)).to_be_visible()


def test_leaving_the_line_asks_first(visit, hall, organizer):
    event = hall()
    stop_the_line(organizer, event.id)
    page = visit().register().goto(event.path)
    page.get_by_role("button", name="Get tickets").click()
    page.get_by_role("button", name="Leave the line").click()
    dialog = page.get_by_role("dialog", name="Leave the line?")
    expect(dialog.get_by_role("button", name="Stay")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(heading(page, "You are in line")).to_be_visible()
    page.get_by_role("button", name="Leave the line").click()
    dialog.get_by_role("button", name="Leave the line").click()
    expect(heading(page, "You gave up your place")).to_be_visible()
    ok(organizer.post(f"/api/admin/events/{event.id}/resume"))
    page.get_by_role("button", name="Ask again for 2 tickets").click()
    expect(heading(page, "Your 2 tickets are held")).to_be_visible()


def queue_document(**changes):
    numbers = {"head": 100, "tail": 700, "available": 50, "held": 10, "sold": 40, "granted_per_second": 5}
    return {**numbers, "state": "open", "poll_after_ms": 60_000, "message": "", "version": 1, **changes}


def in_line(visitor, event, document, **changes):
    """Shows the page of somebody in a long line, as the server would tell it."""
    place = {"request_id": "x", "event_id": event.id, "state": "queued", "position": 501, "ahead": 400}
    told = {**place, "eta_seconds": {"low": 60, "high": 120}, "poll_after_ms": 60_000, **changes}
    visitor.page.route("**/api/request/*", lambda route: route.fulfill(json=told))
    visitor.page.route("**/api/event/*/queue", lambda route: route.fulfill(json=document()))
    return visitor.goto("/queue/x")


def test_the_count_moves_on_between_two_looks_and_never_says_whose_turn_it_is(visit, hall):
    visitor, asked = visit().register(), []

    def document():
        asked.append(1)
        return queue_document()

    page = in_line(visitor, hall(), document)
    number = page.locator(".queue-number")
    for _ in range(3):
        before = int(number.inner_text())
        expect(number).not_to_have_text(str(before))
        assert 300 < int(number.inner_text()) < before
    assert len(asked) == 1, "nothing new was told meanwhile"
    # However long nothing is heard: that it is somebody's turn only the server says.
    page.evaluate("{ const now = performance.now.bind(performance); performance.now = () => now() + 3_600_000; }")
    expect(number).to_have_text("1")
    expect(page.get_by_text("Live.")).to_be_hidden()


def test_a_line_that_stands_still_is_shown_so(visit, hall):
    visitor = visit().register()
    page = in_line(visitor, hall(), lambda: queue_document(state="paused", granted_per_second=0))
    expect(page.get_by_text("Sales are paused for a moment.")).to_be_visible()
    page.evaluate("{ const now = performance.now.bind(performance); performance.now = () => now() + 50_000; }")
    expect(page.locator(".live")).to_contain_text("Live")
    expect(page.locator(".queue-number")).to_have_text("400")


def test_nothing_is_called_live_that_does_not_answer(visit, hall, organizer):
    event = hall()
    stop_the_line(organizer, event.id)
    page = visit().register().goto(event.path)
    page.get_by_role("button", name="Get tickets").click()
    live = page.locator(".live")
    expect(live).to_contain_text("Live")
    # Whatever is asked from now on hangs, as at a server that stands still.
    page.context.route("**/api/**", lambda route: None)
    expect(live).to_contain_text("The server does not answer right now. Your place is kept", timeout=40_000)
    expect(live).not_to_contain_text("Live")
    page.context.unroute("**/api/**")
    expect(live).to_contain_text("Live", timeout=40_000)


def test_a_network_that_was_away_for_a_moment_is_not_mourned(visit, hall, organizer):
    event = hall()
    stop_the_line(organizer, event.id)
    visitor = visit().register()
    page = visitor.goto(event.path)
    page.get_by_role("button", name="Get tickets").click()
    live = page.locator(".live")
    expect(live).to_contain_text("Live")
    for _ in range(3):
        visitor.context.set_offline(True)
        expect(live).to_contain_text("You are offline")
        visitor.context.set_offline(False)
        expect(live).to_contain_text("Live", timeout=5_000)


def test_held_seats_are_told_on_every_page(visit, hall):
    event = hall(name="Held Breath")
    visitor = visit().register()
    page = visitor.goto(event.path)
    page.get_by_role("button", name="Get tickets").click()
    expect(heading(page, "Your 2 tickets are held")).to_be_visible()
    banner = page.get_by_role("complementary", name="Held seats")
    expect(banner).to_be_hidden()
    address = page.url
    for path in (event.path, "/", "/tickets", "/account"):
        visitor.goto(path)
        expect(banner).to_contain_text(re.compile(r"Your seats are held, [78]:\d\d.*Held Breath"))
        expect(page.get_by_text("You have a place in this line")).to_be_hidden()
    before = banner.inner_text()
    expect(banner).not_to_have_text(before)
    banner.get_by_role("link", name="Pay now").click()
    assert page.url == address
    expect(banner).to_be_hidden()
    pay(page)
    expect(heading(page, "They are yours")).to_be_visible()
    visitor.goto("/")
    expect(heading(page, "Find your night out")).to_be_visible()
    expect(banner).to_be_hidden()


def test_what_the_operator_says_stays_after_the_close(visit, hall, organizer):
    event = hall()
    stop_the_line(organizer, event.id)
    page = visit().register().goto(event.path)
    page.get_by_role("button", name="Get tickets").click()
    expect(heading(page, "You are in line")).to_be_visible()
    text = "The singer is ill. We are sorry, and start anew in May."
    ok(organizer.call("PUT", f"/api/admin/events/{event.id}/message", {"message": text}))
    expect(page.get_by_text(text)).to_be_visible()
    ok(organizer.post(f"/api/admin/events/{event.id}/close"))
    expect(heading(page, "Sales ended before it was your turn")).to_be_visible(timeout=30_000)
    expect(page.get_by_text(text)).to_be_visible()
    page.reload()
    expect(heading(page, "Sales ended before it was your turn")).to_be_visible()
    expect(page.get_by_text(text)).to_be_visible()
    page.get_by_role("link", name="Back to the event").click()
    expect(page.get_by_text(text)).to_be_visible()


# --- Paying ---


def test_a_declined_card_keeps_the_seats_for_another(visit, hall, ledger):
    event = hall()
    page = visit().register().goto(event.path)
    page.get_by_role("button", name="Get tickets").click()
    pay(page, "Visa that is declined")
    expect(page.get_by_text("Your card was declined. Nothing was charged.")).to_be_visible()
    expect(heading(page, "Your 2 tickets are held")).to_be_visible()
    pay(page, "Mastercard")
    expect(heading(page, "They are yours")).to_be_visible()
    payments = until(lambda: [p for p in ledger(event.id) if p["status"] == "succeeded"], what="the capture")
    assert len(payments) == 1


def test_a_lost_answer_to_a_payment_does_not_charge_twice(visit, hall, ledger):
    event = hall()
    page = visit().register().goto(event.path)
    page.get_by_role("button", name="Get tickets").click()
    expect(heading(page, "Your 2 tickets are held")).to_be_visible()

    def lose(route):
        # It reaches the server; only the answer is lost.
        route.fetch()
        route.abort()

    page.route("**/api/ticket/confirm", lose, times=1)
    pay(page)
    expect(heading(page, "They are yours")).to_be_visible()
    payments = until(lambda: [p for p in ledger(event.id) if p["status"] == "succeeded"], what="the capture")
    assert len(payments) == 1


def test_a_payment_that_may_have_been_taken_on_is_not_called_off(visit, hall):
    event = hall()
    page = visit().register().goto(event.path)
    page.get_by_role("button", name="Get tickets").click()
    expect(heading(page, "Your 2 tickets are held")).to_be_visible()
    unknown = {"title": "Service Unavailable", "status": 503, "code": "unavailable", "detail": "Try again."}
    page.route("**/api/ticket/confirm", lambda route: route.fulfill(status=503, json=unknown), times=1)
    pay(page)
    expect(heading(page, "Confirming your payment")).to_be_visible()
    # It was not taken on: the line says so, and the seats are still there to be paid.
    expect(heading(page, "Your 2 tickets are held")).to_be_visible()
    pay(page)
    expect(heading(page, "They are yours")).to_be_visible()


@pytest.mark.parametrize(
    "state, reason, title",
    [
        ("expired", None, "Your time to pay ran out"),
        ("expired", "tickets_taken", "Your seats had been sold"),
        ("rejected", "queue_lost", "Your place in line was lost"),
    ],
)
def test_an_end_is_told_with_its_cause(visit, hall, state, reason, title):
    event = hall()
    ended = {"request_id": "x", "event_id": event.id, "state": state, "position": 1, "ahead": 0, "poll_after_ms": 0}
    visitor = visit().register()
    told = {**ended, "reason": reason} if reason else ended
    visitor.page.route("**/api/request/*", lambda route: route.fulfill(json=told))
    expect(heading(visitor.goto("/queue/x"), title)).to_be_visible()


def test_a_place_that_was_lost_is_asked_for_again_by_itself(visit, hall):
    event = hall()
    page = visit().register().goto(event.path)
    page.get_by_role("button", name="Get tickets").click()
    expect(heading(page, "Your 2 tickets are held")).to_be_visible()
    lost = page.url.rsplit("/", 1)[1]
    asked = []

    def tell(route):
        answer = route.fetch().json()
        route.fulfill(json={**answer, "state": "rejected", "reason": "queue_lost", "poll_after_ms": 0})

    def restore(route):
        asked.append(route.request.post_data_json)
        if len(asked) == 1:
            busy = {"title": "Service Unavailable", "status": 503, "code": "queue_restoring", "detail": "Wait."}
            return route.fulfill(status=503, json=busy, headers={"Retry-After": "1"})
        place = {"request_id": "found-again", "position": 3, "ahead": 2, "state": "queued", "poll_after_ms": 60_000}
        return route.fulfill(status=202, json=place)

    page.route("**/api/ticket/reserve", restore)
    page.route(f"**/api/request/{lost}*", tell)
    page.reload()
    expect(page).to_have_url(re.compile("/queue/found-again$"))
    assert [body["rejoin"] for body in asked] == [lost, lost]
    assert asked[0]["quantity"] == 2


def test_seats_that_were_lost_are_said_to_be_and_others_are_not_paid_unseen(visit, hall):
    event = hall()
    page = visit().register().goto(event.path)
    page.get_by_role("button", name="Get tickets").click()
    expect(heading(page, "Your 2 tickets are held")).to_be_visible()
    place, shown, paid = page.url.rsplit("/", 1)[1], [], []
    changes = {"state": "queued", "reason": "hold_lost", "tickets": [], "hold": None, "poll_after_ms": 500}

    def tell(route):
        shown.append("hold=" in route.request.url)
        answer = {**route.fetch().json(), **changes}
        route.fulfill(json={name: value for name, value in answer.items() if value is not None})

    def take(route):
        paid.append(route.request.post_data_json["hold"])
        route.fulfill(status=409, json={"title": "Conflict", "status": 409, "code": "hold_lost", "detail": "Look first."})

    page.route("**/api/ticket/confirm", take)
    page.route(f"**/api/request/{place}*", tell)
    page.reload()
    expect(page.get_by_text("were lost by a failure on our side")).to_be_visible()
    # It is shown from the first poll on, also after the page was closed.
    assert shown and all(shown)
    others = [{"id": 7, "section": "Hall", "price": 4500}, {"id": 8, "section": "Hall", "price": 4500}]
    changes.update(state="reserved", tickets=others, hold="another-receipt")
    expect(page.get_by_text("These are other seats than before")).to_be_visible()
    expect(heading(page, "Your 2 tickets are held")).to_be_visible()
    pay(page)
    expect(page.get_by_text("Look first.")).to_be_visible()
    assert paid == ["another-receipt"]


def join_from_page(visitor, event, section=None, quantity=2, adjacent=False):
    """Asks for tickets on the event's page."""
    page = visitor.goto(f"/event/{event}")
    if section:
        page.get_by_role("radio", name=re.compile(f"^{section}")).check()
    for _ in range(abs(quantity - 2)):
        page.get_by_role("button", name="More tickets" if quantity > 2 else "Fewer tickets").click()
    if adjacent:
        page.get_by_role("checkbox", name=re.compile("^Side by side only")).check()
    page.get_by_role("button", name=re.compile("^(Get tickets|Join the line)$")).click()
    return page


def position(visitor):
    return visitor.client.poll(visitor.page.url.rsplit("/", 1)[1])["position"]


def test_who_wants_more_than_is_left_is_told_how_many_and_may_take_them(visit, organizer, buyer):
    event = organizer.create_event([{"name": "Floor", "price": 2500, "capacity": 2}])
    buyer.buy(event, 1)
    visitor = visit().register()
    page = join_from_page(visitor, event)
    expect(heading(page, "Only 1 left")).to_be_visible()
    assert page.title().startswith("Only 1 left")
    expect(page.get_by_text("You asked for 2. Nothing was charged.")).to_be_visible()
    expect(page.get_by_text(re.compile(r"Your place in line is kept for 0:[45]\d"))).to_be_visible()
    expect(page.get_by_role("button", name="Anywhere in the house")).to_be_hidden()
    kept = position(visitor)
    # While it is kept, it is found from everywhere, also after a reload.
    page.goto(f"{visitor.site}/tickets")
    page.get_by_role("link", name=re.compile("your place is kept for a moment")).click()
    expect(heading(page, "Only 1 left")).to_be_visible()
    page.reload()
    page.get_by_role("button", name="Take 1").click()
    expect(heading(page, "Your ticket is held")).to_be_visible()
    assert position(visitor) == kept
    # One place, however many names it has had, also after a look back.
    page.go_back()
    expect(heading(page, "Your ticket is held")).to_be_visible()
    page.goto(f"{visitor.site}/tickets")
    expect(page.get_by_role("region", name="In line now").get_by_role("link")).to_have_count(1)
    page.get_by_role("link", name=re.compile("Your turn: ")).click()
    pay(page)
    expect(heading(page, "They are yours")).to_be_visible()


@pytest.mark.parametrize(
    "offer, section, together", [("Take 3 seats apart", "Stalls", False), ("Anywhere in the house", "Circle", True)]
)
def test_who_wants_seats_side_by_side_is_told_when_there_are_none(visit, organizer, offer, section, together):
    event = organizer.create_event(
        [{"name": "Stalls", "price": 8000, "rows": [{"row": row, "seats": 2} for row in "AB"]},
         {"name": "Circle", "price": 5500, "rows": [{"row": "A", "seats": 4}]}])  # fmt: skip
    visitor = visit().register()
    page = join_from_page(visitor, event, "Stalls", 3, adjacent=True)
    expect(heading(page, "No 3 seats side by side are left")).to_be_visible()
    expect(page.get_by_text("Stalls still has enough seats, but not next to each other.")).to_be_visible()
    kept = position(visitor)
    # By keyboard: from the heading, which has been read out, to what may be had instead.
    expect(heading(page, "No 3 seats side by side are left")).to_be_focused()
    button = page.get_by_role("button", name=offer)
    for _ in range(3):
        page.keyboard.press("Tab")
        if button.evaluate("(e) => e === document.activeElement"):
            break
    expect(button).to_be_focused()
    page.keyboard.press("Enter")
    expect(heading(page, "Your 3 tickets are held")).to_be_focused()
    expect(page.get_by_role("region", name="Your seats")).to_contain_text(section)
    assert position(visitor) == kept
    tickets = visitor.client.poll(page.url.rsplit("/", 1)[1])["tickets"]
    assert (len({ticket["row"] for ticket in tickets}) == 1) is together


def test_a_house_of_one_section_has_nowhere_else_to_offer(visit, organizer):
    rows = [{"row": row, "seats": 2} for row in "AB"]
    event = organizer.create_event([{"name": "Stalls", "price": 8000, "rows": rows}])
    page = join_from_page(visit().register(), event, "Stalls", 3, adjacent=True)
    expect(heading(page, "No 3 seats side by side are left")).to_be_visible()
    expect(page.get_by_role("button", name="Take 3 seats apart")).to_be_visible()
    expect(page.get_by_role("button", name="Anywhere in the house")).to_have_count(0)


def test_who_wants_a_section_that_is_sold_out_may_go_anywhere(visit, organizer, buyer):
    event = organizer.create_event(
        [{"name": "Balcony", "price": 8000, "capacity": 1}, {"name": "Floor", "price": 2500, "capacity": 4}])  # fmt: skip
    visitor = visit().register()
    # Somebody else is first, and pays.
    stop_the_line(organizer, event)
    ok(buyer.reserve(event, 1, section="Balcony", payment_method="pm_card_visa"), 202)
    page = join_from_page(visitor, event, "Balcony", 1)
    expect(heading(page, "You are in line")).to_be_visible()
    kept = position(visitor)
    ok(organizer.post(f"/api/admin/events/{event}/resume"))
    expect(heading(page, "Section Balcony is sold out")).to_be_visible()
    page.get_by_role("button", name="Anywhere in the house").click()
    expect(heading(page, "Your ticket is held")).to_be_visible()
    expect(page.get_by_role("region", name="Your seats")).to_contain_text("Floor")
    assert position(visitor) == kept


def test_a_kept_place_is_counted_down_and_then_one_asks_at_the_back(visit, organizer, buyer):
    event = organizer.create_event([{"name": "Floor", "price": 2500, "capacity": 2}])
    buyer.buy(event, 1)
    visitor = visit().register()

    def almost_over(route):
        answer = route.fetch().json()
        if "answer_within_seconds" in answer:
            answer["answer_within_seconds"] = 3
        route.fulfill(json=answer)

    visitor.page.route("**/api/request/*", almost_over)
    page = join_from_page(visitor, event)
    expect(page.get_by_text(re.compile(r"Your place in line is kept for 0:0\d"))).to_be_visible()
    # In sight and aloud.
    expect(page.locator(".scene-end-rejected-only_n_left").get_by_text("You start at the back")).to_be_visible()
    expect(page.locator("#polite")).to_have_text(re.compile("no longer kept"))
    expect(page.get_by_text("is kept for")).to_be_hidden()
    page.get_by_role("button", name="Take 1").click()
    expect(heading(page, "Your ticket is held")).to_be_visible()


def test_a_place_in_line_for_returns_counts_those_who_want_the_same(visit, organizer, buyer, other_buyer):
    event = organizer.create_event([{"name": "Floor", "price": 2500, "capacity": 2}])
    buyer.hold(event, 2)
    ok(other_buyer.reserve(event, 2, section="Floor"), 202)
    page = join_from_page(visit().register(), event)
    expect(heading(page, "You are in line for returns")).to_be_visible()
    expect(page.locator(".queue-facts")).to_contain_text("Ahead, who want the same1")


def test_two_buyers_want_the_same_seat(visit, hall):
    event = hall()
    first, second = visit().register(), visit().register()
    for visitor in (first, second):
        choose_seats(visitor.goto(event.path), event, [("Stalls", "C", "7")])
    first.page.get_by_role("button", name="Get tickets").click()
    expect(heading(first.page, "Your ticket is held")).to_be_visible()
    # The second one's map may be a moment old; the server decides.
    button = second.page.get_by_role("button", name="Get tickets")
    if button.is_visible() and button.is_enabled():
        button.click()
        expect(heading(second.page, "Those seats went to someone ahead of you")).to_be_visible()
        second.page.get_by_role("link", name="Choose other seats").click()
    expect(heading(second.page, "Concert")).to_be_visible()
    pay(first.page)
    expect(heading(first.page, "They are yours")).to_be_visible()


def test_the_time_to_pay_only_goes_down(visit, hall):
    page = visit().register().goto(hall().path)
    page.get_by_role("button", name="Get tickets").click()
    expect(heading(page, "Your 2 tickets are held")).to_be_visible()
    # What the sale says of itself comes each second, and says nothing of the time left.
    shown = page.evaluate(
        """async () => {
          const seen = [];
          for (let n = 0; n < 28; n += 1) {
            const [minutes, seconds] = document.querySelector(".hold-time").textContent.split(":");
            seen.push(minutes * 60 + Number(seconds));
            await new Promise((resolve) => setTimeout(resolve, 250));
          }
          return seen;
        }"""
    )
    assert shown == sorted(shown, reverse=True), shown
    assert shown[0] - shown[-1] >= 4, shown


def test_a_hold_that_ran_out_goes_back_and_can_be_asked_for_again(visit, organizer):
    event = organizer.create_event([{"name": "Floor", "price": 2500, "capacity": 2}], hold_seconds=10)
    page = visit().register().goto(f"/event/{event}")
    page.get_by_role("button", name="Get tickets").click()
    expect(heading(page, "Your 2 tickets are held")).to_be_visible()
    # Someone else waits for what may come back, and is told so.
    waiting = visit().register()
    other = waiting.goto(f"/event/{event}")
    expect(other.get_by_text("All held, some may come back")).to_be_visible()
    other.get_by_role("button", name="Get tickets").click()
    expect(heading(other, "You are in line for returns")).to_be_visible()
    expect(heading(page, "Your time to pay ran out")).to_be_visible(timeout=20_000)
    expect(heading(other, "Your 2 tickets are held")).to_be_visible()
    other.get_by_role("button", name="Give the seats back").click()
    other.get_by_role("dialog").get_by_role("button", name="Give them back").click()
    expect(heading(other, "You gave up your place")).to_be_visible()
    page.get_by_role("button", name="Ask again for 2 tickets").click()
    expect(heading(page, "Your 2 tickets are held")).to_be_visible()


@pytest.mark.parametrize("days", [-2, 2])
def test_the_clock_of_a_phone_may_be_wrong(visit, organizer, days):
    event = organizer.create_event([{"name": "Floor", "price": 2500, "capacity": 2}], hold_seconds=300)
    visitor = visit()
    # Set wrong, and set again while the page is open.
    visitor.page.add_init_script(
        f"{{ const now = Date.now; let off = {days} * 86400000; Date.now = () => now() + off;"
        " window.setClock = (days) => { off = days * 86400000; }; }"
    )
    page = visitor.goto(f"/event/{event}")
    page.get_by_role("button", name="Get tickets").click()
    page.get_by_role("link", name="Create an account").click()
    page.get_by_label("Name").fill("Grace Hopper")
    page.get_by_label("Email").fill(f"grace-{time.time_ns()}@example.com")
    page.get_by_label("Password").fill("a long password")
    page.get_by_role("button", name="Create account").click()
    page.get_by_role("button", name="Get tickets").click()
    expect(heading(page, "Your 2 tickets are held")).to_be_visible()
    expect(page.locator(".hold")).to_contain_text(re.compile(r"4:[345]\d"))
    page.evaluate(f"setClock({days} + 0.04)")
    expect(page.locator(".hold")).to_contain_text(re.compile(r"4:[2345]\d"))
    pay(page, "Visa")
    expect(heading(page, "They are yours")).to_be_visible()


def test_sold_out_is_said_with_a_way_on(visit, organizer, buyer):
    event = organizer.create_event([{"name": "Floor", "price": 2500, "capacity": 1}])
    buyer.buy(event)
    page = visit().register().goto(f"/event/{event}")
    expect(page.locator(".sale-notice")).to_have_text("Sold out")
    expect(page.get_by_role("button", name="Get tickets")).to_be_hidden()
    expect(page.get_by_role("link", name="Find another event")).to_be_visible()


def test_a_sale_that_has_not_opened_counts_down_and_opens_by_itself(visit, hall):
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 8))
    event = hall(onsale_at=soon, open=False)
    page = visit().register().goto(event.path)
    expect(page.get_by_role("button", name=re.compile(r"On sale in 0:0\d"))).to_be_disabled()
    button = page.get_by_role("button", name="Get tickets")
    expect(button).to_be_enabled(timeout=30_000)
    button.click()
    expect(heading(page, "Your 2 tickets are held")).to_be_visible()


def test_nobody_is_late_when_a_sale_opens(visit, hall):
    event = hall(open=False, onsale_at="2031-01-01T09:00:00Z")
    page = visit().register().page

    def opens_soon(route):
        told = route.fetch().json()
        soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 6))
        route.fulfill(json={**told, "onsale_at": soon})

    asked = []

    def draft(route):
        asked.append(time.time())
        # As it may come out of a cache: with a pause that ends long after the opening.
        numbers = dict.fromkeys(("head", "tail", "available", "held", "sold", "granted_per_second"), 0)
        route.fulfill(json={**numbers, "state": "draft", "poll_after_ms": 60_000, "message": ""})

    page.route(f"**/api/event/{event.id}", opens_soon)
    page.route("**/api/event/*/queue", draft)
    page.goto(page.url.rsplit("/", 1)[0] + event.path)

    def asked_again():
        page.wait_for_timeout(100)
        return len(asked) > 1

    until(asked_again, 30, "the look at what opened")


def test_more_than_the_limit_cannot_be_chosen(visit, hall):
    event = hall(per_user_limit=2)
    visitor = visit().register()
    page = visitor.goto(event.path)
    expect(page.get_by_role("button", name="More tickets")).to_be_disabled()
    choose_seats(page, event, [("Stalls", "A", "1"), ("Stalls", "A", "2"), ("Stalls", "A", "3")])
    expect(page.get_by_role("button", name=re.compile("^Let go of"))).to_have_count(2)
    expect(page.get_by_role("complementary")).to_contain_text("You can choose up to 2 seats")
    # Over all requests the server counts.
    visitor.client.buy(event.id, 2)

    def drawn_anew(route):
        told = route.fetch().json()
        told["sections"][0]["available"] = 7
        route.fulfill(json=told)

    page.route(f"**/api/event/{event.id}", drawn_anew)
    page.get_by_role("button", name="Get tickets").click()
    # It stays when the page has been drawn anew with what is left.
    expect(page.get_by_role("region", name="Choose your tickets")).to_contain_text("Only 7 left")
    expect(page.get_by_role("complementary").get_by_role("alert")).to_contain_text(re.compile("2 tickets"))


# --- Finding, signing in ---


def test_search_as_you_type_filters_and_deep_links(visit, organizer):
    word = f"zither{time.time_ns()}"
    for number in range(3):
        organizer.create_event(
            [{"name": "Floor", "price": 2000 + 4000 * number, "capacity": 5}], name=f"{word} night {number}",
            location="Lyceum, Bergen" if number else "Apollo, Oslo")  # fmt: skip
    visitor = visit().register()
    page = visitor.goto("/")
    until(lambda: ok(visitor.client.get("/api/search", terms=word))["total"] == 3, what="the index")
    page.get_by_role("searchbox").press_sequentially(word)
    hits = page.get_by_role("link", name=re.compile(word))
    expect(hits).to_have_count(3)
    page.get_by_label("Place").fill("Bergen")
    expect(hits).to_have_count(2)
    page.get_by_label("Highest price").fill("60")
    expect(hits).to_have_count(1)
    # The address is the search: it can be reloaded, and going back restores it.
    page.reload()
    expect(hits).to_have_count(1)
    hits.click()
    expect(heading(page, f"{word} night 1")).to_be_visible()
    page.go_back()
    expect(hits).to_have_count(1)
    expect(page.get_by_role("searchbox")).to_have_value(word)


def test_an_event_page_tells_machines_what_it_is(visit, organizer, anyone):
    event = organizer.create_event(
        [{"name": "Floor", "price": 2550, "capacity": 5}], name="Bach </script> & Sons", description="Two parts.")  # fmt: skip
    html = anyone.get(f"/event/{event}").text
    (block,) = re.findall(r'<script type="application/ld[+]json">(.*?)</script>', html)
    data = json.loads(block)
    assert data["@type"] == "Event" and data["name"] == "Bach </script> & Sons"
    assert data["offers"]["lowPrice"] == "25.50" and data["offers"]["availability"].endswith("/InStock")
    assert data["url"].endswith(f"/event/{event}") and data["startDate"] == "2031-05-20T19:30:00+00:00"
    secret = organizer.create_event(open=False)
    assert "ld+json" not in anyone.get(f"/event/{secret}").text
    # The browser takes it as data: `visit` fails if the policy or the console has something to say.
    page = visit().goto(f"/event/{event}")
    read = page.evaluate("JSON.parse(document.querySelector('script[type=\"application/ld+json\"]').textContent).name")
    assert read == "Bach </script> & Sons"


def test_marks_and_suggestions_on_the_page(visit, organizer):
    word = f"lute{time.time_ns()}"
    organizer.create_event(name=f"Songs to the {word}")
    visitor = visit().register()
    until(lambda: ok(visitor.client.get("/api/search", terms=word))["total"], what="the event in search")
    page = visitor.goto("/")
    page.get_by_role("searchbox").press_sequentially(word[:-1])
    expect(page.locator("mark")).to_have_text(word)
    page.get_by_role("button", name=word).click()
    expect(page.get_by_role("searchbox")).to_have_value(f"{word} ")
    expect(page.get_by_role("link", name=re.compile(word))).to_have_count(1)
    page.get_by_label("Section with tickets left").fill("nowhere")
    expect(page.get_by_text("No events match")).to_be_visible()


def test_search_says_what_is_held_and_what_is_sold_out(visit, organizer, other_buyer):
    word = f"spinet{time.time_ns()}"
    event = organizer.create_event([{"name": "Floor", "price": 2000, "capacity": 1}], name=word)
    visitor = visit().register()
    until(lambda: ok(visitor.client.get("/api/search", terms=word))["total"], what="the event in search")
    page = visitor.goto(f"/?terms={word}")
    hit = page.get_by_role("link", name=re.compile(word))
    expect(hit).to_contain_text("Only 1 left")

    def expect_after_reload(check):
        def looks_right():
            page.reload()
            expect(page.locator(".result-count")).not_to_have_text("Looking…")
            return check()

        until(looks_right, what="the list as it should be")

    held = other_buyer.hold(event, 1)["request_id"]
    expect_after_reload(lambda: hit.filter(has_text="All held, some may come back").count() == 1)
    ok(other_buyer.cancel(held))
    expect_after_reload(lambda: hit.filter(has_text="Only 1 left").count() == 1)
    other_buyer.buy(event, 1)
    expect_after_reload(lambda: page.get_by_text("No events match").count() == 1)
    page.get_by_role("button", name="Look among sold out events too").click()
    expect(hit).to_contain_text("Sold out")


def test_signing_in_says_what_is_wrong(visit):
    page = visit().goto("/account")
    button = page.get_by_role("button", name="Sign in")
    button.click()
    email = page.get_by_label("Email")
    expect(email).to_be_focused()
    expect(email).to_have_attribute("aria-invalid", "true")
    expect(email).to_have_accessible_description(re.compile("Enter an email address"))
    email.fill("nobody@example.com")
    page.get_by_label("Password").fill("not the password")
    button.click()
    expect(page.get_by_label("Password")).to_have_accessible_description(re.compile("do not match"))


def test_signing_out_forgets_and_a_dead_token_asks_again(visit, hall):
    event = hall()
    visitor = visit().register()
    page = visitor.goto("/account")
    visitor.context.clear_cookies()
    page.goto(visitor.site + event.path)
    # Who is nobody any more looks on as a guest, and is asked when it comes to seats.
    expect(heading(page, re.compile("^Concert"))).to_be_visible()
    expect(page.get_by_role("navigation").get_by_role("link", name="Sign in")).to_be_visible()
    page.get_by_role("button", name="Get tickets").click()
    expect(heading(page, "Sign in")).to_be_visible()
    visitor.register()
    page.goto(visitor.site + "/account")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("navigation").get_by_role("link", name="Sign in")).to_be_visible()
    assert page.evaluate("localStorage.getItem('onsale.places')") == "{}"
    # Whose device it is stays known.
    assert [each["name"] for each in visitor.context.cookies()] == ["onsale_device"]


def test_no_script_reads_the_tokens_and_one_that_ended_is_renewed(visit, hall):
    event = hall()
    visitor = visit().register()
    page = visitor.goto("/account")
    cookies = {each["name"]: each for each in visitor.context.cookies()}
    assert set(cookies) == {"onsale_access", "onsale_refresh", "onsale_device"}
    assert all(each["httpOnly"] and each["sameSite"] == "Strict" for each in cookies.values())
    kept = page.evaluate("JSON.stringify([document.cookie, { ...localStorage }, { ...sessionStorage }])")
    assert not any(each["value"] in kept for each in cookies.values())
    # The access token ends before the page has asked for a new one, as after a laptop was closed.
    visitor.context.clear_cookies(name="onsale_access")
    page.goto(visitor.site + event.path)
    expect(heading(page, "Sign in")).to_have_count(0)
    expect(page.get_by_role("navigation").get_by_role("link", name="My tickets")).to_be_visible()
    until(
        lambda: "onsale_access" in {each["name"] for each in visitor.context.cookies()}, what="another access token"
    )
    # Without the page's own header a cookie says nothing: so another site's form does nothing in its user's name.
    status = page.evaluate("fetch('/api/me/tickets', { credentials: 'same-origin' }).then((answer) => answer.status)")
    assert status == 401


# --- Times ---

CARNEGIE = {"location": "Carnegie Hall, New York", "date": "2032-12-08T20:15:00", "time_zone": "America/New_York"}


@pytest.mark.parametrize(
    ("here", "aside"),
    [("Europe/Berlin", "Thu, 9 Dec 2032, 02:15"), ("Asia/Tokyo", "Thu, 9 Dec 2032, 10:15"), ("America/New_York", "")],
)
def test_an_evening_is_told_on_the_venues_clock_wherever_one_reads_of_it(visit, hall, anyone, here, aside):
    word = f"carnegie{time.time_ns()}"
    event = hall(name=word, **CARNEGIE)
    visitor = visit(timezone_id=here).register()
    page = visitor.goto(event.path)
    facts = page.locator(".event-facts")
    expect(facts).to_contain_text(re.compile("Wednesday,? 8 December 2032, 20:15"))
    expect(facts.locator(".own-time")).to_have_text([re.compile(aside)] if aside else [])
    expect(facts.locator("time")).to_have_attribute("datetime", "2032-12-08T20:15:00-05:00")

    page.get_by_role("button", name="Get tickets").click()
    expect(heading(page, "Your 2 tickets are held")).to_be_visible()
    expect(page.locator(".queue-head")).to_contain_text("Wed, 8 Dec 2032, 20:15")
    pay(page)
    expect(page.locator(".stub-when").first).to_contain_text("Wed, 8 Dec 2032, 20:15")
    page.emulate_media(media="print")
    expect(page.locator(".stub-when").first).to_contain_text("Wed, 8 Dec 2032, 20:15")
    page.emulate_media(media="screen")
    visitor.goto("/tickets")
    expect(page.locator(".stub-when").first).to_contain_text("Wed, 8 Dec 2032, 20:15")

    # It is found on its day, and not on the reader's.
    until(lambda: ok(visitor.client.get("/api/search", terms=word))["total"], what="the event in search")
    for query, hits in (("from=2032-12-08&to=2032-12-08", 1), ("from=2032-12-09", 0), ("to=2032-12-07", 0)):
        visitor.goto(f"/?terms={word}&{query}")
        expect(page.locator(".result-count")).to_have_text("1 event" if hits else "No events match")
    visitor.goto(f"/?terms={word}+8+december+2032")
    expect(page.locator(".result-date")).to_contain_text(re.compile("Wed, 8 Dec 2032 · 20:15"))

    told = ok(visitor.client.get(f"/api/event/{event.id}"))
    assert (told["date"], told["date_local"]) == ("2032-12-09T01:15:00Z", "2032-12-08T20:15:00-05:00")
    (block,) = re.findall(r'<script type="application/ld[+]json">(.*?)</script>', anyone.get(event.path).text)
    assert json.loads(block)["startDate"] == "2032-12-08T20:15:00-05:00"


def test_who_has_tickets_of_an_event_that_moved_is_told_from_where(visit, hall, organizer):
    event = hall(**CARNEGIE)
    visitor = visit().register()
    page = visitor.goto(event.path)
    page.get_by_role("button", name="Get tickets").click()
    expect(heading(page, "Your 2 tickets are held")).to_be_visible()
    pay(page)
    expect(page.locator(".stub-when").first).to_contain_text("Wed, 8 Dec 2032, 20:15")
    visitor.goto("/tickets")
    expect(page.locator(".stub-when").first).to_contain_text("Wed, 8 Dec 2032, 20:15")
    expect(page.get_by_text("Your tickets stay valid")).to_have_count(0)
    moved = {"date": "2033-01-12T19:00:00", "time_zone": "America/New_York", "location": "David Geffen Hall, New York"}
    ok(organizer.call("PUT", f"/api/admin/events/{event.id}", moved))
    # The browser may have the event of a second ago.
    until(
        lambda: "12 Jan 2033, 19:00" in visitor.goto("/tickets").locator(".stub-when").first.inner_text(),
        what="the new evening on the tickets",
    )
    note = page.get_by_role("note")
    expect(note).to_contain_text(re.compile("Moved from Wed, 8 Dec 2032, 20:15.* to Wed, 12 Jan 2033, 19:00"))
    expect(note).to_contain_text("Moved from Carnegie Hall, New York to David Geffen Hall, New York.")


def test_a_zone_that_the_browser_does_not_know_is_told_by_its_offset(visit, hall):
    event = hall(**CARNEGIE)
    page = visit().register().page

    def newer(route):
        route.fulfill(json={**route.fetch().json(), "time_zone": "Europe/Atlantis"})

    page.route(f"**/api/event/{event.id}", newer)
    page.goto(page.url.rsplit("/", 1)[0] + event.path)
    expect(page.locator(".event-facts")).to_contain_text(re.compile("Wednesday,? 8 December 2032, 20:15"))


def test_the_list_says_when_a_sale_opens_and_what_currency_a_price_is_in(visit, organizer):
    word = f"koto{time.time_ns()}"
    cheap, dear = [{"name": "Floor", "price": 8_800, "capacity": 5}], [{"name": "Floor", "price": 10_100, "capacity": 5}]
    tokyo = {"time_zone": "Asia/Tokyo", "location": "Suntory Hall"}
    organizer.create_event(cheap, name=f"{word} yen", currency="JPY", date="2032-06-01T10:00:00Z", **tokyo)
    organizer.create_event(cheap, name=f"{word} euros", currency="EUR", date="2032-06-03T10:00:00Z")
    organizer.create_event(dear, name=f"{word} dear", currency="EUR", date="2032-06-04T10:00:00Z")
    organizer.create_event(
        cheap, name=f"{word} later", currency="JPY", date="2031-06-02T10:00:00Z", open=False,
        onsale_at="2031-02-28T15:30:00Z", **tokyo)  # fmt: skip
    visitor = visit().register()
    until(lambda: ok(visitor.client.get("/api/search", terms=word))["total"] == 4, what="the events in search")
    page = visitor.goto(f"/?terms={word}")
    hits = page.locator(".result")
    # What is on sale comes before what is not yet, however soon that is.
    expect(hits.locator("h2")).to_have_text([f"{word} yen", f"{word} euros", f"{word} dear", f"{word} later"])
    expect(hits.last).to_contain_text("On sale Sat, 1 Mar 2031, 00:30")
    expect(page.get_by_label("Currency")).to_have_value("JPY")
    page.get_by_label("Highest price").fill("9000")
    expect(hits.locator("h2")).to_have_text([f"{word} yen", f"{word} later"])
    page.get_by_label("Currency").select_option("EUR")
    page.get_by_label("Highest price").fill("100")
    expect(hits.locator("h2")).to_have_text([f"{word} euros"])
    page.reload()
    expect(page.get_by_label("Currency")).to_have_value("EUR")
    expect(hits.locator("h2")).to_have_text([f"{word} euros"])


# --- What every view must be ---


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_is_accessible(visit, hall, organizer, scheme):
    event = hall(description="One evening.\n\nTwo parts.")
    visitor = visit(color_scheme=scheme, reduced_motion="reduce")
    page = visitor.goto("/account")
    check(page, "signing in")
    visitor.register()
    for path in ("/", event.path, "/tickets", "/account", "/queue/nothing", "/nowhere"):
        if path != "/nowhere":
            page.goto(visitor.site + path)
            expect(page.locator("h1")).to_be_visible()
            page.wait_for_load_state("networkidle") if path != event.path else page.wait_for_selector(".picker")
            check(page, path)
    page.goto(visitor.site + event.path)
    page.get_by_role("radio", name="Choose seats").check()
    expect(page.get_by_role("listbox")).to_be_visible()
    check(page, "the seat map")
    page.get_by_role("radio", name="Best available").check()
    stop_the_line(organizer, event.id)
    page.get_by_role("button", name="Get tickets").click()
    expect(heading(page, "You are in line")).to_be_visible()
    check(page, "the line")
    ok(organizer.post(f"/api/admin/events/{event.id}/resume"))
    expect(heading(page, "Your 2 tickets are held")).to_be_visible()
    check(page, "the checkout")
    pay(page, "Visa that is declined")
    expect(page.get_by_text("Your card was declined. Nothing was charged.")).to_be_visible()
    check(page, "a declined card")
    pay(page)
    expect(heading(page, "They are yours")).to_be_visible()
    check(page, "the purchase")
    page.get_by_role("link", name="See all my tickets").click()
    expect(page.get_by_text("No.").first).to_be_visible()
    check(page, "the tickets")
    rows = organizer.create_event([{"name": "Stalls", "price": 8000, "rows": [{"row": row, "seats": 2} for row in "AB"]}])
    join_from_page(visitor, rows, "Stalls", 3, adjacent=True)
    expect(page.get_by_role("button", name="Take 3 seats apart")).to_be_visible()
    check(page, "an end that may be answered")


def check(page, what):
    assert not accessibility(page), (what, accessibility(page))
    assert not contrasts(page), (what, contrasts(page))
    assert not small_targets(page), (what, small_targets(page))


def test_what_no_reader_of_screens_understands_is_found(visit):
    page = visit().goto("/")
    expect(page.locator("h1")).to_be_visible()
    assert not accessibility(page)
    page.evaluate("() => document.querySelector('main').insertAdjacentHTML('beforeend', '<div role=bogus>?</div>')")
    assert any(found.startswith("aria-roles") for found in accessibility(page))


def test_nothing_is_wider_than_a_small_phone(visit, hall):
    event = hall(name="A Rather Long Name of a Concert With Donaudampfschifffahrtsgesellschaft in It")
    visitor = visit(viewport={"width": 320, "height": 640}).register()
    for path in ("/", event.path, "/tickets", "/account"):
        page = visitor.goto(path)
        page.wait_for_selector("h1")
        page.wait_for_timeout(300)
        assert not overflowing(page), path


LONG_NAMES = [
    "W" * 200,
    "Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichen" * 3,
    "東京フィルハーモニー交響楽団" * 14,
    "วงดุริยางค์ซิมโฟนีกรุงเทพ" * 8,
    "الأوركسترا الفيلهارمونية " * 8,
    "🎻🎷" * 70,
    "a\u0301\u0302\u0303" * 50,
]


@pytest.mark.parametrize("viewport", [PHONE, {"width": 320, "height": 640}], ids=lambda size: str(size["width"]))
def test_text_of_twice_the_size_and_names_of_any_length_fit_a_phone(viewport, visit, organizer, buyer):
    events = [
        organizer.create_event(
            [{"name": name.encode()[:100].decode(errors="ignore"), "price": 12_345_600, "rows": [{"row": "A", "seats": 4}]},
             {"name": "Floor", "price": 2_500, "capacity": 4}]
            + [{"name": f"Balcony left, category {n}", "price": 2_500, "capacity": 4} for n in range(7)],
            name=name, location=name[:200], currency="IDR")
        for name in LONG_NAMES
    ]  # fmt: skip
    # Not as a phone, which makes the page's width that of what does not fit.
    visitor = visit(viewport=viewport, has_touch=True).register()
    page = visitor.page

    def check_sizes(what):
        for size in ("100%", "200%"):
            page.evaluate(f"document.documentElement.style.fontSize = '{size}'")
            assert not overflowing(page), (what, size, overflowing(page))
        page.evaluate("document.documentElement.style.fontSize = ''")

    for event in events:
        visitor.goto(f"/event/{event}")
        page.wait_for_selector(".picker")
        check_sizes(f"event {event}")
    page.get_by_role("radio", name="Choose seats").check()
    expect(page.get_by_role("listbox")).to_be_visible()
    check_sizes("the map")
    page.get_by_role("radio", name="Best available").check()
    for path in ("/", "/account", "/nowhere", "/tickets"):
        visitor.goto(path)
        page.wait_for_load_state("networkidle")
        check_sizes(path)
    visitor.goto(f"/event/{events[1]}")
    stop_the_line(organizer, events[1])
    page.get_by_role("button", name="Get tickets").click()
    expect(heading(page, "You are in line")).to_be_visible()
    check_sizes("the line")
    ok(organizer.post(f"/api/admin/events/{events[1]}/resume"))
    expect(heading(page, "Your 2 tickets are held")).to_be_visible()
    check_sizes("the checkout")
    address = page.url
    visitor.goto("/")
    expect(page.get_by_role("complementary", name="Held seats")).to_be_visible()
    check_sizes("held seats")
    page.goto(address)
    pay(page)
    expect(heading(page, "They are yours")).to_be_visible()
    check_sizes("the purchase")
    visitor.goto("/tickets")
    expect(page.get_by_text("No.").first).to_be_visible()
    check_sizes("the tickets")


def test_a_magnified_map_says_what_is_in_view_and_covers_none_of_it(visit, hall):
    event = hall()
    visitor = visit(viewport=PHONE, has_touch=True, is_mobile=True, device_scale_factor=2)
    page = visitor.register().goto(event.path)
    page.get_by_role("radio", name="Choose seats").tap()
    where, canvas = page.locator(".seat-where"), page.locator(".seat-box canvas")
    expect(where).to_have_text("Stalls, Circle")
    for _ in range(4):
        page.get_by_role("button", name="Zoom in").tap()
    expect(where).to_have_text(re.compile("^(Stalls|Circle) · Rows? [A-D]( to [A-D])?$"))
    seen = canvas.bounding_box()
    for name in ("Zoom in", "Zoom out", "Show all"):
        button = page.get_by_role("button", name=name).bounding_box()
        assert button["y"] + button["height"] <= seen["y"] or button["y"] >= seen["y"] + seen["height"], name
    # Every line of seats has its row's name at the edge: there is ink in the strip, and no seat.
    inks = inks_at_the_edge(page)
    greys = [max(parts) - min(parts) <= 1 for parts in ([int(part) for part in ink.split(",")] for ink in inks)]
    assert len(inks) > 1 and all(greys), f"letters alone: {inks}"


def test_the_legend_of_the_map_is_true_of_every_seat(visit, organizer, pictures):
    """Also of prices between the lowest and the highest of a section, and of more prices than there are colours."""
    def section(name, price, row):
        return {"name": name, "price": price, "rows": [{"row": row, "seats": 3}]}

    event = organizer.create_event([section("Stalls", 9_000, "A"), section("Circle", 3_000, "A")], currency="EUR", open=False)
    for row, price in {"B": 8_000, "C": 7_000, "D": 6_000, "E": 5_000, "F": 4_000}.items():
        ok(organizer.post(f"/api/admin/events/{event}/tickets", {"sections": [section("Stalls", price, row)]}), 201)
    organizer.open_event(event)
    visitor = visit(viewport={"width": 320, "height": 700}).register()
    page = visitor.goto(f"/event/{event}")
    page.get_by_role("radio", name="Choose seats").check()
    legend = page.get_by_role("list", name="Legend").get_by_role("listitem")
    expect(legend).to_have_text(["€80.00 – €90.00", "€70.00", "€50.00 – €60.00", "€40.00", "€30.00", "Chosen", "Taken or held"])
    # The colour of each seat is that of its price.
    painted = """() => {
          const rgb = (text) => text.match(/[0-9]+/g).slice(0, 3).join();
          const canvas = document.querySelector(".seat-box canvas");
          // Of a copy: the browser complains of who reads the canvas itself often, as this does on a slow machine.
          const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
          copy.drawImage(canvas, 0, 0);
          const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
          const seen = new Set();
          for (let at = 0; at < data.length; at += 4) seen.add([data[at], data[at + 1], data[at + 2]].join());
          return [...document.querySelectorAll(".legend .swatch")].slice(0, 5)
            .map((swatch) => seen.has(rgb(getComputedStyle(swatch).backgroundColor)));
        }"""
    until(lambda: page.evaluate(painted) == [True] * 5, what="seats in every colour of the legend")
    assert not overflowing(page) and not accessibility(page)
    pictures(page, "legend")
    # Of many sections the names would take more room than the map.
    names = ("A long name of a section", "Another long name of a section", "A third one")
    page = visitor.goto(f"/event/{organizer.create_event([section(name, 2_500, 'A') for name in names])}")
    page.get_by_role("radio", name="Choose seats").check()
    where = page.locator(".seat-where")
    expect(where).to_have_text("All 3 sections")
    # The first seat, and the ring around it, are beside the names of rows and not under them.
    for _ in range(6):
        page.get_by_role("button", name="Zoom in").click()
    page.get_by_role("listbox", name="Seat map").focus()
    page.keyboard.press("Home")
    expect(where).to_have_text(re.compile("^A long name of a section( · Row A| and 2 more sections|, Another long name)"))


def test_what_is_not_there_is_a_page_that_says_so(visit, hall):
    event = hall()
    visitor = visit()
    for signed_in in (False, True):
        if signed_in:
            visitor.register()
        for path in ("/nope", "/event/nope", "/event/999999999", "/event/%E0%A4%A", f"{event.path}/x"):
            answer = visitor.page.goto(visitor.site + path)
            assert answer.status == (400 if "%" in path else 404), path
            assert answer.headers["content-type"].startswith("text/html"), path
            expect(heading(visitor.page, re.compile("^There is no such (page|event)$"))).to_be_visible()
            assert not accessibility(visitor.page), path
    answer = visitor.page.goto(f"{visitor.site}{event.path}/?utm_source=x%")
    assert answer.status == 200
    expect(heading(visitor.page, re.compile("^Concert"))).to_be_visible()


def test_the_list_works_without_javascript(visit, organizer, buyer, site):
    """The front page, its form, and the pages behind it; nothing that was typed becomes markup."""
    evil = 'Plain <b id="evil">Quartet</b> &amp; "Friends"'
    for number in range(23):
        organizer.create_event(
            [{"name": "Floor", "price": 2500 + 100 * number, "capacity": 5}],
            name=f"{evil} {number:02}", location="Hall <i>", currency="EUR", time_zone="Asia/Tokyo",
            date=f"2033-01-{number + 1:02}T19:00:00",
        )
    until(lambda: ok(buyer.get("/api/search", terms="Plain Quartet Friends"))["total"] == 23, what="events that are found")
    page = visit(java_script_enabled=False).goto("/")
    expect(page.get_by_role("link", name="Skip to content")).to_be_attached()
    assert page.locator(".results li").count() > 0, "the first page lists what there is"
    page.get_by_label("Search events").fill("Plain Quartet Friends")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_text("23 events", exact=True)).to_be_visible()
    found = page.locator(".results li")
    expect(found).to_have_count(20)
    expect(found.first.get_by_role("link", name=f"{evil} 00")).to_have_attribute("href", re.compile("^/event/[0-9]+$"))
    for fact in ("Saturday, 1 January 2033, 19:00 (Asia/Tokyo)", "Hall <i>", "On sale · 25.00 EUR"):
        expect(found.first.get_by_text(fact, exact=True)).to_be_visible()
    assert page.locator("#evil").count() == 0 and not overflowing(page)
    page.get_by_role("link", name="More events").click()
    expect(found).to_have_count(3)
    expect(found.last.get_by_role("link")).to_have_text(f"{evil} 22")
    assert page.get_by_label("Search events").input_value() == "Plain Quartet Friends"
    expect(page.get_by_role("link", name="More events")).to_have_count(0)
    page.get_by_role("link", name="Back to the first of them").click()
    # Every field of the form, and what is wrong with one in words.
    page.get_by_label("Search events").fill("Plain Quartet")
    page.get_by_label("Highest price").fill("26,50")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_text("A highest price needs its currency, such as EUR.")).to_be_visible()
    page.get_by_label("in the currency").fill("eur")
    page.get_by_label("From").fill("2033-01-02")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_text("1 event", exact=True)).to_be_visible()
    expect(found.get_by_role("link")).to_have_text(f"{evil} 01")
    page.get_by_label("Search events").fill('"><script>alert(1)</script>')
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_text("No events match")).to_be_visible()
    assert page.get_by_label("Search events").input_value() == '"><script>alert(1)</script>'
    for path in ("/?from=nonsense", "/?cursor=nonsense", "/?terms=" + "a" * 600, "/?utm_source=x%", "/?terms=%00"):
        answer = requests.get(site + path, headers={"Accept": "text/html"}, timeout=10)
        assert answer.status_code == 200 and 'role="search"' in answer.text, path


def test_who_is_turned_away_reads_a_page_about_it(site):
    """What a browser's navigation can meet before any route is asked; programs are told as ever."""
    html = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}
    cookies = {"Cookie": "; ".join(f"c{number}={'a' * 100}" for number in range(200))}
    long = "/event/1?utm_source=" + "a" * 20_000
    for path, headers, status, words in (
        (long, html, 414, "The address is too long"),
        ("/tickets", {**html, **cookies}, 431, "Your browser sends too much"),
        ("/nope%00", html, 400, "There is no such page"),
    ):
        answer = requests.get(site + path, headers=headers, timeout=10)
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "text/html; charset=utf-8"), path[:60]
        assert words in answer.text and "default-src 'none'" in answer.headers["Content-Security-Policy"]
        if status != 400:
            # Not another page in its place, as soon as the script runs.
            assert "<script" not in answer.text
    for path, headers, status in (
        ("/api/event/1?x=" + "a" * 20_000, html, 414),
        ("/healthz?x=" + "a" * 20_000, html, 414),
        ("/tickets", {"Accept": "*/*", **cookies}, 431),
        ("/api/search", {**html, **cookies}, 431),
    ):
        answer = requests.get(site + path, headers=headers, timeout=10)
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json"), path[:60]
    for path in ("/event/007", "/event/+7", "/event/0"):
        assert requests.get(site + path, headers=html, timeout=10).status_code == 404, path


def test_an_event_can_be_read_without_javascript(visit, hall, anyone):
    event = hall(name="Silence & Noise", **CARNEGIE)
    page = visit(java_script_enabled=False).goto(event.path)
    expect(heading(page, "Silence & Noise")).to_be_visible()
    for text in ("Wednesday, 8 December 2032, 20:15 (America/New_York)", "Carnegie Hall, New York",
                 "55.00 to 80.00 EUR", "On sale", "JavaScript"):  # fmt: skip
        expect(page.get_by_text(text).first).to_be_visible()
    assert not overflowing(page)
    calendar = anyone.get(page.get_by_role("link", name="Put it into your calendar").get_attribute("href"))
    assert calendar.headers["Content-Type"].startswith("text/calendar")
    lines = calendar.text.replace("\r\n ", "").split("\r\n")
    assert lines[0] == "BEGIN:VCALENDAR" and "DTSTART;TZID=America/New_York:20321208T201500" in lines
    assert "SUMMARY:Silence & Noise" in lines and "LOCATION:Carnegie Hall\\, New York" in lines
    assert all(len(line) <= 75 for line in calendar.content.split(b"\r\n"))


def test_progress_can_be_seen_in_forced_colours(visit, hall, organizer):
    event = hall()
    stop_the_line(organizer, event.id)
    visitor = visit(forced_colors="active").register()
    page = visitor.goto(event.path)
    page.get_by_role("button", name="Get tickets").click()
    bar = page.get_by_role("progressbar")
    expect(bar).to_be_visible()
    # What is done and what is not are of different colours, and there is a frame around both.
    assert bar.evaluate("(e) => getComputedStyle(e).borderTopStyle") == "solid"

    def ends_differ():
        picture = base64.b64encode(bar.screenshot()).decode()
        return page.evaluate(
            """async (picture) => {
              const image = new Image();
              image.src = `data:image/png;base64,${picture}`;
              await image.decode();
              const context = new OffscreenCanvas(image.width, image.height).getContext('2d', { willReadFrequently: true });
              context.drawImage(image, 0, 0);
              const at = (x) => context.getImageData(x, image.height / 2, 1, 1).data.join();
              return at(6) !== at(image.width - 4);
            }""",
            picture,
        )

    # It grows to where it is.
    until(ends_differ, what="a bar that can be seen")


def test_head_tells_what_get_would_send_and_a_page_is_sent_compressed(stack, anyone, buyer, organizer):
    event = organizer.create_event(name="Head of Household")
    (bundle,) = re.findall(r'"(/assets/[^"]+/bundle\.js)"', anyone.get("/").text)
    plain = {"Accept-Encoding": "identity"}
    for path in ("/", f"/event/{event}", bundle, f"/event/{event}/event.ics", f"/api/event/{event}", "/openapi.json"):
        whole = buyer.call("GET", path, headers=plain)
        head = buyer.call("HEAD", path, headers=plain)
        assert (whole.status_code, head.status_code, head.content) == (200, 200, b""), path
        assert head.headers["Content-Length"] == str(len(whole.content)), path
        assert head.headers.get("ETag") == whole.headers.get("ETag"), path
    sent = 0
    for path in ("/", bundle, bundle.replace("bundle.js", "style.css")):
        whole = anyone.call("GET", path, headers=plain)
        packed = anyone.call("GET", path, headers={"Accept-Encoding": "gzip"}, stream=True)
        assert packed.headers["Content-Encoding"] == "gzip"
        size = int(packed.headers["Content-Length"])
        assert packed.content == whole.content
        assert size < 0.6 * len(whole.content)
        sent += size
        # As proxies on the way change them.
        tag = packed.headers["ETag"]
        for known in (tag, f"W/{tag}", whole.headers["ETag"][:-1] + '-gzip"', whole.headers["ETag"][:-1] + '--gzip"'):
            again = anyone.call("GET", path, headers={"Accept-Encoding": "gzip", "If-None-Match": known})
            assert (again.status_code, again.content) == (304, b""), known
    assert sent < 60_000, "the whole first view"
    page = ok(buyer.get(f"/api/event/{event}"))
    tag = buyer.get(f"/api/event/{event}").headers["ETag"]
    weak = buyer.call("GET", f"/api/event/{event}", headers={"If-None-Match": f'W/{tag[:-1]}-gzip"'})
    assert weak.status_code == 304 and page["id"] == event


@pytest.mark.skipif(ASSETS is not None and bool(ASSETS), reason="the files come from the source here")
def test_the_first_view_needs_one_request_for_its_modules(visit, hall):
    # Who is signed in may be called, and the code for that comes later.
    for visitor, later in ((visit(), []), (visit().register(), ["turn.js"])):
        asked = []
        visitor.page.on("request", lambda request, asked=asked: asked.append(request.url))
        visitor.goto("/")
        expect(heading(visitor.page, "Find your night out")).to_be_visible()
        expect(visitor.page.locator(".result-count")).not_to_have_text("Looking…")
        files = [url.rsplit("/", 1)[-1] for url in asked if "/assets/" in url]
        assert sorted(set(files) - {"icon.svg"}) == ["bundle.js", "style.css", *later]


def test_the_page_is_served_with_its_protections(stack, anyone):
    answer = anyone.get("/")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "no-cache" in answer.headers["Cache-Control"]
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", answer.text)
    tag = anyone.get("/account").headers["ETag"]
    again = anyone.call("GET", "/tickets", headers={"If-None-Match": tag})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    for name in set(re.findall(r'"(/assets/[^"]+)"', answer.text)):
        asset = anyone.get(name)
        assert asset.status_code == 200 and "immutable" in asset.headers["Cache-Control"]
        for imported in re.findall(r'from "\./([^"]+)"', asset.text):
            assert anyone.get(name.rsplit("/", 1)[0] + "/" + imported).status_code == 200, imported


@pytest.mark.parametrize("locale", ["th-TH", "fa-IR", "ar-EG", "ja-JP-u-ca-japanese", "he-IL", "en-US-u-ca-hebrew-nu-deva"])
def test_years_and_digits_are_those_of_the_ticket_in_every_language(locale, visit, organizer):
    event = organizer.create_event(
        [{"name": "Floor", "price": 123400, "capacity": 9}], name="Far away", date="2031-12-09T19:30:00Z"
    )
    visitor = visit(locale=locale).register()
    page = visitor.goto(f"/event/{event}")
    expect(page.get_by_role("heading", name="Far away")).to_be_visible()
    text = page.locator("main").inner_text()
    assert "2031" in text, text
    for year in ("2574", "1410", "5792", "\u4ee4\u548c", "R13", "\u06f1", "\u0661", "\u096f"):
        assert year not in text, text
    assert re.search(r"1\D?234", text), text


def test_where_there_are_no_seats_there_is_none_to_choose(visit, organizer):
    standing = organizer.create_event([{"name": "Floor", "price": 2_500, "capacity": 9}])
    mixed = organizer.create_event(
        [{"name": "Floor", "price": 2_500, "capacity": 9}, {"name": "Box", "price": 9_000, "rows": [{"row": "A", "seats": 4}]}]
    )
    visitor = visit().register()
    page = visitor.goto(f"/event/{standing}")
    expect(page.get_by_role("button", name="More tickets")).to_be_visible()
    expect(page.get_by_role("radio", name="Choose seats")).to_be_hidden()
    expect(page.get_by_text("Side by side only")).to_be_hidden()
    page = visitor.goto(f"/event/{mixed}")
    expect(page.get_by_text("Side by side only")).to_be_visible()
    page.get_by_role("radio", name=re.compile("^Floor")).check()
    expect(page.get_by_text("Side by side only")).to_be_hidden()
    page.get_by_role("radio", name=re.compile("^Box")).check()
    expect(page.get_by_text("Side by side only")).to_be_visible()
    page.get_by_role("radio", name="Choose seats").check()
    expect(page.get_by_role("listbox", name="Seat map")).to_be_visible()


def test_addresses_that_every_browser_and_crawler_asks_for(site):
    html = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}
    icon = requests.get(f"{site}/favicon.ico", timeout=10)
    assert icon.status_code == 200 and icon.headers["Content-Type"].startswith("image/"), icon.headers
    robots = requests.get(f"{site}/robots.txt", timeout=10)
    assert robots.status_code == 200 and "Disallow: /queue/" in robots.text and "Disallow: /\n" not in robots.text
    nobody = requests.get(f"{site}/queue/nope", headers=html, timeout=10)
    assert nobody.status_code == 404 and "There is no such page" in nobody.text
    posted = requests.post(f"{site}/tickets", headers=html, timeout=10)
    assert posted.status_code == 405 and posted.headers["Content-Type"].startswith("text/html"), posted.text
    assert "GET" in posted.headers["Allow"]
    assert requests.post(f"{site}/tickets", timeout=10).headers["Content-Type"].startswith("application/problem+json")
    document = requests.get(f"{site}/openapi.json", timeout=10)
    known = requests.get(f"{site}/openapi.json", headers={"If-None-Match": document.headers["ETag"]}, timeout=10)
    assert known.status_code == 304 and not known.content
