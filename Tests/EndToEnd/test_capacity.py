"""What `onsale plan` says of a sale is held against what `onsale rush` finds."""

import json

import pytest

from client import ok

# Buyers, seats, grants a second, and in how many seconds they come. The pace is the organizer's, so that a slow machine
# plays the same sale.
SALES = [(400, 240, 20, 4), (1_200, 500, 40, 3), (3_000, 900, 60, 5)]


@pytest.mark.parametrize("buyers, seats, pace, arrival", SALES)
def test_a_sale_goes_as_planned(stack, organizer, buyers, seats, pace, arrival):
    event = organizer.create_event([{"name": "Floor", "price": 2500, "capacity": seats}])
    ok(organizer.call("PUT", f"/api/admin/events/{event}/rate", {"rate": pace}))
    played = json.loads(
        stack.onsale(
            "rush", "--event", event, "--buyers", buyers, "--arrivals", buyers // arrival, "--quantity", "1..1",
            "--take-fewer", 0, "--no-freshness", "--no-audit", "--json",
        ).stdout
    )  # fmt: skip
    assert played["good"], played["broken"]
    planned = json.loads(
        stack.onsale(
            "plan", "--buyers", buyers, "--seats", seats, "--minutes", seats / pace / 60, "--arrival-seconds", arrival,
            "--tickets", 1, "--think-seconds", 0, "--provider-rate", 0, "--json",
        ).stdout
    )["sale"]  # fmt: skip
    measured = {
        "polls": played["polls"]["total"],
        "last_answer_seconds": played["seconds"],
        "purchases": played["outcomes"]["purchased"],
        "joins": played["joins"]["total"],
    }
    for name, value in measured.items():
        assert value == pytest.approx(planned[name], rel=0.3), (name, measured, planned)
