"""Whose turn it is hears of it: on every page, on every device on which they are signed in."""

import re

import pytest
from playwright.sync_api import expect

from client import ok
from page_checks import accessibility, contrasts, overflowing, small_targets
from page_fixtures import DESKTOP, PHONE
from stack import until
from test_page import heading, pay, second_in_line, stop_the_line


def sign_in_again(visitor, visit, **options):
    """The same person on another device, which knows nothing of the first."""
    other = visit(**options)
    email = visitor.page.evaluate("JSON.parse(localStorage.getItem('onsale.session')).email")
    page = other.goto("/account")
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill("correct horse")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("link", name="My tickets")).to_be_visible()
    return other


def asks(page, condition):
    """Waits for what the page's calls say, which are heard while the browser is listened to."""
    until(lambda: page.wait_for_timeout(50) or condition(), 60, "the calls of the page")


def check(page):
    assert not accessibility(page)
    assert not contrasts(page)
    assert not overflowing(page)
    assert not small_targets(page)


@pytest.mark.parametrize(("size", "scheme"), [(PHONE, "dark"), (DESKTOP, "light")], ids=["phone", "desktop"])
def test_another_device_says_when_it_is_their_turn_and_leads_to_the_checkout(
    visit, hall, organizer, pictures, size, scheme
):
    event = hall(name="Two Devices")
    stop_the_line(organizer, event.id)
    laptop = visit().register()
    place = ok(laptop.client.reserve(event.id, 2), 202)["request_id"]
    phone = sign_in_again(laptop, visit, viewport=size, color_scheme=scheme)
    page = phone.goto("/tickets")
    line = page.get_by_role("region", name="In line now").get_by_role("link")
    expect(line).to_contain_text("Two Devices")
    expect(line).to_contain_text("In line")
    banner = page.get_by_role("complementary", name="Held seats")
    expect(banner).to_be_hidden()
    check(page)
    pictures(page, "in-line")
    # Another page is open, and nobody touches it.
    page = phone.goto("/")
    expect(heading(page, "Find your night out")).to_be_visible()
    plain = page.locator("link[rel=icon]").get_attribute("href")
    ok(organizer.post(f"/api/admin/events/{event.id}/resume"))
    expect(banner).to_contain_text(re.compile(r"It is your turn\. Your seats are held, [78]:\d\d.*Two Devices"), timeout=30_000)
    expect(page.locator("#assertive")).to_contain_text("It is your turn. Your seats are held.")
    expect(page).to_have_title(re.compile(r"^[78]:\d\d · Your turn · "))
    before = page.title()
    until(lambda: page.title() != before, what="the title that counts")
    assert page.locator("link[rel=icon]").get_attribute("href").startswith("data:image/svg+xml,")
    check(page)
    pictures(page, "turn")
    page.get_by_role("link", name="My tickets").click()
    expect(line).to_contain_text(re.compile(r"Your turn: [78]:\d\d left"))
    check(page)
    pictures(page, "tickets")
    banner.get_by_role("link", name="Pay now").click()
    expect(heading(page, "Your 2 tickets are held")).to_be_visible()
    assert place in page.url
    pay(page)
    expect(heading(page, "They are yours")).to_be_visible()
    # It is over on every page, and the page says what it is again.
    phone.goto("/")
    expect(heading(page, "Find your night out")).to_be_visible()
    expect(banner).to_be_hidden()
    expect(page).to_have_title(re.compile("^(?!.*Your turn)"))
    assert page.locator("link[rel=icon]").get_attribute("href") == plain


def test_only_who_has_something_open_asks_and_one_tab_asks_for_all(visit, hall, organizer):
    event = hall(name="One Asks")
    visitor = visit().register()
    asked = []
    visitor.context.on("request", lambda r: r.url.endswith("/api/me/requests") and asked.append(r.url))
    page = visitor.goto("/")
    asks(page, lambda: len(asked) == 1)
    page.get_by_role("link", name="Account").click()
    page.get_by_role("link", name="Events").click()
    expect(heading(page, "Find your night out")).to_be_visible()
    page.wait_for_timeout(1_000)
    assert len(asked) == 1, "nothing is open, and it was looked a moment ago"
    stop_the_line(organizer, event.id)
    visitor.client.reserve(event.id, 1)
    page.evaluate("localStorage.removeItem('onsale.requests')")
    tabs = [visitor.open_tab() for _ in range(3)]
    for tab in tabs:
        tab.goto(visitor.site + "/")
    page.wait_for_timeout(1_000)
    count = len(asked)
    started = page.evaluate("performance.now()")
    asks(page, lambda: len(asked) >= count + 3)
    seconds = (page.evaluate("performance.now()") - started) / 1_000
    # Of four tabs, at five seconds or more between two looks; two that wake at the same moment may both ask.
    assert len(asked) - count <= 3 + seconds / 5


def test_a_look_that_a_page_leaves_unanswered_is_the_next_ones_to_repeat(visit, hall, organizer):
    event = hall(name="Left Behind")
    stop_the_line(organizer, event.id)
    visitor = visit().register()
    ok(visitor.client.reserve(event.id, 1), 202)
    page = visitor.page
    # The first look hangs, and the page is left meanwhile.
    page.route("**/api/me/requests", lambda route: None, times=1)
    with page.expect_request("**/api/me/requests"):
        visitor.goto("/")
    visitor.goto("/account")
    ok(organizer.post(f"/api/admin/events/{event.id}/resume"))
    banner = page.get_by_role("complementary", name="Held seats")
    expect(banner).to_contain_text("It is your turn", timeout=12_000)


def test_the_page_of_the_line_counts_in_its_title_and_its_icon(visit, hall, organizer):
    event = hall(name="Counting")
    second, page = second_in_line(visit, organizer, event)
    icon = page.locator("link[rel=icon]")
    expect(icon).to_have_attribute("href", re.compile("^data:image/svg.*%3E1%3C%2Ftext"))
    ok(organizer.post(f"/api/admin/events/{event.id}/resume"))
    expect(heading(page, "Your 2 tickets are held")).to_be_visible()
    expect(page).to_have_title(re.compile(r"^[78]:\d\d · Your turn: pay now · Counting"))
    expect(icon).to_have_attribute("href", re.compile("^data:image/svg.*%3E!%3C%2Ftext"))
    page.go_back()
    # Still their turn, and every page says so.
    expect(icon).to_have_attribute("href", re.compile("^data:image/svg"))
    ok(second.client.cancel(page.evaluate("Object.keys(JSON.parse(localStorage.getItem('onsale.places')))[0]")))
    page.goto(second.site + "/account")
    expect(icon).to_have_attribute("href", re.compile(r"icon\.svg$"))
