"""Rows about Redis: killed, emptied, failed over, full. Each on a stack of its own, which it harms."""

import shutil
import signal
import subprocess
import time

from buyers import Caller, NoAnswer, Sale, token
from cases import row
from judge import judge
from proxy import DOWN, UP, Proxy
from scenes import expect, expect_alive, troubled_sale
from servers import Redis, until


@row(7)
def redis_is_killed(bench, rng):
    """kill -9 during a sale, and a restart on what it had synced: no accepted request is lost."""
    stack = bench.new_stack().up()

    def trouble(sale):
        for _ in range(2):
            time.sleep(rng.uniform(0.2, 0.8))
            stack.redis.kill()
            time.sleep(rng.uniform(0, 1))
            stack.redis.start()

    verdict = troubled_sale(stack, rng, trouble, spread=3.0)
    expect_alive(*stack.roles.values())
    return verdict


def sell_rest(sale, buyers=12, patience=60):
    """After a loss: whoever comes now gets what is left, and nothing twice."""
    sale.finish(30)
    later = [sale.add("buy", 1) for _ in range(buyers)]
    sale.start(seconds=patience).finish(patience + 30)
    return later


def judge_after_loss(sale):
    """What must hold after Redis forgot: nothing is sold twice, everything paid is delivered, the rest is sold."""
    later = sell_rest(sale)
    verdict = judge(sale, lost=True)
    for buyer in later:
        if buyer.final not in ("purchased", "sold_out") and buyer.refusal != (410, "sold_out"):
            verdict.violations.append(f"I4 came after the loss: {buyer} {buyer.problems}")
    # What was told as final stays true, whatever was forgotten.
    for buyer in sale.buyers:
        verdict.violations += [f"I4 {buyer}: {text}" for text in buyer.problems if "was told" in text]
    expect(verdict.sold > 0, "nothing was sold")
    return verdict


@row(8, cost=45)
def redis_is_flushed(bench, rng):
    """FLUSHALL during a sale: the line is lost, and that is all that is lost."""
    stack = bench.new_stack().up()
    sale = Sale(stack, rng, seats=10, hold_seconds=3)
    sale.await_open()
    stack.set_provider(latency=600)
    # Some are paying, some hold seats, some wait in line. The line is forgotten, so they do not wait for ever.
    sale.crowd(16, ("buy", "pay", "leave"), (1,)).start(seconds=15)
    time.sleep(rng.uniform(0.1, 1.0))
    stack.redis.client.flushall()
    stack.set_provider()
    sale.await_open(40)
    verdict = judge_after_loss(sale)
    expect_alive(*stack.roles.values())
    return verdict


@row(8, cost=30)
def a_flushed_line_comes_back_in_its_order(bench, rng):
    """FLUSHALL while a line waits: those who were in it come back in any order, and are served in their old one.

    Some do not come back, one had bought already, and others who were never in line ask first.
    """
    stack = bench.new_stack()
    start = stack.environment
    stack.environment = lambda **changes: start(**{"rejoin_seconds": 4, **changes})
    stack.up()
    sale = Sale(stack, rng, seats=7, hold_seconds=20)
    sale.await_open()
    served = sale.add("buy")
    sale.start(seconds=15)
    until(lambda: served.final == "purchased", 15, "the first purchase")
    sale.act("pause")
    waiting = []
    for _ in range(12):
        waiting.append(sale.add("buy"))
        sale.start(seconds=40)
        until(lambda: waiting[-1].request, 10, "a place")
    stack.redis.client.flushall()
    until(lambda: all(buyer.final for buyer in waiting), 30, "the news that the line is lost")
    expect([b.final for b in waiting] == ["rejected"] * 12, f"told of the loss: {waiting}")
    newcomers = [sale.add("buy") for _ in range(3)]
    greedy = sale.add_returning(served)
    back = [sale.add_returning(buyer) for buyer in rng.sample(waiting, 9)]
    sale.start(seconds=60, spread=0.5)
    until(lambda: all(buyer.request for buyer in back), 10, "the places of those who came back")
    # Long enough for the places to be in line, which is paused.
    until(lambda: all(buyer.request for buyer in (*newcomers, greedy)), 20, "the places of the others")
    sale.act("resume")
    sale.finish(60)
    verdict = judge(sale, lost=True)
    before = {buyer.user: buyer.position for buyer in waiting}
    for buyer in back:
        if buyer.position != before[buyer.user]:
            verdict.violations.append(f"I5 had position {before[buyer.user]} and came back as {buyer}")
    in_order = sorted(back, key=lambda buyer: buyer.position)
    bought = [buyer for buyer in in_order if buyer.final == "purchased"]
    if bought != in_order[:6]:
        verdict.violations.append(f"I5 in the line's order {[str(buyer) for buyer in in_order]}")
    for buyer in (*newcomers, greedy):
        if buyer.position < in_order[-1].position or buyer.final == "purchased":
            verdict.violations.append(f"I5 was not in line, and came before those who were: {buyer}")
    expect_alive(*stack.roles.values())
    return verdict


@row(8, cost=45)
def payments_survive_a_flush(bench, rng):
    """FLUSHALL while the provider has authorised and nothing is committed: the intent's row finishes it.

    The worker dies right after the authorisation, and Redis forgets the entry. What remains is one row.
    """
    verdict, sale = authorised_and_forgotten(bench.new_stack().up(), rng)
    return verdict


def authorised_and_forgotten(stack, rng):
    stack.end("worker-b")
    sick = stack.start("sick-worker", "worker", fault="confirm.authorise:after:kill:1")
    until(lambda: len(stack.partitions_of(sick)) == 16, what="the worker's partitions")
    sale = Sale(stack, rng, seats=2, hold_seconds=20)
    sale.await_open()
    sale.add("pay")
    sale.start(seconds=15)
    until(lambda: not sick.alive, what="the kill")
    stack.redis.client.flushall()
    stack.start("worker-b", "worker")
    sale.finish()
    # Payments that stall are taken up after a minute, scaled.
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        if all(payment["status"] != "requires_capture" for payment in stack.payments(sale.event)):
            break
        time.sleep(0.5)
    return judge(sale, lost=True), sale


@row(8, cost=40)
def a_payment_from_before_the_flush_meets_a_later_sale_of_its_seat(bench, rng):
    """An entry that was taken before Redis forgot everything reaches PostgreSQL after its seat was sold again."""
    stack = bench.new_stack().up()
    if rng.random() < 0.5:
        forget_lives(stack)
    verdict, _ = seat_sold_again(stack, rng, while_paying=rng.random() < 0.5)
    return verdict


def forget_lives(stack):
    """PostgreSQL does not note which life of a line is the present one, so nothing tells a claim that it is too old.

    What is left in its way is that a ticket can be claimed once.
    """
    stack.sql(
        "CREATE FUNCTION forget_life() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$"
    )
    stack.sql(
        "CREATE TRIGGER forget_life BEFORE INSERT OR UPDATE ON queue_life FOR EACH ROW EXECUTE FUNCTION forget_life()"
    )


def seat_sold_again(stack, rng, while_paying):
    """One seat, two buyers, of whom the first one's payment comes late: after the second one's, or during it."""
    stack.end("worker-b")
    sick = stack.start("sick-worker", "worker", fault="confirm.intent:before:stop:1")
    until(lambda: len(stack.partitions_of(sick)) == 16, what="the worker's partitions")
    sale = Sale(stack, rng, seats=1, hold_seconds=20)
    sale.await_open()
    sale.add("buy")
    sale.start(seconds=15)
    until(lambda: sick.is_stopped, what="the stop")
    stack.redis.client.flushall()
    stack.start("worker-b", "worker")
    sale.await_open(40)
    if while_paying:
        stack.set_provider(latency=4_000)
    second = sale.add("buy")
    sale.start(seconds=40)
    if while_paying:
        # Or its end, when the first one's intent slipped through before the stop.
        until(lambda: "confirming" in second.states or not second.is_alive(), 50, "the second buyer's payment")
        time.sleep(1)
    else:
        until(lambda: second.final or not second.is_alive(), 40, "the second buyer's end")
    sick.resume()
    sale.finish()
    time.sleep(3)
    return judge(sale, lost=True), sale


class Replicated:
    """A stack whose Redis has a replica, which can be made to lag and then be promoted."""

    def __init__(self, bench):
        self.stack = bench.new_stack()
        self.primary = self.stack.redis
        self.link = Proxy(self.primary.port)
        self.replica = Redis(self.stack.directory / "replica", self.stack.ports.take(), self.stack.logs)
        self.replica.start(replicaof=f"127.0.0.1 {self.link.port}", repl_diskless_load="disabled")
        self.front = Proxy(self.primary.port)
        url = f"redis://127.0.0.1:{self.front.port}/0"
        start = self.stack.environment
        self.stack.environment = lambda **changes: start(**{"redis_url": url, **changes})

    def __enter__(self):
        self.stack.up()
        client = self.replica.client
        until(lambda: client.info("replication")["master_link_status"] == "up", 30, "the replica")
        return self

    def lag(self):
        self.link.hold(UP, DOWN)

    def fail_over(self):
        self.primary.kill()
        self.link.refuse()
        self.replica.client.execute_command("REPLICAOF", "NO", "ONE")
        self.front.target = self.replica.port
        self.front.cut()
        self.stack.redis = self.replica

    def __exit__(self, *_):
        self.link.close()
        self.front.close()
        if self.primary is not self.stack.redis:
            self.primary.remove()


@row(8, cost=20)
def failover_to_a_replica_that_lags(bench, rng):
    """A replica that missed the last second is promoted: places may be lost, and that is all that is lost."""
    with Replicated(bench) as redis:
        stack = redis.stack
        # Sold out before it happens, or not.
        sale = Sale(stack, rng, seats=rng.choice((10, 20)), hold_seconds=3)
        sale.await_open()
        stack.set_provider(latency=300)
        sale.crowd(8, ("buy", "pay"), (1,)).start(seconds=25)
        time.sleep(rng.uniform(0.3, 0.8))
        redis.lag()
        sale.crowd(8, ("buy", "pay"), (1,)).start(seconds=25, spread=0.8)
        time.sleep(rng.uniform(0.5, 1.0))
        redis.fail_over()
        stack.set_provider()
        sale.await_open(40)
        verdict = judge_after_loss(sale)
        expect_alive(*stack.roles.values())
        return verdict


@row(8, cost=30)
def failover_that_nobody_remembers(bench, rng):
    """The same, and with the old Redis every process dies that could notice: places are given out a second time.

    Those who had them first hold seats then and have paid nothing. They learn that the place is lost, and see nothing
    of the purchase of the second one.
    """
    with Replicated(bench) as redis:
        stack = redis.stack
        sale = Sale(stack, rng, seats=24, hold_seconds=20)
        sale.await_open()
        sale.crowd(6, ("buy", "pay"), (1,)).start(seconds=25)
        records = f"{sale.prefix}r:0"
        until(
            lambda: [text[:2] for text in redis.replica.client.hvals(records)] == ["P|"] * 6, 20,
            "the first purchases, on the replica too",
        )
        redis.lag()
        first = [sale.add("leave") for _ in range(6)]
        sale.start(seconds=40)
        until(lambda: all(buyer.was_granted for buyer in first), 20, "their seats")
        stack.end("serve", "worker-b", number=signal.SIGKILL)
        redis.fail_over()
        stack.start("worker-b", "worker")
        stack.start_serve()
        sale.await_open(40)
        second = [sale.add("buy") for _ in range(12)]
        sale.start(seconds=40).finish(60)
        twice = {b.position for b in first} & {b.position for b in second}
        expect(twice, "no place was given out twice")
        verdict = judge(sale, lost=True)
        for buyer in first:
            if buyer.position in twice and buyer.final != "rejected":
                verdict.violations.append(f"I4 lost the place and was not told: {buyer}")
        expect_alive(*stack.roles.values())
        return verdict


@row(9)
def redis_comes_back_empty(bench, rng):
    """Restarted without its data: functions and groups are made anew, nothing crashes, and the sale goes on."""
    stack = bench.new_stack().up()
    sale = Sale(stack, rng, seats=10, hold_seconds=3)
    sale.await_open()
    stack.set_provider(latency=400)
    sale.crowd(16, ("buy", "pay", "leave"), (1,)).start(seconds=15)
    time.sleep(rng.uniform(0.1, 0.8))
    stack.redis.kill()
    stack.set_provider()
    shutil.rmtree(stack.redis.directory)
    time.sleep(rng.uniform(0, 1))
    stack.redis.start()
    sale.await_open(40)
    verdict = judge_after_loss(sale)
    expect_alive(*stack.roles.values())
    return verdict


@row(10)
def redis_is_out_of_memory(bench, rng):
    """With its memory used up no place is given out, and none is promised; afterwards everyone gets theirs."""
    stack = bench.new_stack().up()
    client = stack.redis.client
    refused = []

    def trouble(sale):
        client.config_set("maxmemory", 1)
        deadline = time.monotonic() + 2.5
        while time.monotonic() < deadline:
            refused.append(ask(stack, sale, f"probe-{len(refused)}"))
            time.sleep(0.1)
        client.config_set("maxmemory", 0)

    verdict = troubled_sale(stack, rng, trouble, spread=4.0)
    expect(refused and all(status in (503, 410) for status in refused), f"answers without memory: {refused}")
    expect_alive(*stack.roles.values())
    return verdict


def ask(stack, sale, user):
    """The answer to one attempt to reserve, by somebody who is not among the buyers."""
    try:
        status, _ = Caller([stack.url], token(stack, user)).once(
            "POST", "/api/ticket/reserve", {"event_id": sale.event, "quantity": 1}
        )
        return status
    except NoAnswer:
        return None


@row(10)
def the_disk_of_redis_is_full(bench, rng):
    """Its file cannot grow any more, in the midst of a write: what was answered 202 is on the disk."""
    stack = bench.new_stack().up()

    def trouble(sale):
        process = stack.redis.process
        size = sum(path.stat().st_size for path in stack.redis.directory.rglob("*.aof"))
        # A little further and writing fails, as on a full disk.
        limit = size + rng.randint(200, 4000)
        subprocess.run(["prlimit", "--pid", str(process.pid), f"--fsize={limit}"], check=True)
        until(lambda: not process.alive, 30, "Redis to give up")
        time.sleep(rng.uniform(0.2, 1))
        # There is room again.
        stack.redis.start(aof_load_truncated="yes")

    verdict = troubled_sale(stack, rng, trouble, spread=3.0)
    expect_alive(*stack.roles.values())
    return verdict
