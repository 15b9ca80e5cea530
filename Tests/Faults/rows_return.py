"""Row 29: a long line is lost with Redis, and everyone in it comes back at once."""

import json
import shutil
import time

import redis
from buyers import Caller, Sale
from cases import row
from judge import judge
from scenes import expect, expect_alive
from servers import BINARY, Process, until

# As many as a run of a minute can afford beside others; the measurement with a million is `deploy/bench rejoin`.
CROWD = 20_000
SECONDS_TO_RETURN = 120
REJOIN_SECONDS = 8


@row(29, cost=90)
def a_lost_line_comes_back_at_once(bench, rng):
    """A line is lost twice. Of the first life some come back too late; who is in the second comes back at once."""
    return lost_twice(return_stack(bench), rng, CROWD)


def return_stack(bench):
    stack = bench.new_stack()
    start = stack.environment
    stack.environment = lambda **changes: start(**{"rejoin_seconds": REJOIN_SECONDS, **changes})
    return stack.up(workers=("worker-a", "worker-b"))


def lost_twice(stack, rng, crowd):
    """The scene: what must be true of who comes back, whatever the crowd."""
    seats = rng.randint(60, 200)
    sale = Sale(stack, rng, seats=seats, hold_seconds=3, queue_limit=10 * crowd)
    sale.await_open()
    line = Line(sale)

    # A first life, with one who buys, one whose hold ends, and some who are in line when it is lost.
    served, lapsed = sale.add("buy"), sale.add("leave")
    sale.start(seconds=60)
    until(lambda: served.final == "purchased" and lapsed.final == "expired", 40, "the first two ends")
    sale.act("pause")
    early = join_one_by_one(sale, 5)
    line.until_noted()
    first = line.number("generation")
    lose(stack, rng)
    until(lambda: all(buyer.final == "rejected" for buyer in early), 60, "the news of the first loss")
    # Nobody comes back, and their time is over.
    second = line.until_restored(after=first)

    # A second life: a crowd, and some whom we know by name among them.
    known = join_one_by_one(sale, 4)
    rush = start_rush(stack, sale, crowd, rng)
    try:
        return second_loss(stack, sale, line, rng, crowd, rush, second, known, early, (served, lapsed))
    finally:
        rush.kill()


def second_loss(stack, sale, line, rng, crowd, rush, life, known, early, ended):
    served, lapsed = ended
    until(lambda: line.number("tail") > crowd // 2, 120, "half of the crowd")
    known += join_one_by_one(sale, 4)
    until(lambda: line.number("tail") == crowd + len(known), 120, "the crowd in line")
    places = crowd + len(known)
    # Some leave, and that is known a second later. Not the last one, whose place says how long the line was.
    leavers = rng.sample(known[:-1], 3)
    for buyer in leavers:
        status, _ = Caller(sale.urls, buyer.caller.bearer).until_answered("DELETE", f"/api/request/{buyer.request}")
        expect(status == 200, f"leaving was answered {status}")
    until(lambda: all(buyer.final == "cancelled" for buyer in leavers), 30, "the news that they have left")
    line.until_noted()

    lose(stack, rng)
    lost_at = time.monotonic()
    stay = [buyer for buyer in known if buyer not in leavers]
    until(lambda: all(buyer.final == "rejected" for buyer in stay), 60, "the news of the second loss")
    newcomers = [sale.add("buy") for _ in range(3)]
    behind = [sale.add_returning(buyer) for buyer in (*early, *leavers, served, lapsed)]
    back = [sale.add_returning(buyer) for buyer in rng.sample(stay, len(stay))]
    thief = Caller(sale.urls, newcomers[0].caller.bearer)
    sale.start(seconds=300)
    status, _ = thief.until_answered(
        "POST", "/api/ticket/reserve", {"event_id": sale.event, "quantity": 1, "rejoin": stay[0].request}
    )
    expect(status == 403, f"another's place was asked for, and the answer was {status}")
    until(lambda: line.number("rejoined") >= crowd + len(back), SECONDS_TO_RETURN, "everyone who was in line")
    seconds = time.monotonic() - lost_at
    third = line.until_restored(after=life)
    until(lambda: all(buyer.position for buyer in (*behind, *newcomers)), 60, "the places of the others")
    sale.act("resume")
    rush.await_end(240)
    sale.finish(120)

    verdict = judge(sale, lost=True)
    verdict.requests += crowd
    report = json.loads(rush.log.splitlines()[-1])
    if rush.code or not report["good"] or report["returns"]["total"] != crowd:
        broken = {name: report[name] for name in ("broken", "outcomes", "errors", "pending", "returns")}
        verdict.violations.append(f"I5 the crowd found: {broken}")
    before = {buyer.user: buyer.position for buyer in stay}
    for buyer in back:
        if buyer.position != before[buyer.user]:
            verdict.violations.append(f"I5 had position {before[buyer.user]} and came back as {buyer}")
    for buyer in (*behind, *newcomers):
        if buyer.position <= places:
            verdict.violations.append(f"I5 was not in the line that was lost, and came before its end: {buyer}")
    # What was told of an end is true for good, whatever was lost since.
    for buyer, state in ((served, "purchased"), (lapsed, "expired"), *((buyer, "cancelled") for buyer in leavers)):
        buyer.deadline = time.monotonic() + 20
        told = buyer.poll()["state"]
        if told != state:
            verdict.violations.append(f"I4 was told {state}, and later {told}: {buyer}")
    # All seats that were left go to the first of the line, of whom nobody is passed over.
    sold = stack.sql(
        "SELECT position FROM purchase WHERE event_id = %s AND generation = %s AND state = 'sold' ORDER BY 1",
        sale.event, third,
    )  # fmt: skip
    left = {buyer.position for buyer in leavers}
    waiting = [position for position in range(1, places + 1) if position not in left]
    if [position for (position,) in sold] != waiting[: sale.seats - 1]:
        verdict.violations.append(f"I5 seats went to {[position for (position,) in sold]}")
    if seconds > SECONDS_TO_RETURN:
        verdict.violations.append(f"the line was back after {seconds:.0f} s")
    expect_alive(*stack.roles.values())
    return verdict


class Line:
    """The event's line in Redis, which may be away or empty at any moment."""

    def __init__(self, sale):
        self.sale = sale

    def ask(self, command, *arguments):
        try:
            return self.sale.stack.redis.client.execute_command(command, *arguments)
        except redis.RedisError:
            return None

    def number(self, field):
        return int(self.ask("HGET", f"{self.sale.prefix}m", field) or 0)

    def until_noted(self):
        """Ends are noted each second; those that are not may come back."""
        until(lambda: self.ask("LLEN", f"{self.sale.prefix}ended") == 0, 30, "the ends to be noted")

    def until_restored(self, after):
        """The time for those who come back to a later life is over, and everyone knows it. Returns that life."""

        def restored():
            rows = self.sale.stack.sql(
                "SELECT generation FROM queue_life WHERE event_id = %s AND generation > %s AND is_restored",
                self.sale.event, after,
            )  # fmt: skip
            return rows[0][0] if rows else None

        return until(restored, 120, f"the time to come back after life {after} to be over")


def join_one_by_one(sale, count):
    joined = []
    for _ in range(count):
        joined.append(sale.add("buy"))
        sale.start(seconds=300)
        until(lambda: joined[-1].request, 30, "a place")
    return joined


def lose(stack, rng):
    """Everything in Redis is gone: by a command, or with its files."""
    if rng.random() < 0.5:
        stack.redis.client.flushall()
        return
    stack.redis.kill()
    shutil.rmtree(stack.redis.directory)
    time.sleep(rng.uniform(0, 1))
    stack.redis.start()


def start_rush(stack, sale, crowd, rng):
    """The load generator's crowd, each of whom comes back when told that the line is lost."""
    return Process(
        "rush",
        [
            BINARY, "rush", "--event", sale.event, "--buyers", crowd, "--quantity", "1..1", "--buy", "--rejoin", "--json",
            "--no-audit", "--no-freshness", "--seed", rng.randrange(1 << 30),
        ],
        stack.logs / "rush.log",
        stack.environment(),
    )  # fmt: skip
