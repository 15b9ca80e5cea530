"""Rows 14 and 26: the payment provider is slow, fails, does not answer, does things twice, declines; and what the real
one does besides: old answers and states, keys that it forgets, payments that it does not decide, refusals without end."""

import contextlib
import time

from buyers import Sale
from cases import ROWS, Case, row
from judge import judge
from refunds import Refunds
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
            until(lambda worker=worker: "wait for somebody who is away" in worker.log, 30, "a payment that fails")
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


# --- Row 26 ---

HARD = {
    "fails, and its search lags and shows old states": {
        "error_rate": 0.5, "search_lag_ms": 500, "search_stale_ms": 1_500,
    },
    "replays first answers, and its search shows old states": {
        "timeout_after_rate": 0.5, "duplicate_rate": 0.5, "hang_ms": 200, "search_stale_ms": 2_000,
    },
    "is asked too often": {"requests_per_second": 15},
    **{
        f"answers {status} to some": {"refuse_rate": 0.5, "refuse_status": status, "retry_after": int(status == 429)}
        for status in (400, 403, 404, 409, 429)
    },
}  # fmt: skip


def expect_closed(sale):
    """Of whatever there was, nothing is open at the provider."""
    until(
        lambda: {payment["status"] for payment in sale.stack.payments(sale.event)} <= {"succeeded", "canceled"},
        60, "everything at the provider to be closed",
    )  # fmt: skip


def hard(faults):
    def run(bench, rng):
        stack, sales = bench.shared_stack(), []

        def trouble(sale):
            sales.append(sale)
            time.sleep(4)
            stack.set_provider()

        stack.set_provider(**faults, seed=rng.randrange(1_000_000))
        try:
            verdict = troubled_sale(stack, rng, trouble)
        finally:
            stack.set_provider()
        expect_closed(sales[0])
        return verdict

    return run


for name, faults in HARD.items():
    ROWS.setdefault(26, []).append(Case(26, f"the provider {name}", hard(faults), 14))


@contextlib.contextmanager
def a_worker(stack, **settings):
    """The stack's only worker has these settings meanwhile."""
    stack.end("worker-b")
    stack.start("worker-b", "worker", **settings)
    try:
        yield
    finally:
        stack.set_provider()
        stack.end("worker-b")
        stack.start("worker-b", "worker")


def for_ever(status):
    def run(bench, rng):
        """Each payment ends, nothing of it is open, and what was not paid for is sold when the provider is back."""
        stack = bench.shared_stack()
        with a_worker(stack, payment_wait_seconds=2):
            stack.set_provider(refuse_rate=1.0, refuse_status=status)
            sale = Sale(stack, rng, seats=4, hold_seconds=5)
            sale.await_open()
            sale.crowd(4, ("buy",), (1,)).start().finish()
            told = [str(buyer) for buyer in sale.buyers]
            expect(all(buyer.final == "declined" for buyer in sale.buyers), f"payments without an end: {told}")
            stack.set_provider()
            verdict = sell_what_came_back(sale)
            expect_closed(sale)
            return verdict

    return run


for status in (400, 401, 403, 404, 409, 429, 500):
    ROWS[26].append(Case(26, f"the provider answers {status} for ever", for_ever(status), 25))


@row(26, cost=20)
def payments_that_are_processed_end_later(bench, rng):
    stack = bench.shared_stack()
    stack.set_provider(processing_ms=2_500)
    try:
        sale = Sale(stack, rng, seats=6, hold_seconds=3)
        sale.await_open()
        sale.crowd(8, ("buy", "pay"), (1,))
        for number, buyer in enumerate(sale.buyers):
            buyer.method = "pm_stub_processing" if number % 2 else "pm_stub_processingDeclined"
        sale.start().finish()
        verdict = judge(sale)
    finally:
        stack.set_provider()
    expect(len(sale.purchases) >= 3, f"who paid with what was processed: {[str(buyer) for buyer in sale.buyers]}")
    return verdict


@row(26, cost=30)
def payments_that_are_processed_for_too_long_are_given_up_and_cancelled(bench, rng):
    """The provider lets go of nothing while it processes it: the cancel is repeated until it does."""
    stack = bench.shared_stack()
    with a_worker(stack, payment_wait_seconds=2, payment_late_seconds=0):
        stack.set_provider(processing_ms=5_000)
        sale = Sale(stack, rng, seats=4, hold_seconds=4)
        sale.await_open()
        sale.crowd(4, ("buy",), (1,))
        for buyer in sale.buyers:
            buyer.method = "pm_stub_processing"
        sale.start().finish()
        expect(all(b.final == "declined" for b in sale.buyers), f"{[str(buyer) for buyer in sale.buyers]}")
        stack.set_provider()
        verdict = sell_what_came_back(sale)
        expect_closed(sale)
        return verdict


@row(26, cost=40)
def payments_that_are_authorised_too_late_buy_other_seats_where_these_will_do(bench, rng):
    """Behind those in line, as many of the same section: of who has not agreed to that nothing is taken."""
    stack = bench.shared_stack()
    with a_worker(stack, payment_wait_seconds=2):
        stack.set_provider(processing_ms=12_000)
        sale = Sale(stack, rng, seats=8, hold_seconds=3)
        sale.await_open()
        sale.crowd(4, ("pay",), (1,))
        late = list(sale.buyers)
        for number, buyer in enumerate(late):
            buyer.method, buyer.takes_others = "pm_stub_processing", number % 2 == 0
        sale.start().finish()
        expect(all(b.final == "declined" for b in late), f"{[str(buyer) for buyer in late]}")
        held = {buyer: set(buyer.tickets) for buyer in late}
        sale.crowd(4, ("pay",), (1,)).start().finish()
        expect_closed(sale)
        taken = {ticket for buyer in sale.buyers if buyer not in late for ticket in buyer.tickets}
        expect(len(taken) == 4 and taken & set.union(*held.values()), f"{taken} were taken, of {held.values()}")
        for buyer in late:
            has_its_own = not held[buyer] & taken
            answer = buyer.poll()
            wanted = "purchased" if has_its_own or buyer.takes_others else "declined"
            expect(answer["state"] == wanted, f"late, with {taken} taken: {buyer} of {held[buyer]}")
            if wanted == "purchased" and not has_its_own:
                expect(answer.get("reason") == "other_seats", f"not told that they are others: {answer}")
        return judge(sale)


@row(26, cost=40)
def payments_that_are_authorised_too_late_buy_what_nobody_else_has(bench, rng):
    """Those in line come first; who is left without seats is not charged."""
    stack = bench.shared_stack()
    with a_worker(stack, payment_wait_seconds=2):
        stack.set_provider(processing_ms=12_000)
        sale = Sale(stack, rng, seats=6, hold_seconds=3)
        sale.await_open()
        sale.crowd(4, ("buy",), (1,))
        late = list(sale.buyers)
        for buyer in late:
            buyer.method = "pm_stub_processing"
        sale.start().finish()
        expect(all(b.final == "declined" for b in late), f"{[str(buyer) for buyer in late]}")
        sale.crowd(3, ("pay",), (1,)).start().finish()
        expect_closed(sale)
        verdict = judge(sale)
        taken = {ticket for buyer in sale.buyers if buyer not in late for ticket in buyer.tickets}
        for buyer in late:
            wanted = "declined" if set(buyer.tickets) & taken else "purchased"
            expect(buyer.poll()["state"] == wanted, f"late, with {taken} taken: {buyer} of {buyer.tickets}")
        expect(len(taken) == 3 and any(b.final == "purchased" for b in late), f"{[str(b) for b in sale.buyers]}")
        return verdict


@row(26, cost=25)
def a_key_is_forgotten_before_its_answer_was_heard(bench, rng):
    """Made once, and found; never made again."""
    stack = bench.shared_stack()
    with a_worker(stack, payment_key_seconds=1):
        stack.set_provider(timeout_after_rate=1.0, hang_ms=2_500)
        sale = Sale(stack, rng, seats=4, hold_seconds=8)
        sale.await_open()
        sale.crowd(4, ("buy",), (1,)).start()
        until(lambda: len(stack.payments(sale.event)) == 4, what="payments at the provider")
        stack.stub("POST", "/stub/keys/forget")
        stack.set_provider()
        sale.finish()
        verdict = judge(sale)
        expect(len(sale.purchases) == 4, f"what was made counts: {[str(buyer) for buyer in sale.buyers]}")
        expect(len(stack.payments(sale.event)) == 4, "made twice")
        return verdict


@row(26, cost=30)
def an_authorisation_is_gone_before_its_capture(bench, rng):
    """Sold and never paid: its buyer is asked again, for another hold; then the tickets are sold to others."""
    stack = bench.shared_stack()
    with a_worker(stack, fault="confirm.capture:before:error:1", payment_lapsed_seconds=4):
        sale = Sale(stack, rng, seats=3, hold_seconds=4)
        sale.await_open()
        first = sale.add("buy")
        sale.start().finish()
        expect(first.final == "purchased", f"was not sold: {first}")
        [payment] = stack.payments(sale.event)
        stack.stub("POST", f"/stub/payments/{payment['id']}/lapse")
        until(lambda: first.poll()["state"] == "declined", 40, "the sale to be taken back")
        # What a buyer was told as an end has changed: that is what this is about.
        first.final, first.tickets, first.problems = "declined", (), []
        for _ in range(3):
            sale.add("pay")
        sale.start().finish()
        verdict = judge(sale)
        expect(len(sale.purchases) == 3, f"seats that came back: {[str(buyer) for buyer in sale.buyers]}")
        return verdict


def banks(faults):
    """Buyers whose banks ask them: some say yes, some no, some never come."""

    def run(bench, rng):
        stack = bench.shared_stack()
        with a_worker(stack, payment_action_seconds=3):
            stack.set_provider(**faults)
            sale = Sale(stack, rng, seats=6, hold_seconds=2)
            sale.await_open()
            sale.crowd(9, ("buy",), (1,))
            for buyer in sale.buyers:
                buyer.method = "pm_card_threeDSecure2Required"
            answers = [rng.choice(("approve", "approve", "refuse", None)) for _ in sale.buyers]
            sale.start()
            answered = set()

            def answer():
                for payment in stack.payments(sale.event):
                    if payment["id"] in answered or payment["status"] != "requires_action":
                        continue
                    answered.add(payment["id"])
                    word = answers[len(answered) % len(answers)]
                    if word:
                        page = payment["next_action"]["redirect_to_url"]["url"].removeprefix(stack.payment_url)
                        with contextlib.suppress(ValueError, OSError):
                            # It sends its customers back to the page, which is nobody's concern here.
                            stack.stub("POST", f"{page}/{word}")

            while not sale.is_over:
                answer()
                time.sleep(0.2)
            sale.finish()
            verdict = judge(sale)
            expect_closed(sale)
            stack.set_provider()
            return verdict

    return run


for name, faults in {
    "and are heard of at once": {},
    "and are heard of late, twice, out of order": {"webhook_delay_ms": 1_500, "webhook_copies": 2},
}.items():
    ROWS[26].append(Case(26, f"banks ask their customers {name}", banks(faults), 30))


# --- What is given back ---


def await_books(sale, expected, seconds=60):
    """Waits until the purchases of a sale have this much given back."""
    until(
        lambda: sale.stack.sql(
            "SELECT coalesce(sum(refunded), 0) FROM purchase WHERE event_id = %s", sale.event
        )[0][0] == expected,
        seconds, "what was given back",
    )  # fmt: skip


def sold_out(stack, rng, seats=10, **fields):
    sale = Sale(stack, rng, seats=seats, hold_seconds=4, **fields)
    sale.await_open()
    sale.crowd(seats, ("buy",), (1, 2)).start().finish()
    expect(len(sale.purchases) >= seats // 2, f"was not sold: {[str(buyer) for buyer in sale.buyers]}")
    return sale


def given_back_while(faults):
    def run(bench, rng):
        """Once each, whatever the provider says first, and seats that come back are sold."""
        stack = bench.shared_stack()
        sale = sold_out(stack, rng)
        stack.set_provider(**faults, seed=rng.randrange(1_000_000))
        try:
            back = Refunds(sale)
            back.ask(6, seats="release", parts=True)
            for _ in range(4):
                sale.add("pay")
            sale.start()
            time.sleep(5)
        finally:
            stack.set_provider()
        back.await_ends(90)
        sale.finish()
        return judge(sale)

    return run


for name, faults in {
    "loses answers, and replays first ones": {"timeout_after_rate": 0.5, "duplicate_rate": 0.5, "hang_ms": 200},
    "fails before and after the effect, and replays that": {"error_rate": 0.6},
    "is silent before the effect": {"timeout_before_rate": 0.6, "hang_ms": 200},
    "is asked too often": {"requests_per_second": 5},
    **{f"answers {status} to some": {"refuse_rate": 0.5, "refuse_status": status} for status in (401, 409, 429, 500)},
}.items():
    ROWS[26].append(Case(26, f"refunds while the provider {name}", given_back_while(faults), 30))


@row(26, cost=50)
def the_books_are_broken_by_hand_and_workers_die(bench, rng):
    """What is certain is put right by workers, whoever of them dies: captures that nobody carries, money that is reserved
    for nothing, claims of nobody, a refund that was never heard of. What is not certain stays, and is told."""
    stack = bench.shared_stack()
    settings = {"books_milliseconds": 500, "books_grace_seconds": 2}
    stack.end("worker-b")
    stack.start("worker-b", "worker", **settings)
    try:
        sale = sold_out(stack, rng)
        sold = stack.sql(
            "SELECT generation, position, payment_id FROM purchase WHERE event_id = %s AND state = 'sold'", sale.event
        )
        chosen = rng.sample(sold, 3)
        stack.sql(
            "UPDATE purchase SET captured_at = NULL, updated_at = now() - interval '1 h' WHERE payment_id = ANY (%s)",
            [payment for _, _, payment in chosen],
        )  # fmt: skip
        stack.sql("DELETE FROM outbox WHERE event_id = %s", sale.event)
        generation, position, _ = chosen[0]
        # Of the same attempt as a sale that another payment has paid; and of one that nothing is known of.
        loose = stack.authorise(f"{sale.event}-{generation}-{position}-1")
        strange = stack.authorise(f"{sale.event}-{generation}-{900_000}-1")
        stack.set_provider(webhook_copies=0)
        stack.stub("POST", "/stub/dashboard/refunds", form={"payment_intent": chosen[1][2], "amount": 100})
        for _ in range(3):
            time.sleep(rng.uniform(0.3, 2))
            stack.end("worker-b", number=9)
            stack.start("worker-b", "worker", **settings)
        until(
            lambda: not stack.sql(
                "SELECT 1 FROM purchase WHERE event_id = %s AND state = 'sold' AND captured_at IS NULL", sale.event
            ),
            60, "captures to be noted",
        )  # fmt: skip

        def status(payment):
            return stack.stub("GET", f"/v1/payment_intents/{payment['id']}")["status"]

        until(lambda: status(loose) == "canceled", 60, "what is reserved for nothing to be let go of")
        await_books(sale, 100)
        until(
            lambda: strange["id"] in stack.roles["worker-b"].log, 60, "what nobody may decide to be told",
        )  # fmt: skip
        expect(status(strange) == "requires_capture", "what PostgreSQL may have lost was let go of")
        stack.stub("POST", f"/v1/payment_intents/{strange['id']}/cancel")
    finally:
        stack.set_provider()
        stack.end("worker-b")
        stack.start("worker-b", "worker")
    return judge(sale)


def await_cancelled(sale):
    """Until its cancellation has given everything back."""
    path = f"/api/admin/events/{sale.event}/cancel"
    until(
        lambda: sale.organizer.until_answered("GET", path, deadline=time.monotonic() + 10)[1]["state"] == "done",
        60, "the cancellation's end",
    )  # fmt: skip


@row(26, cost=60)
def money_that_was_given_back_comes_back_and_workers_die(bench, rng):
    """It is given again once, as another refund, and then the event is cancelled: everybody has everything once."""
    stack = bench.shared_stack()
    sale = sold_out(stack, rng)
    back = Refunds(sale)
    back.ask(5, parts=True)
    back.await_ends(60)
    given = stack.sql("SELECT provider_id, amount FROM refund WHERE event_id = %s", sale.event)
    chosen = rng.sample(given, 3)
    total = sum(amount for _, amount in given)
    for refund, _ in chosen:
        stack.stub("POST", f"/stub/dashboard/refunds/{refund}/fail")
    until(
        lambda: stack.sql(
            "SELECT count(*) FROM refund WHERE event_id = %s AND reason = 'returned'", sale.event
        )[0][0] == len(chosen),
        60, "it to be known that it came back",
    )  # fmt: skip
    for _ in range(3):
        time.sleep(rng.uniform(0.5, 4))
        stack.end("worker-b", number=9)
        stack.start("worker-b", "worker")
    await_books(sale, total, 90)
    sale.act("cancel", reason="The hall is flooded.")
    await_books(sale, sum(buyer.amount for buyer in sale.purchases), 90)
    await_cancelled(sale)
    return judge(sale)


@row(26, cost=40)
def workers_die_again_and_again_while_an_event_is_cancelled(bench, rng):
    """Everybody gets their money back once."""
    stack = bench.shared_stack()
    sale = sold_out(stack, rng, seats=16)
    captured = sum(buyer.amount for buyer in sale.purchases)
    stack.set_provider(latency=300)
    try:
        sale.act("cancel", reason="The hall is flooded.")
        for _ in range(4):
            time.sleep(rng.uniform(0.3, 1.2))
            stack.end("worker-b", number=9)
            stack.start("worker-b", "worker")
    finally:
        stack.set_provider()
    await_books(sale, captured, 90)
    await_cancelled(sale)
    return judge(sale)


def at_the_dashboard(faults):
    def run(bench, rng):
        """Refunds and disputes that nobody here has asked for."""
        stack = bench.shared_stack()
        sale = sold_out(stack, rng)
        stack.set_provider(**faults)
        try:
            payments = [p for p in stack.payments(sale.event) if p["status"] == "succeeded"]
            rng.shuffle(payments)
            whole, part, disputed = payments[:3]
            stack.stub("POST", "/stub/dashboard/refunds", form={"payment_intent": whole["id"]})
            for amount in (300, 200):
                stack.stub("POST", "/stub/dashboard/refunds", form={"payment_intent": part["id"], "amount": amount})
            dispute = stack.stub("POST", "/stub/dashboard/disputes", form={"payment_intent": disputed["id"]})
            stack.stub("POST", f"/stub/dashboard/disputes/{dispute['id']}/lost")
            await_books(sale, whole["amount_received"] + 500)
            until(
                lambda: stack.sql("SELECT status FROM dispute WHERE event_id = %s", sale.event) == [("lost",)],
                60, "the dispute",
            )  # fmt: skip
            until(
                lambda: not stack.sql(
                    "SELECT 1 FROM refund WHERE event_id = %s AND available_at IS NOT NULL", sale.event
                ),
                30, "everybody to be told",
            )  # fmt: skip
        finally:
            stack.set_provider()
        return judge(sale)

    return run


for name, faults in {
    "are heard of": {},
    "are heard of late and twice": {"webhook_delay_ms": 1_500, "webhook_copies": 2},
    "are not heard of": {"webhook_copies": 0},
}.items():
    ROWS[26].append(Case(26, f"refunds and disputes of the dashboard {name}", at_the_dashboard(faults), 25))
