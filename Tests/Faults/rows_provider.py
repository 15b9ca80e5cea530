"""Row 14: the payment provider is slow, fails, does not answer, does things twice, declines."""

import time

from buyers import Sale
from cases import ROWS, Case, row
from judge import judge
from scenes import expect, troubled_sale

TROUBLES = {
    "slow": {"latency": 4_000},
    "very slow": {"latency": 10_000},
    "answers 500": {"error_rate": 0.5},
    "answers 500 and finds late": {"error_rate": 0.5, "search_lag_ms": 500},
    "is silent before the effect": {"timeout_before_rate": 0.5, "hang_ms": 300},
    "is silent after the effect": {"timeout_after_rate": 0.5, "hang_ms": 300},
    "does it twice": {"duplicate_rate": 0.7},
    "declines": {"decline_rate": 0.4},
    "does everything wrong": {
        "latency": 200, "error_rate": 0.2, "timeout_before_rate": 0.2, "timeout_after_rate": 0.2,
        "duplicate_rate": 0.2, "decline_rate": 0.1, "hang_ms": 200,
    },  # fmt: skip
}


def trouble_with(faults):
    def run(bench, rng):
        stack = bench.shared_stack()

        def trouble(sale):
            time.sleep(4)
            stack.set_provider()

        stack.set_provider(**faults, seed=rng.randrange(1_000_000))
        try:
            return troubled_sale(stack, rng, trouble)
        finally:
            stack.set_provider()

    return run


for name, faults in TROUBLES.items():
    cost = 25 if "slow" in name else 12
    ROWS.setdefault(14, []).append(Case(14, f"the provider {name}", trouble_with(faults), cost))


@row(14, cost=40)
def the_provider_does_not_answer_at_all(bench, rng):
    """The client gives up after its own time, and asks again under the same key."""
    stack = bench.shared_stack()
    before = rng.random() < 0.5
    kind = "timeout_before_rate" if before else "timeout_after_rate"
    stack.set_provider(**{kind: 1.0, "hang_ms": 60_000, "for_next": 2})
    try:
        return troubled_sale(stack, rng, lambda sale: None, buyers=8, seats=6, hold_seconds=3)
    finally:
        stack.set_provider()


@row(14)
def a_declined_last_ticket_goes_to_the_next_in_line(bench, rng):
    stack = bench.shared_stack()
    sale = Sale(stack, rng, seats=1, hold_seconds=3)
    sale.await_open()
    first = sale.add("refuse")
    sale.start()
    while not first.was_granted and first.is_alive():
        time.sleep(0.02)
    second, third = sale.add("buy"), sale.add("buy")
    second.deadline = time.monotonic() + 60
    second.start()
    while second.position is None and second.is_alive():
        time.sleep(0.02)
    sale.start().finish()
    verdict = judge(sale)
    outcome = (first.final, second.final, third.final or third.refusal)
    expect(outcome[:2] == ("declined", "purchased"), f"the seat's way: {outcome}")
    expect(outcome[2] in ("sold_out", (410, "sold_out")), f"the seat's way: {outcome}")
    return verdict
