"""Row 24: Redis comes back without its last seconds, in which nobody joined.

The line is as long as before, so nothing about it tells that something is missing: only what PostgreSQL knows, and
what the owner of the seats and servers remember, and what buyers can show. One case for each step that a request can
have lost, with the processes living on, and with all of them restarted together with Redis.
"""

import contextlib
import queue
import shutil
import signal
import threading
import time

from buyers import DECLINED, TERMINAL, VISA, Buyer, Caller, NoAnswer, Sale
from cases import row
from judge import judge
from rows_redis import Replicated
from scenes import expect, expect_alive
from servers import until

PLACES = 6
# Until when people want an answer: leases and a hold are some seconds.
PATIENCE = 60


class Witness(Buyer):
    """Asks where they stand for ever, also after an end; pays or cancels when told to."""

    def __init__(self, sale):
        super().__init__(sale, len(sale.buyers), "hold")
        self.wishes = queue.SimpleQueue()
        self.is_done = threading.Event()
        # How many states they had been told when Redis came back.
        self.seen = 0

    def pay(self, method=VISA):
        self.wishes.put(lambda: self.confirm(method))

    def give_up(self):
        self.wishes.put(self.cancel)

    def live(self):
        if not self.reserve():
            return
        while True:
            was_done = self.is_done.is_set()
            state = self.poll()["state"]
            if was_done and state in TERMINAL:
                return
            with contextlib.suppress(queue.Empty):
                self.wishes.get_nowait()()
            if time.monotonic() > self.deadline:
                raise NoAnswer(f"no end in time; told {self.states}")
            time.sleep(self.sale.poll_pause)

    @property
    def state(self):
        return self.history[-1][0] if self.history else None

    def await_state(self, *states, seconds=30):
        until(lambda: self.state in states or not self.is_alive(), seconds, f"{states} of {self}")
        expect(self.state in states, f"not {states}: {self} {self.problems}")


class Copied:
    """A stack whose Redis is killed and comes back on a copy of its directory."""

    def __init__(self, bench):
        self.stack = bench.new_stack()
        self.copy = self.stack.directory / "redis-before"

    def __enter__(self):
        self.stack.up()
        return self

    def lag(self):
        # Every write is on the disk before it is answered.
        shutil.copytree(self.stack.redis.directory, self.copy)

    def fail_over(self):
        redis = self.stack.redis
        redis.kill()
        shutil.rmtree(redis.directory)
        shutil.copytree(self.copy, redis.directory)
        redis.start(aof_load_truncated="yes")

    def __exit__(self, *_):
        pass


class Lagging(Replicated):
    """A stack whose Redis fails over to a replica that is cut off, and has everything until then."""

    def lag(self):
        def is_level():
            info = self.primary.client.info("replication")
            return info["slave0"]["offset"] == info["master_repl_offset"]

        until(is_level, 20, "the replica to have everything")
        super().lag()


def record(sale, position):
    """What Redis has of a request that was decided, as its fields."""
    text = sale.stack.redis.client.hget(f"{sale.prefix}r:{position // 100}", str(position % 100))
    return text.split("|") if text else None


def await_record(sale, buyers, states, seconds=30):
    until(
        lambda: all((record(sale, buyer.position) or " ")[0] in states for buyer in buyers), seconds,
        f"records that say {states} of {', '.join(map(str, buyers))}",
    )  # fmt: skip


def purchase_states(sale, buyers):
    rows = sale.stack.sql("SELECT user_id, state FROM purchase WHERE event_id = %s", sale.event)
    found = dict(rows)
    return [found.get(buyer.user) for buyer in buyers]


# --- The steps, each taken by those whom it is about. What comes after a copy of Redis was made is lost. ---


def confirmed(sale, ours):
    """Answered 202, and PostgreSQL has the intent; the provider takes its time."""
    sale.stack.set_provider(latency=4_000)
    for buyer in ours:
        buyer.pay()
    until(lambda: purchase_states(sale, ours) == ["paying"] * len(ours), 20, "the intents")
    sale.stack.set_provider()


def paid(sale, ours):
    """Sold in PostgreSQL, and the worker comes to a halt before it tells Redis; the other of us waits with paying."""
    ours[0].pay()
    until(lambda: sale.stack.roles["worker-b"].is_stopped, 20, "the stop")
    expect(purchase_states(sale, ours) == ["sold", None], "not sold before the stop")


def told(sale, ours):
    for buyer in ours:
        buyer.pay()
    for buyer in ours:
        buyer.await_state("purchased")


def declined(sale, ours):
    for buyer in ours:
        buyer.pay(DECLINED)
    for buyer in ours:
        buyer.await_state("declined")


def cancelled(sale, ours):
    for buyer in ours:
        buyer.give_up()
    for buyer in ours:
        buyer.await_state("cancelled")


def expired(sale, ours):
    for buyer in ours:
        buyer.await_state("expired")


# What became of the requests: the step behind the grant, if there is one.
STEPS = {
    "granted": None, "confirmed": confirmed, "paid": paid, "told": told, "declined": declined,
    "cancelled": cancelled, "expired": expired,
}  # fmt: skip
# These are in PostgreSQL within a second, which may be lost, too.
ENDS = {"cancelled": "L", "expired": "X"}


def forgotten(redis, rng, state, together, before=None, is_noted=None):
    """Six people in line for four seats. Ours, the first two, come as far as `state`, and Redis forgets it.

    `before` says what Redis still has of them: that they wait in line, or that they hold seats. With `together`
    everything that could remember dies with it, but the buyers themselves. Where an end `is_noted`, PostgreSQL knows it.
    """
    stack, is_end = redis.stack, state in ENDS
    is_noted = is_end and (rng.choice((True, False)) if is_noted is None else is_noted)
    if is_end and not is_noted:
        forget_notes(stack)
    before = before or ("line" if state == "granted" else rng.choice(("line", "seats")))
    # Those behind find nothing free, so that it is seen if they are served before their turn.
    seats = PLACES - 2
    sale = Sale(
        stack, rng, seats=seats, hold_seconds={"expired": 3, "cancelled": 10}.get(state, 25), per_user_limit=1
    )
    sale.await_open()
    # Nobody is decided while there is no worker.
    stack.end("worker-b")
    everyone = []
    for _ in range(PLACES):
        everyone.append(Witness(sale))
        sale.buyers.append(everyone[-1])
        sale.start(seconds=PATIENCE + 60)
        until(lambda: everyone[-1].request, 10, "a place")
    ours, holders, behind = everyone[:2], everyone[2:seats], everyone[seats:]
    if before == "line":
        redis.lag()
    faults = {"fault": "confirm.finish:before:stop:1"} if state == "paid" else {}
    stack.start("worker-b", "worker", **faults)
    for buyer in (*ours, *holders):
        buyer.await_state("reserved")
        if is_end and buyer in holders:
            buyer.pay()
    if before == "seats":
        redis.lag()
    if STEPS[state]:
        STEPS[state](sale, ours)
    if is_end:
        # The seats that ours let go are told to those behind them, who pay at once if there is little time.
        for buyer in behind:
            buyer.await_state("reserved")
            if state == "expired":
                buyer.pay()
        for buyer in (*holders, *(behind if state == "expired" else ())):
            buyer.await_state("purchased")
    for buyer in everyone:
        buyer.seen = len(buyer.history)
    if is_noted:
        until(lambda: noted(sale) == len(ours), 20, "the notes of ends")
    fail_over(redis, together)
    come_back(sale, state, ours, holders, behind)
    if is_noted:
        await_record(sale, ours, ENDS[state])
    problems = finish(sale, state, ours, holders, behind)
    verdict = verdict_of(sale, state, everyone, before, together, is_noted)
    verdict.violations += problems
    return verdict


def noted(sale):
    """How many requests PostgreSQL knows to have ended without a purchase."""
    return sale.stack.sql(
        "SELECT coalesce(sum(length(replace(ended::text, '0', ''))), 0) FROM request_end WHERE event_id = %s", sale.event
    )[0][0]


def forget_notes(stack):
    """What ended in the second before the loss is noted nowhere."""
    stack.sql("CREATE FUNCTION forget_end() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$")
    stack.sql(
        "CREATE TRIGGER forget_end BEFORE INSERT OR UPDATE ON request_end FOR EACH ROW EXECUTE FUNCTION forget_end()"
    )


def fail_over(redis, together):
    stack = redis.stack
    if together:
        stack.end("serve", "worker-b", number=signal.SIGKILL)
    redis.fail_over()
    if together:
        # Nobody is decided before the buyers had time to show what they had: they need a server for that.
        stack.start_serve()
        stack.start("worker-b", "worker")
    else:
        stack.roles["worker-b"].resume()


def come_back(sale, state, ours, holders, behind):
    """Waits until Redis says again what it had forgotten, or what became of it since."""
    if state == "paid":
        await_record(sale, ours[:1], "P")
        await_record(sale, ours[1:], "R")
    elif state in ("confirmed", "told"):
        await_record(sale, ours, "P")
    elif state not in ENDS:
        await_record(sale, ours, "DR")
    await_record(sale, holders, "P" if state in ENDS else "R")
    if state in ENDS:
        # Ours are in line again, or have their seats once more until their holds end.
        await_record(sale, behind, "P" if state == "expired" else "R")


def finish(sale, state, ours, holders, behind):
    """Everybody comes to an end of theirs, and those behind are served when others let go.

    Returns what is wrong with the limit per user, as seen while there are seats that others hold.
    """
    problems = []
    for buyer in {"granted": ours, "declined": ours, "paid": ours[1:]}.get(state, ()):
        pay_whatever_was_declined(sale, buyer)
    if state not in ENDS:
        for buyer in ours:
            buyer.await_state("purchased")
        early = [buyer for buyer in behind if buyer.was_granted]
        expect(not early, f"I5 served before those who stand before them: {early and early[0]}")
        problems += ask_for_more(sale, ours)
        for buyer in holders:
            buyer.await_state("reserved")
            buyer.give_up()
        for buyer in holders:
            buyer.await_state("cancelled")
    if state == "cancelled":
        problems += ask_for_more(sale, holders)
    if state != "expired":
        for buyer in behind:
            buyer.await_state("reserved")
            buyer.pay()
    for buyer in behind:
        buyer.await_state("purchased")
    for buyer in sale.buyers:
        buyer.is_done.set()
    sale.finish(40)
    return problems


def pay_whatever_was_declined(sale, buyer):
    """Where nobody remembers that a hold's first card was declined, that is told once more for the next."""
    for _ in range(3):
        buyer.await_state("reserved", "declined")
        buyer.pay()
        until(lambda: buyer.wishes.empty(), 10, "the call")
        await_record(sale, [buyer], "PD")
        if record(sale, buyer.position)[0] == "P":
            break


def verdict_of(sale, state, everyone, before, together, is_noted):
    ours, behind = everyone[:2], everyone[sale.seats :]
    problems = []
    # No seat is withheld: what were left would be sold to whoever comes now.
    for _ in range(2):
        sale.add("buy", 1)
    sale.start(seconds=PATIENCE).finish(PATIENCE + 10)
    if state in ENDS and not is_noted:
        problems += settle_unknown_ends(ours, state, before, together)
    if state == "cancelled" and before == "seats" and not is_noted:
        # Ours had their seats once more.
        forget_problems(behind, "had tickets")
    verdict = judge(sale)
    verdict.violations += problems
    if verdict.sold != sale.seats:
        verdict.violations.append(f"seats are withheld: {verdict.sold} of {sale.seats} were sold")
    expect_alive(*sale.stack.roles.values())
    return verdict


def settle_unknown_ends(ours, end, before, together):
    """What is true of ends that PostgreSQL does not know of: such a request lives once more, and ends by itself.

    It takes nobody's seats who was told of them, as far as the owner remembers.
    """
    problems = []
    for buyer in ours:
        again = buyer.states[buyer.seen :]
        if before == "line" and not together and "reserved" in again:
            problems.append(f"got seats again that had been told to somebody else: {buyer}")
        if "purchased" in again or "confirming" in again:
            problems.append(f"was brought to pay: {buyer}")
        forget_problems([buyer], f"was told {end}, and later")
        forget_problems([buyer], "had tickets")
        # The first end is the one that they know of; whoever asks again is told another.
        buyer.final, buyer.is_patient = end, False
        buyer.ends_of_wishes = []
    return problems


def forget_problems(buyers, words):
    for buyer in buyers:
        buyer.problems = [problem for problem in buyer.problems if not problem.startswith(words)]


def ask_for_more(sale, buyers):
    """What those are told who have as many tickets as one may, and ask again."""
    problems = []
    for buyer in buyers:
        status, answer = Caller(sale.urls, buyer.caller.bearer).until_answered(
            "POST", "/api/ticket/reserve", {"event_id": sale.event, "quantity": 1}, time.monotonic() + 15
        )
        if (status, (answer or {}).get("code")) != (422, "limit_exceeded"):
            problems.append(f"limit per user: {buyer} asked for more and was told {status} {answer}")
    return problems


def shown(redis, rng):
    """Four with a seat each, of whom the first has given theirs back, as is noted. Redis forgets all of it, and everything
    that could remember dies. The others show what they had, and have exactly that again; the first has nothing.
    """
    stack = redis.stack
    sale = Sale(stack, rng, seats=8, hold_seconds=40, per_user_limit=1)
    sale.await_open()
    stack.end("worker-b")
    everyone = []
    for _ in range(4):
        everyone.append(Witness(sale))
        sale.buyers.append(everyone[-1])
        sale.start(seconds=PATIENCE + 60)
        until(lambda: everyone[-1].request, 10, "a place")
    redis.lag()
    stack.start("worker-b", "worker")
    for buyer in everyone:
        buyer.await_state("reserved")
    liar, *honest = everyone
    receipt = liar.hold[1]
    liar.give_up()
    liar.await_state("cancelled")
    until(lambda: noted(sale) == 1, 20, "the note of the end")
    fail_over(redis, together=True)
    await_record(sale, honest, "R")
    await_record(sale, [liar], "L")
    verdict_on_lies = lies(sale, liar, honest[0], receipt)
    for buyer in honest:
        buyer.pay()
    for buyer in honest:
        buyer.await_state("purchased")
    for buyer in everyone:
        buyer.is_done.set()
    sale.finish(40)
    # What the first gave back is to be had.
    for _ in range(sale.seats - len(honest)):
        sale.add("buy", 1)
    sale.start(seconds=PATIENCE).finish(PATIENCE + 10)
    verdict = judge(sale)
    lost = [buyer for buyer in honest if buyer.holds_lost]
    verdict.violations += verdict_on_lies + [f"I4 what nobody else had is lost: {buyer}" for buyer in lost]
    if verdict.sold != sale.seats:
        verdict.violations.append(f"seats are withheld: {verdict.sold} of {sale.seats} were sold")
    expect_alive(*stack.roles.values())
    return verdict


def lies(sale, liar, other, receipt):
    """What is wrong with the answers to somebody who shows what they had given back, or what is another's."""
    caller, deadline = Caller(sale.urls, liar.caller.bearer), time.monotonic() + 20
    problems = []
    status, answer = caller.until_answered("GET", f"/api/request/{liar.request}?hold={receipt}", deadline=deadline)
    if status != 200 or answer["state"] != "cancelled":
        problems.append(f"a receipt of what was given back is answered {status} {answer}")
    body = {"request_id": liar.request, "payment_method": VISA, "hold": receipt}
    status, answer = caller.until_answered("POST", "/api/ticket/confirm", body, deadline)
    if status != 409:
        problems.append(f"paying for what was given back is answered {status} {answer}")
    for path in (f"/api/request/{liar.request}?hold={other.hold[1]}", f"/api/request/{other.request}?hold={receipt}"):
        status, answer = caller.until_answered("GET", path, deadline=deadline)
        if status != 400:
            problems.append(f"another's receipt is answered {status} {answer}")
    return problems


@row(24, cost=40, name="redis forgets holds that only their buyers can show")
def redis_forgets_what_is_shown(bench, rng):
    with rng.choice((Copied, Lagging))(bench) as redis:
        return shown(redis, rng)


def register(state, together):
    what = "and everything restarts" if together else "and its owner lives on"

    def case(bench, rng):
        way = rng.choice((Copied, Lagging))
        with way(bench) as redis:
            return forgotten(redis, rng, state, together)

    row(24, cost=35, name=f"redis forgets who was {state}, {what}")(case)


for _state in STEPS:
    for _together in (False, True):
        register(_state, _together)
