"""Seating plans: an event made from one, drawn on the page as it says, and bought from."""

import json
import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from client import ok
from conftest import new_buyer
from page_checks import accessibility, inks_at_the_edge, overflowing
from page_fixtures import DESKTOP, PHONE

SHARED = Path(__file__).parents[3] / "shared/plans"


def seat(number, x, y=0, category="S"):
    return {
        "seat_number": str(number),
        "seat_guid": f"{category}-{number}-{x}-{y}",
        "position": {"x": x, "y": y},
        "category": category,
    }


def row(label, x, y, seats):
    return {"row_number": label, "position": {"x": x, "y": y}, "seats": seats}


# A red box, turned by a quarter: from (500, 100) it reaches 60 to the left and 200 down. A blue disc beside it.
PLAN = {
    "name": "Hall",
    "size": {"width": 800, "height": 400},
    "categories": [{"name": "S", "color": "#3355dd"}, {"name": "Obstructed", "color": "#999999"}],
    "zones": [
        {
            "name": "Hall",
            "position": {"x": 0, "y": 0},
            "rows": [
                row("A", 0, 0, [seat(7, 0), seat(5, 25), seat(3, 50), seat(1, 75)]),
                row("A", 150, 0, [seat(2, 0), seat(4, 25)]),
                row("B", 0, 30, [seat(n, 25 * n, 0, "Obstructed") for n in range(4)]),
                row("C", 0, 90, [seat(1, 0), seat(2, 0, 25), seat(3, 0, 50)]),
            ],
            "areas": [
                {
                    "shape": "rectangle",
                    "position": {"x": 500, "y": 100},
                    "rotation": 90,
                    "color": "#ff0000",
                    "rectangle": {"width": 200, "height": 60},
                    "text": {"text": "Stage", "color": "#ffffff", "size": 20, "position": {"x": 100, "y": 30}},
                },
                {
                    "shape": "circle",
                    "position": {"x": 700, "y": 200},
                    "rotation": 0,
                    "color": "#0000ff",
                    "circle": {"radius": 50},
                },
            ],
        }
    ],
}

# The colour at a place of the plan: the map shows everything, with two seats' room around it.
COLOUR = """([canvas, x, y, unit, left, top, right, bottom]) => {
  const width = (right - left) / unit + 4, height = (bottom - top) / unit + 4;
  const ratio = Math.min(devicePixelRatio || 1, 3);
  const [across, down] = [canvas.width / ratio, canvas.height / ratio];
  const scale = Math.min(across / width, down / height, 46);
  const at = (place, least, room, extent) => ((place - least) / unit + 2) * scale + (room - extent * scale) / 2;
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  const pixel = copy.getImageData(
    Math.round(at(x, left, across, width) * ratio), Math.round(at(y, top, down, height) * ratio), 1, 1).data;
  return [...pixel.slice(0, 3)];
}"""


def event_from(organizer, plan, **fields):
    body = {
        "name": "From a plan",
        "location": "Town Hall",
        "date": "2031-05-20T19:30:00Z",
        "currency": "EUR",
        "plan": plan,
        **fields,
    }
    event = ok(organizer.post("/api/admin/events", body), 201)["id"]
    organizer.open_event(event)
    return event


def open_map(page):
    page.get_by_role("radio", name="Choose seats").check()
    box = page.get_by_role("listbox", name="Seat map")
    expect(box).to_be_visible()
    return box


def keep(page, name):
    """A picture for people to look at, where ONSALE_PICTURES says."""
    if folder := os.environ.get("ONSALE_PICTURES"):
        page.get_by_role("listbox", name="Seat map").scroll_into_view_if_needed()
        page.screenshot(path=f"{folder}/{name}.png")


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_plan_is_drawn_as_it_says(visit, organizer, viewport):
    event = event_from(organizer, PLAN, prices={"S": 4000})
    visitor = visit(viewport=viewport).register()
    page = visitor.goto(f"/event/{event}")
    box = open_map(page)
    canvas = box.locator("canvas")
    expect(box).not_to_have_attribute("style", "")
    box.focus()
    expect(box.get_by_role("option")).to_contain_text("Hall, Row A")

    def colour(x, y):
        handle = canvas.element_handle()
        return page.evaluate(COLOUR, [handle, x, y, 25, 0, 0, 750, 300])

    page.keyboard.press("0")
    page.wait_for_function(
        f"([canvas, at]) => ({COLOUR})([canvas, ...at])[0] > 200", arg=[canvas.element_handle(), [450, 280, 25, 0, 0, 750, 300]]
    )
    # Within the turned box, and where it would be if it were not turned.
    assert colour(450, 120) == colour(450, 280) == [255, 0, 0]
    assert colour(560, 130) != [255, 0, 0]
    # A disc, not the box around it.
    assert colour(700, 200) == [0, 0, 255] and colour(660, 160) != [0, 0, 255]
    assert colour(50, 0) != colour(50, 60), "a seat differs from what is behind it"
    assert colour(50, 30) != colour(50, 60), "a seat that is not sold is drawn"
    assert not overflowing(page)
    assert not accessibility(page)
    keep(page, f"plan-{viewport['width']}")

    # Arrows go where the seats are drawn: 7 5 3 1 across the aisle to 2, and down to row C.
    def option():
        return box.get_by_role("option").inner_text().split(", €")[0]

    page.keyboard.press("Home")
    seen = [option()]
    for _ in range(4):
        page.keyboard.press("ArrowRight")
        seen.append(option())
    assert seen == [f"Hall, Row A, seat {number}" for number in (7, 5, 3, 1, 2)]
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    assert option() == "Hall, Row C, seat 1"
    page.keyboard.press("Space")
    expect(page.get_by_role("complementary")).to_contain_text("Row C, seat 1")


def test_a_magnified_plan_says_what_is_in_view(visit, organizer):
    event = event_from(organizer, PLAN, prices={"S": 4000})
    page = visit(viewport=PHONE).register().goto(f"/event/{event}")
    box = open_map(page)
    where = page.locator(".seat-where")
    expect(where).to_have_text("Hall")
    for _ in range(6):
        page.get_by_role("button", name="Zoom in").click()
    # The first seat, which comes into view.
    box.focus()
    page.keyboard.press("Home")
    expect(where).to_have_text(re.compile("^Hall · Rows? A"))
    # The row's name stands at the edge: there is ink in the strip beside the paper.
    assert len(inks_at_the_edge(page)) > 1
    keep(page, "plan-magnified")


def test_pairs_from_a_plan_sit_side_by_side(organizer, stack):
    event = event_from(organizer, PLAN, prices={"S": 4000})
    pairs = []
    for person in [new_buyer(stack) for _ in range(4)]:
        tickets = person.hold(event, 2, adjacent=True)["tickets"]
        pairs.append({ticket["seat"] for ticket in tickets})
    assert pairs == [{"7", "5"}, {"3", "1"}, {"2", "4"}, {"1", "2"}]


@pytest.mark.skipif(not SHARED.is_dir(), reason="there are no plans beside the sources")
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_real_plan_becomes_an_event_and_a_map(visit, organizer, viewport):
    plan = json.loads((SHARED / "Courtside_Complimentary.json").read_text())
    prices = {each["name"]: {"price": 5000 + 1000 * n, "name": f"Tier {n}"} for n, each in enumerate(plan["categories"])}
    event = event_from(organizer, plan, prices=prices)
    assert ok(organizer.get(f"/api/event/{event}"))["total"] == 300
    page = visit(viewport=viewport).register().goto(f"/event/{event}")
    box = open_map(page)
    box.focus()
    expect(box.get_by_role("option")).to_contain_text("Courtside, Tier")
    page.keyboard.press("0")
    keep(page, f"courtside-{viewport['width']}")
    assert not overflowing(page)
    assert not accessibility(page)
