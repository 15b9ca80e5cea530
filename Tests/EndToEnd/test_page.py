"""The buyer's page in a real browser, against a real stack: by mouse, by keyboard, by touch."""

import json
import re
import time

import pytest
from playwright.sync_api import expect

from client import ok
from page_checks import accessibility, contrasts, overflowing, small_targets
from page_fixtures import PHONE, chromium, hall, site, visit  # noqa: F401  (fixtures)
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
    # Nobody is signed in: the page asks, and comes back to the event.
    page.get_by_role("link", name="Create an account").click()
    page.get_by_label("Name").fill("Grace Hopper")
    page.get_by_label("Email").fill(f"grace-{time.time_ns()}@example.com")
    page.get_by_label("Password").fill("a long password")
    page.get_by_role("button", name="Create account").click()
    expect(heading(page, "Nachtmusik for Strings")).to_be_visible()

    page.get_by_role("radio", name=re.compile("^Circle")).check()
    page.get_by_role("button", name="More tickets").click()
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
    event = hall(name="Keyboard Concerto")
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


def test_the_line_survives_a_reload_and_being_offline(visit, hall, organizer):
    event = hall()
    stop_the_line(organizer, event.id)
    first, second = visit().register(), visit().register()
    first.client.reserve(event.id, 1)
    page = second.goto(event.path)
    page.get_by_role("button", name="Get tickets").click()
    expect(heading(page, "You are in line")).to_be_visible()
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


# --- Paying ---


def test_a_declined_card_keeps_the_seats_for_another(visit, hall, ledger):
    event = hall()
    page = visit().register().goto(event.path)
    page.get_by_role("button", name="Get tickets").click()
    pay(page, "Visa that is declined")
    expect(page.get_by_text("Your card was declined and nothing was charged.")).to_be_visible()
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
    page.get_by_role("link", name=re.compile("Seats held: pay now")).click()
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
    assert data["url"].endswith(f"/event/{event}") and data["startDate"] == "2031-05-20T19:30:00Z"
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
    expect(page.get_by_text("Your card was declined and nothing was charged.")).to_be_visible()
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


def test_nothing_is_wider_than_a_small_phone(visit, hall):
    event = hall(name="A Rather Long Name of a Concert With Donaudampfschifffahrtsgesellschaft in It")
    visitor = visit(viewport={"width": 320, "height": 640}).register()
    for path in ("/", event.path, "/tickets", "/account"):
        page = visitor.goto(path)
        page.wait_for_selector("h1")
        page.wait_for_timeout(300)
        assert not overflowing(page), path


def test_the_page_is_served_with_its_protections(stack, anyone):
    answer = anyone.get("/")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "no-cache" in answer.headers["Cache-Control"]
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", answer.text)
    tag = answer.headers["ETag"]
    # Of an event that there is not: the page of one that is has its name in it, and so another tag.
    again = anyone.call("GET", "/event/999999999", headers={"If-None-Match": tag})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    for name in set(re.findall(r'"(/assets/[^"]+)"', answer.text)):
        asset = anyone.get(name)
        assert asset.status_code == 200 and "immutable" in asset.headers["Cache-Control"]
        for imported in re.findall(r'from "\./([^"]+)"', asset.text):
            assert anyone.get(name.rsplit("/", 1)[0] + "/" + imported).status_code == 200, imported
