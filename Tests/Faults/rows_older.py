"""Row 25: PostgreSQL comes back without its last commits, while Redis and the payment provider have all of them."""

import os
import shutil
import signal
import subprocess
import time
import urllib.request

from buyers import Sale
from cases import row
from judge import judge, run_audit
from proxy import DOWN, UP, Proxy
from rows_postgres import promote, replica_of, replication
from scenes import expect, expect_alive
from servers import POSTGRES_BIN, until

SEATS, EARLY, LATE, NEW = 12, 3, 4, 8


class Standby:
    """An asynchronous standby that lags behind is promoted."""

    def __init__(self, stack):
        self.stack, self.primary = stack, stack.postgres
        self.link = Proxy(self.primary.port)
        self.replica = replica_of(stack, self.primary, self.link.port, synchronous=False)
        both = (
            f"postgres://onsale_app:{self.primary.passwords['onsale_app']}@127.0.0.1:{self.primary.port},"
            f"127.0.0.1:{self.replica.port}/onsale?target_session_attrs=read-write&connect_timeout=2"
        )
        plain = stack.environment
        stack.environment = lambda **changes: plain(**{"database_url": both, **changes})

    def forget_from_now_on(self):
        position = self.primary.execute("SELECT pg_current_wal_lsn()::text", database="postgres")[0][0]
        until(
            lambda: self.replica.execute(
                "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", position, database="postgres"
            ) == [(True,)], 30, "the standby",
        )  # fmt: skip
        self.link.hold(UP, DOWN)

    def come_back(self):
        self.primary.process.kill()
        self.link.refuse()
        promote(self.replica)
        self.stack.postgres = self.replica

    def remove(self):
        self.link.close()
        self.replica.remove()
        self.stack.postgres = self.primary


class Dump:
    """A dump is restored, into the same server and database."""

    def __init__(self, stack):
        self.stack = stack
        self.file = stack.directory / "dump"

    def run(self, program, *arguments):
        postgres = self.stack.postgres
        subprocess.run(
            [POSTGRES_BIN / program, "-h", "127.0.0.1", "-p", str(postgres.port), "-U", "postgres", *arguments],
            env={**os.environ, "PGPASSWORD": postgres.passwords["postgres"]}, check=True, cwd="/",
        )  # fmt: skip

    def forget_from_now_on(self):
        self.run("pg_dump", "-Fc", "-f", str(self.file), "onsale")

    def come_back(self):
        execute = self.stack.postgres.execute
        execute("DROP DATABASE onsale WITH (FORCE)", database="postgres")
        execute("CREATE DATABASE onsale OWNER onsale_owner", database="postgres")
        # At once: workers are there, and write.
        self.run("pg_restore", "--single-transaction", "-d", "onsale", str(self.file))

    def remove(self):
        pass


class Copy:
    """A copy of the server's files is put back: the same server, in the same history, only earlier."""

    def __init__(self, stack):
        self.stack = stack
        self.directory = stack.postgres.directory
        self.copy = self.directory.with_name(self.directory.name + "-copy")

    def forget_from_now_on(self):
        self.stack.postgres.stop()
        subprocess.run(["cp", "-a", self.directory, self.copy], check=True)
        self.stack.postgres.start()

    def come_back(self):
        self.stack.postgres.stop(signal.SIGQUIT)
        shutil.rmtree(self.directory)
        self.copy.rename(self.directory)
        self.stack.postgres.start()

    def remove(self):
        shutil.rmtree(self.copy, ignore_errors=True)


def halt(sale):
    """Why the sale was stopped by itself, as its operator is told."""
    status, answer = sale.organizer.until_answered(
        "GET", f"/api/admin/events/{sale.event}/stats", deadline=time.monotonic() + 30
    )
    expect(status == 200, f"statistics were answered {status} {answer}")
    return answer["halt"]


def metrics(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return answer.read().decode()


def sell_and_forget(stack, rng, older, **changes):
    """Some buy before the copy is made and some after it, and then PostgreSQL is what it was when it was made.

    The workers live through it, or die with it, in which case nobody is left who remembers.
    """
    port = stack.ports.take()
    stack.start("worker-b", "worker", metrics_port=port, **changes)
    sale = Sale(stack, rng, seats=SEATS, hold_seconds=60)
    sale.await_open()

    sale.buy(EARLY, seconds=40)
    older.forget_from_now_on()
    sale.buy(LATE, seconds=40)
    sale.await_captures(EARLY + LATE)
    dies = rng.random() < 0.5
    if dies:
        stack.end("worker-b", number=signal.SIGKILL)
    older.come_back()
    if dies:
        stack.start("worker-b", "worker", metrics_port=port, **changes)
    return sale, port


def others_come(sale):
    new = [sale.add("buy") for _ in range(NEW)]
    sale.start(seconds=120, spread=1.0)
    until(lambda: all(buyer.request or buyer.refusal for buyer in new), 40, "their places")
    return new


def stop_repair_and_go_on(stack, rng, older):
    try:
        stack.up(workers=())
        until(lambda: replication(stack) == "not synchronous", 20, "the word that it is not synchronous")
        sale, port = sell_and_forget(stack, rng, older)
        new = others_come(sale)
        if rng.random() < 0.5:
            # Wherever it is between noticing and stopping, another one goes on.
            time.sleep(rng.uniform(0, 2.5))
            stack.end("worker-b", number=signal.SIGKILL)
            stack.start("worker-b", "worker", metrics_port=port)
        until(lambda: halt(sale), 40, "the stop of the sale")
        check_stop(stack, sale, port)
        if rng.random() < 0.3:
            despite(stack, sale, new)
        report, findings = run_audit(stack, "--event", sale.event, "--repair", settle=5)
        expect(report is not None, findings)
        written = [note for note in report["repairs"] if "written back" in note["what"]]
        expect(len(written) == LATE and all(note["done"] for note in written), f"repairs: {report['repairs']}")
        until(lambda: not halt(sale), 30, "the sale to go on")
        sale.finish()
        verdict = judge(sale)
        expect(verdict.sold == SEATS, f"{verdict.sold} of {SEATS} seats were sold")
        expect(sum(buyer.final == "purchased" for buyer in new) == SEATS - EARLY - LATE, f"{[str(b) for b in new]}")
        until(lambda: "onsale_purchases_missing" not in metrics(port), 15, "the end of the alarm")
        expect_alive(*stack.roles.values())
        return verdict
    finally:
        older.remove()


def check_stop(stack, sale, port):
    """The operator is told why, everywhere; and nobody resumes it without knowing."""
    why = halt(sale)
    expect(why["reason"] == "purchases_lost" and why["tickets"] == LATE, f"stopped for {why}")
    status = stack.onsale("admin", "status", sale.event).stdout
    expect("stopped: purchases_lost" in status, f"status: {status}")
    until(lambda: f'onsale_purchases_missing{{event="{sale.event}"}} {float(LATE)}' in metrics(port), 20, "the alarm")
    until(lambda: sale.queue().get("state") == "paused", 20, "the line to be paused")
    refused = stack.onsale("admin", "resume", sale.event)
    expect(refused.returncode == 1 and "purchases_lost" in refused.stderr, f"resume: {refused}")
    status, answer = sale.organizer.once("POST", f"/api/admin/events/{sale.event}/resume", {})
    expect((status, answer.get("code")) == (409, "conflict"), f"resume: {status} {answer}")


def despite(stack, sale, new):
    """The operator sells on: everything but what is missing."""
    done = stack.onsale("admin", "resume", sale.event, "--despite")
    expect(done.returncode == 0, f"resume --despite: {done}")
    until(lambda: sum(buyer.final == "purchased" for buyer in new) == SEATS - EARLY - LATE, 40, "the other seats")


@row(25, cost=45)
def a_standby_that_lags_is_promoted(bench, rng):
    """An asynchronous standby takes over without the last commits: the sale stops, and nothing is sold twice."""
    stack = bench.new_stack(own_postgres=True)
    return stop_repair_and_go_on(stack, rng, Standby(stack))


@row(25, cost=45)
def an_older_dump_is_restored(bench, rng):
    """A dump that was made before the last sales takes the place of the database, under the running processes."""
    stack = bench.new_stack(own_postgres=True)
    return stop_repair_and_go_on(stack, rng, Dump(stack))


@row(25, cost=45)
def an_older_copy_of_the_files_is_put_back(bench, rng):
    """The server's files are those of before the last sales, as of a snapshot: it cannot be told by its name."""
    stack = bench.new_stack(own_postgres=True)
    return stop_repair_and_go_on(stack, rng, Copy(stack))


def sold_again(stack, rng, older, **changes):
    """What happens to the seats when PostgreSQL is older and the sale goes on: the verdict over that."""
    try:
        sale, _ = sell_and_forget(stack, rng, older, **changes)
        others_come(sale)
        until(lambda: sale.is_over or halt(sale), 60, "the end, or the stop of the sale")
        # With its protections on, this is where everything comes right.
        run_audit(stack, "--event", sale.event, "--repair", settle=5)
        sale.finish(60)
        return judge(sale)
    finally:
        older.remove()
