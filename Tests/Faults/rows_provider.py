"""Row 14: the payment provider is slow, fails, does not answer, does things twice, declines."""

import time

from buyers import Sale
from cases import ROWS, Case, row
from judge import judge
from scenes import (
    end_in_time,
    expect,
    expect_short_logs,
    hold_to_the_end,
    sell_what_came_back,
    troubled_sale,
)
from servers import until

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


@row(14, cost=20)
def holds_run_out_while_the_provider_stands_still(bench, rng):
    """SIGSTOP: payments wait, and so do their seats; whoever does not pay loses theirs in time all the same."""
    stack = bench.shared_stack()
    sale = hold_to_the_end(stack, rng)
    payer = sale.add("buy")
    with stack.roles["payments"].standing_still():
        sale.start()
        until(lambda: "confirming" in payer.states, what="a payment under way")
        end_in_time(sale)
        expect(payer.final is None, f"a payment under way ended: {payer}")
    verdict = sell_what_came_back(sale)
    expect(payer.final == "purchased", f"what was paid for: {payer}")
    return verdict


@row(14, cost=30)
def workers_are_restarted_again_and_again_while_the_provider_is_away(bench, rng):
    """Each restart hands what is under way to the next worker: none of it looks as if it had killed them."""
    stack = bench.shared_stack()
    sale = Sale(stack, rng, seats=8, hold_seconds=4)
    sale.await_open()
    stack.end("payments", number=9)
    try:
        sale.crowd(8, ("buy", "pay"), (1,)).start()
        until(lambda: all("confirming" in buyer.states for buyer in sale.buyers), what="payments under way")
        for _ in range(7):
            # Also one that died at once: what it had is taken over after a while.
            worker = stack.roles["worker-b"]
            until(lambda: "wait for somebody who is away" in worker.log, 30, "a payment that fails")
            stack.end("worker-b")
            stack.start("worker-b", "worker")
        time.sleep(8)
        expect_short_logs(stack)
        letters = stack.onsale("admin", "dead-letters").stdout
        expect(f'"{sale.event}"' not in letters and f"event {sale.event}" not in letters, f"buried: {letters}")
    finally:
        stack.start_payments()
    sale.finish()
    verdict = judge(sale)
    expect(len(sale.purchases) == 8, f"{len(sale.purchases)} of 8 were sold")
    return verdict


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
