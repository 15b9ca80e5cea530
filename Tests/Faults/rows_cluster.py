"""Row 35: PostgreSQL under Patroni loses its primary while the sale goes on, in each way in which it can."""

import contextlib
import re
import threading
import time
from pathlib import Path

import cases
from buyers import Caller, Sale, token
from cluster import Cluster, HAProxy, PgBouncer, missing, program
from judge import Verdict, judge
from proxy import DOWN, UP, Proxy
from rows_older import stop_repair_and_go_on
from rows_postgres import replication
from scenes import expect, expect_alive
from servers import until

from local import private
from local.handle import Handle

BUYERS, SEATS = 60, 44
# Longer than what the longest failover takes, so that nobody's hold ends for want of a database.
HOLD_SECONDS = 120
# Within which they come: before, while and after the primary is away.
SPREAD = 30.0


def row(number, cost):
    """Registers a case where Patroni and etcd can be started."""
    if lacking := missing():
        print(f"row {number} is left out: {lacking}", flush=True)
        return lambda function: function
    return cases.row(number, cost)


@contextlib.contextmanager
def clustered(bench, between=None, names=("a", "b")):
    """A stack with two workers and two servers on a cluster. `between(cluster, undo)` sets up what is in between, and
    gives the address at which it is found."""
    stack = bench.new_stack(cluster=lambda stack: Cluster(stack, names))
    second = stack.ports.take()
    undo = contextlib.ExitStack()
    try:
        stack.postgres.start()
        if between:
            stack.settings["ONSALE_DATABASE_URL"] = between(stack.postgres, undo)
        stack.up(workers=("worker-b", "worker-c"))
        stack.start_serve("serve-2", port=second)
        yield stack, stack.postgres, [stack.url, f"http://127.0.0.1:{second}"]
    finally:
        # First, so that nobody looks for a database that is away for good.
        for name in list(stack.roles):
            stack.roles.pop(name).kill()
        undo.close()


def sell_through(bench, rng, trouble, between=None, longest=90, **options):
    """Sells while `trouble(cluster, sale)` happens, which returns the moment at which it began; judges, and says how long
    nobody was told of a purchase. The cluster is whole again by itself before the judge comes."""
    with clustered(bench, between, **options) as (stack, cluster, urls):
        until(lambda: replication(stack) == "synchronous", 30, "the word that it is synchronous")
        sale = Sale(stack, rng, seats=SEATS, hold_seconds=HOLD_SECONDS, urls=urls)
        sale.await_open()
        for url in urls:
            know_sections(stack, sale, url)
        sale.crowd(BUYERS, plans=("buy", "buy", "pay", "decline", "cancel"))
        arrivals = threading.Thread(target=sale.start, kwargs={"seconds": 200, "spread": SPREAD}, daemon=True)
        arrivals.start()
        until(lambda: len(sale.purchases) >= 3, 40, "the first purchases")
        began = trouble(cluster, sale)
        arrivals.join()
        sale.finish(240)
        cluster.await_whole()
        verdict = judge(sale)
        put_off = sum(buyer.caller.put_off["POST", "/api/ticket/reserve"] for buyer in sale.buyers)
        pause = longest_pause(sale, began)
        verdict.notes.append(f"nobody bought for {pause:.1f} s, {put_off} joins were refused")
        expect(put_off == 0, f"{put_off} joins were refused")
        expect(pause < longest, f"nobody bought for {pause:.1f} s")
        expect(not halted(sale), f"the sale was stopped: {halted(sale)}")
        expect_alive(*stack.roles.values())
        same_on_all(cluster)
        return verdict


def know_sections(stack, sale, url):
    """A server looks an event's sections up when it is first asked for one by its name: before, as in any crowd."""
    body = {"event_id": sale.event, "quantity": 1, "section": "Nowhere"}
    deadline = time.monotonic() + 20
    status, answer = Caller([url], token(stack, "early")).until_answered("POST", "/api/ticket/reserve", body, deadline)
    expect((status, answer["code"]) == (422, "unknown_section"), f"a section that is not there: {status} {answer}")


def longest_pause(sale, began):
    """Of the time since the trouble began, the longest in which nobody was told that they bought."""
    times = sorted(when for buyer in sale.buyers for state, when in buyer.history if state == "purchased" and when > began)
    return max((late - early for early, late in zip([began, *times], times, strict=False)), default=float("inf"))


def halted(sale):
    status, answer = sale.organizer.until_answered(
        "GET", f"/api/admin/events/{sale.event}/stats", deadline=time.monotonic() + 30
    )
    expect(status == 200, f"statistics were answered {status} {answer}")
    return answer.get("halt")


def same_on_all(cluster):
    """Whatever a former primary had that nobody was told of is gone from it."""
    sold = "SELECT md5(string_agg(p::text, ',' ORDER BY event_id, generation, position)) FROM purchase p"
    # The standby replays what the primary has committed a moment later.
    until(
        lambda: len({tuple(cluster.execute(sold, port=machine.port)) for machine in cluster.machines.values()}) == 1,
        30, "the same purchases on all machines",
    )  # fmt: skip


@row(35, cost=90)
def the_primarys_machine_loses_its_power(bench, rng):
    """PostgreSQL and Patroni are gone at once: the standby takes over when the lease has ended. The machine comes back."""
    return sell_through(bench, rng, lambda cluster, _: power_loss(cluster, rng))


def power_loss(cluster, rng):
    machine, began = cluster.primary, time.monotonic()
    machine.kill()
    until(lambda: cluster.leader not in (None, machine.name), 60, "another primary")
    # Commits wait until there is a standby again.
    time.sleep(rng.uniform(0, 3))
    machine.start()
    return began


@row(35, cost=100)
def one_of_three_machines_loses_its_power(bench, rng):
    """The sale goes on before it is back: there is a standby left for commits to wait for."""

    def trouble(cluster, sale):
        machine, began = cluster.primary, time.monotonic()
        machine.kill()
        until(lambda: cluster.leader not in (None, machine.name), 60, "another primary")
        sold = len(sale.purchases)
        until(lambda: len(sale.purchases) >= sold + 3 or sale.is_over, 60, "purchases without the machine")
        machine.start()
        return began

    return sell_through(bench, rng, trouble, names=("a", "b", "c"))


@row(35, cost=90)
def the_primary_crashes(bench, rng):
    """PostgreSQL alone: Patroni sees it, and starts it again or has the standby take over."""

    def trouble(cluster, _):
        began = time.monotonic()
        for _ in range(2):
            cluster.primary.crash()
            time.sleep(rng.uniform(3, 8))
        return began

    return sell_through(bench, rng, trouble)


@row(35, cost=100)
def the_primary_stands_still_and_wakes_up(bench, rng):
    """Everything on its machine stops past its lease, and goes on as if nothing had been: nobody may write to it, and
    nobody is told what it takes itself to know."""
    return sell_through(bench, rng, lambda cluster, _: standstill(cluster, rng))


def standstill(cluster, rng):
    machine, began = cluster.primary, time.monotonic()
    with machine.standing_still():
        until(lambda: cluster.leader not in (None, machine.name), 60, "another primary")
        time.sleep(rng.uniform(0, 3))
    until(lambda: machine.role() == "replica", 60, "the former primary to be a standby")
    return began


@row(35, cost=80)
def an_operator_switches_over_and_back(bench, rng):
    """By `patronictl switchover`."""

    def trouble(cluster, _):
        began = time.monotonic()
        for _ in range(2):
            cluster.switch_over()
            cluster.await_whole()
            time.sleep(rng.uniform(0, 3))
        return began

    return sell_through(bench, rng, trouble)


@row(35, cost=80)
def etcd_is_away_and_the_sale_goes_on(bench, rng):
    """For longer than the lease: the primary goes on, since it reaches its standby."""

    def trouble(cluster, _):
        began = time.monotonic()
        cluster.etcd.kill()
        time.sleep(rng.uniform(25, 35))
        cluster.start_etcd()
        return began

    return sell_through(bench, rng, trouble, longest=10)


@row(35, cost=120)
def etcd_is_away_and_the_primary_steps_down(bench, rng):
    """Without the failsafe mode it does that when its lease has ended, and sells on once etcd is back."""

    def trouble(cluster, _):
        cluster.configure(failsafe_mode=False)
        machine, began = cluster.primary, time.monotonic()
        # Every member goes by it after its next round.
        time.sleep(6)
        cluster.etcd.kill()
        until(lambda: machine.role() == "replica", 60, "the primary to step down")
        time.sleep(rng.uniform(0, 5))
        cluster.start_etcd()
        return began

    return sell_through(bench, rng, trouble)


@row(35, cost=80)
def the_standby_is_away(bench, rng):
    """Commits wait for it, and the sale with them: what nobody else has is told to nobody."""

    def trouble(cluster, _):
        machine, began = cluster.standby, time.monotonic()
        machine.kill()
        time.sleep(rng.uniform(3, 12))
        machine.start()
        return began

    return sell_through(bench, rng, trouble)


def behind_haproxy(cluster, undo):
    between = HAProxy(cluster)
    undo.callback(between.close)
    return cluster.url(port=between.port)


def behind_pgbouncer(cluster, undo):
    """Which has HAProxy find the primary. Two of them, named by libpq's URL, do not: each goes on telling its clients what
    the first server said of itself, so that a standby is taken for the primary that it was."""
    first = HAProxy(cluster)
    undo.callback(first.close)
    second = PgBouncer(cluster, first.port)
    undo.callback(second.close)
    cluster.stack.settings["ONSALE_DATABASE_POOLER"] = "session"
    return f"postgres://onsale_app@127.0.0.1:{second.port}/onsale"


if program("haproxy"):

    @row(35, cost=100)
    def the_primary_fails_behind_haproxy(bench, rng):
        """Which asks Patroni where it is: processes know one address."""
        trouble = rng.choice((power_loss, standstill))
        return sell_through(bench, rng, lambda cluster, _: trouble(cluster, rng), behind_haproxy)

    if program("pgbouncer"):

        @row(35, cost=100)
        def the_primary_fails_behind_pgbouncer(bench, rng):
            """In session mode, which keeps connections to a server that is gone."""
            trouble = rng.choice((power_loss, standstill))
            return sell_through(bench, rng, lambda cluster, _: trouble(cluster, rng), behind_pgbouncer)


@row(35, cost=150)
def the_demo_sells_while_its_primary_is_lost(bench, rng):
    """`ENGINE=ha make up` and `make demo`, stopped and started again in between."""
    with private.temporary_directory("onsale-ha.") as directory:
        stack = Handle(directory / "state", ENGINE="ha")
        try:
            stack.up()
            said = stack.run("rush")
            expect("took over after" in said.stderr, f"no primary was lost: {said.stderr}")
            expect("clean: every invariant holds" in said.stdout, f"the audit: {said.stdout}")
            # Patroni alone: its PostgreSQL runs on, and is taken over.
            stack.kill("patroni-1")
            stack.up()
            stack.down()
            left = processes_of(directory)
            expect(not left, f"still there after down: {left}")
            stack.up()
            stack.onsale("audit")
            refused = stack.run("up", check=False, ENGINE="single")
            expect("was made with ENGINE=ha" in refused.stderr, f"another engine: {refused}")
        finally:
            stack.remove()
    figures = re.search(r"purchases +(\d+)", said.stdout)
    return Verdict(requests=int(re.search(r"generator +(\d+)", said.stdout)[1]), sold=int(figures[1]))


def processes_of(directory):
    """The commands that name it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            found += [command] if str(directory) in command else []
    return found


class Lagging:
    """Without synchronous mode: the standby is behind when the primary's machine loses its power, and is promoted."""

    def __init__(self, stack):
        self.stack, self.cluster = stack, stack.postgres
        self.link = Proxy(self.cluster.machines["a"].port)
        self.cluster.machines["a"].advertised_port = self.link.port
        self.cluster.start()
        self.cluster.configure(synchronous_mode=False, synchronous_mode_strict=False)

    def forget_from_now_on(self):
        # It had been said before anything was lost: by the metric and the details of readiness, too (see there).
        self.stack.roles["serve"].await_log("commits wait for no standby")
        position = self.cluster.execute("SELECT pg_current_wal_lsn()::text")[0][0]
        caught_up = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
        standby = self.cluster.machines["b"].port
        until(lambda: self.cluster.execute(caught_up, position, port=standby) == [(True,)], 30, "the standby")
        self.link.hold(UP, DOWN)

    def come_back(self):
        self.cluster.machines["a"].kill()
        self.link.refuse()
        until(lambda: self.cluster.leader == "b", 60, "another primary")

    def remove(self):
        self.link.close()


@row(35, cost=130)
def a_primary_without_synchronous_mode_is_replaced(bench, rng):
    """Purchases that buyers were told of are lost: that this can be was said before, and nothing is sold twice."""
    stack = bench.new_stack(cluster=Cluster)
    return stop_repair_and_go_on(stack, rng, Lagging(stack))
