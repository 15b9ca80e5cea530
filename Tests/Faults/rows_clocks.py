"""Row 32: the clock of Redis, PostgreSQL, a worker or a server steps by an hour, or drifts.

What is tried is what the README says: nothing that runs out does so earlier or later than it was told, but by what a clock
that drifts is off.
"""

import threading
import time

import jwt
from buyers import VISA, Caller, Sale
from cases import ROWS, Case, row
from judge import judge
from scenes import (
    HOLD_SECONDS,
    SLACK,
    end_in_time,
    expect,
    expect_alive,
    hold_to_the_end,
    sell_what_came_back,
    troubled_sale,
)
from servers import until

HOUR = 3_600
# Who holds a token that ends so soon is refused by a clock that is an hour ahead.
SHORT_TOKEN = 1_200


def step_of(whose, seconds):
    """A step in the midst of a sale: before some holds are granted and after others."""

    def run(bench, rng):
        stack = bench.new_stack(own_postgres=whose == "postgres", has_clocks=True).up(("worker-b", "worker-a"))
        clock = stack.clocks[whose]
        settle(stack)
        sale = hold_to_the_end(stack, rng)
        # Somebody who pays after the step what was held before, with a token that the stepped clock would refuse.
        payer = sale.add("hold")
        payer.caller.bearer = short_token(stack, payer.user, seconds)
        sale.start()
        until(lambda: payer.was_granted, what="a hold to be paid later")
        time.sleep(rng.uniform(0, 1))
        clock.set(seconds)
        # Two of the ticks by which a step is noticed.
        time.sleep(0.6)
        # Beside the look at the others.
        paying = threading.Thread(target=payer.confirm, args=(VISA,), daemon=True)
        paying.start()
        end_in_time(sale)
        paying.join()
        until(lambda: payer.poll()["state"] == "purchased", what="what was paid for after the step")
        verdict = troubled_sale(stack, rng, lambda sale: None, buyers=16, seats=10)
        later = Sale(stack, rng, hold_seconds=HOLD_SECONDS)
        later.await_open()
        leaver = later.add("leave")
        later.start()
        until(lambda: leaver.was_granted, what="a hold of after the step")
        check_seconds_left(leaver)
        granted = time.monotonic()
        until(lambda: leaver.final == "expired", HOLD_SECONDS + 5, "the end of a hold of after the step")
        lasted = time.monotonic() - granted
        expect(lasted < HOLD_SECONDS + 1 + SLACK, f"a hold of {HOLD_SECONDS} s lasted {lasted:.1f} s")
        later.finish()
        verdict.add(judge(later))
        # Put right in the midst of it, half of the time.
        if rng.random() < 0.5:
            clock.set(0)
        verdict.add(sell_what_came_back(sale))
        expect_alive(*stack.roles.values())
        return verdict

    return run


def settle(stack):
    """Waits until the partitions are divided, and whoever has one has seen what time it is."""
    workers = [stack.roles["worker-a"], stack.roles["worker-b"]]
    until(lambda: all(len(stack.partitions_of(worker)) == 8 for worker in workers), what="each worker's partitions")
    time.sleep(1)


def short_token(stack, user, seconds):
    """A token that a clock which is an hour ahead takes for ended, and one an hour behind for not begun."""
    now = int(time.time())
    claims = {"sub": user, "role": "customer", "nbf": now - 1, "exp": now + (SHORT_TOKEN if seconds > 0 else 2 * HOUR)}
    return jwt.encode(claims, stack.secret, algorithm="HS256")


def check_seconds_left(buyer):
    """What a page counts from does not depend on anybody's idea of the time."""
    status, answer = Caller([buyer.sale.stack.url], buyer.caller.bearer).once("GET", f"/api/request/{buyer.request}")
    if status == 200 and answer["state"] == "reserved":
        left = answer["expires_in_seconds"]
        expect(0 <= left <= HOLD_SECONDS, f"{left} s are left of a hold of {HOLD_SECONDS} s")


for name, whose in (("Redis", "redis"), ("PostgreSQL", "postgres"), ("a worker", "worker-b"), ("a server", "serve")):
    for seconds, words in ((HOUR, "forward"), (-HOUR, "back")):
        title = f"the clock of {name} steps {words} by an hour"
        ROWS.setdefault(32, []).append(Case(32, title, step_of(whose, seconds), 40))


def redis_time(stack):
    seconds, microseconds = stack.redis.client.time()
    return seconds + microseconds / 1e6


@row(32, cost=30)
def all_clocks_drift(bench, rng):
    """Each runs fast or slow by a twentieth: Redis's is the one that holds end by."""
    stack = bench.new_stack(own_postgres=True, has_clocks=True).up()
    for clock in stack.clocks.values():
        clock.set(0, rng.choice([-50_000, 50_000]))
    sale = hold_to_the_end(stack, rng)
    end_in_time(sale, lambda: redis_time(stack))
    verdict = troubled_sale(stack, rng, lambda sale: None)
    verdict.add(sell_what_came_back(sale))
    expect_alive(*stack.roles.values())
    return verdict


@row(32, cost=30)
def the_clock_of_redis_goes_back_and_a_worker_dies(bench, rng):
    """Leases and payments of one that dies around the step are taken over as ever, and not an hour later."""
    stack = bench.new_stack(has_clocks=True).up(("worker-b", "worker-a"))

    settle(stack)

    def trouble(sale):
        time.sleep(rng.uniform(0, 0.5))
        if rng.random() < 0.5:
            stack.roles["worker-a"].kill()
            stack.clocks["redis"].set(-HOUR)
        else:
            stack.clocks["redis"].set(-HOUR)
            time.sleep(rng.uniform(0, 0.5))
            stack.roles["worker-a"].kill()
        killed = time.monotonic()
        until(lambda: len(stack.partitions_of(stack.roles["worker-b"])) == 16, 30, "the dead worker's partitions")
        expect(time.monotonic() - killed < 15, "the dead worker's partitions were taken over late")

    verdict = troubled_sale(stack, rng, trouble)
    expect_alive(stack.roles["worker-b"])
    return verdict
