"""Row 39: both stores are gone, and restored from their backups by the commands of deploy/README.md."""

import os
import re
import shutil
import signal
import subprocess

from buyers import Sale
from cases import row
from judge import judge
from rows_older import halt
from scenes import expect, expect_alive
from servers import BINARY, POSTGRES_BIN, ROOT, Process, until

from local import postgres, processes

SEATS, EARLY, LATE, NEW = 16, 4, 4, 14


class Runbook:
    """The section of the README, and a server and a Redis that it is carried out on."""

    def __init__(self, stack):
        self.stack = stack
        stack.directory.chmod(0o711)
        self.backup = stack.directory / "backup"
        postgres.make_directory(self.backup)
        postgres.make_directory(self.backup / "wal")
        (self.backup / "bin").mkdir()
        (self.backup / "bin/onsale").symlink_to(BINARY)
        text = (ROOT / "deploy/README.md").read_text()
        section = text[text.index("\n## Backup and restore\n") :].split("\n## ")[1]
        self.steps = dict(re.findall(r"```sh\n# ([^\n]+)\n(.*?)```", section, re.DOTALL))
        self.keeping = None

    @property
    def environment(self):
        server = self.stack.postgres
        return {
            **self.stack.environment(),
            "PATH": f"{self.backup}/bin:{POSTGRES_BIN}:{os.environ['PATH']}",
            "BACKUP": str(self.backup),
            "PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGUSER": "postgres",
            "PGPASSWORD": server.passwords["postgres"], "PGDATA": str(server.directory),
            "REDIS_DIRECTORY": str(self.stack.redis.directory),
        }  # fmt: skip

    def command(self, step):
        return ["bash", "-euo", "pipefail", "-c", self.steps[step]]

    def do(self, step, user=None):
        """Carries a step out, as that user or as whoever we are."""
        done = subprocess.run(
            [*processes.as_user(user), *self.command(step)], env=self.environment, capture_output=True, text=True, cwd="/",
            timeout=120,
        )  # fmt: skip
        expect(done.returncode == 0, f"{step}: {done.stdout}{done.stderr}")

    def keep_every_commit(self):
        """From here on no commit is answered before it is kept."""
        log = self.stack.logs / "receivewal.log"
        self.keeping = Process.launched(
            "pg_receivewal", log,
            lambda: processes.launch(
                self.command("keep every commit"), log, self.environment, postgres.user(), signal.SIGKILL
            ),
        )  # fmt: skip
        # Not with the connection that looks, which would wait for itself.
        execute = self.stack.postgres.execute
        execute("ALTER SYSTEM SET synchronous_standby_names = 'pg_receivewal'", database="postgres")
        execute("SELECT pg_reload_conf()", database="postgres")
        until(
            lambda: execute("SELECT sync_state FROM pg_stat_replication", database="postgres") == [("sync",)],
            30, "the first commit to be kept",
        )  # fmt: skip

    def take_copies(self):
        self.do("take copies", postgres.user())

    def lose_both(self):
        server, queue = self.stack.postgres, self.stack.redis
        server.process.kill()
        queue.kill()
        if self.keeping:
            self.keeping.end(signal.SIGINT)
        shutil.rmtree(server.directory)
        shutil.rmtree(queue.directory)
        postgres.make_directory(server.directory)
        queue.directory.mkdir()

    def restore(self):
        server, queue = self.stack.postgres, self.stack.redis
        self.do("restore PostgreSQL", postgres.user())
        server.start()
        until(lambda: server.execute("SELECT pg_is_in_recovery()") == [(False,)], 60, "the end of the recovery")
        if self.keeping:
            self.keep_every_commit()
        self.do("restore Redis")
        queue.start(appendonly="no")
        expect("DB loaded from disk" in queue.process.log, f"Redis did not look at its copy: {queue.process.log[-800:]}")
        self.do("have Redis write its journal")
        queue.process.await_end()
        queue.start()
        expect("loaded from append only" in queue.process.log, f"Redis has no journal: {queue.process.log[-800:]}")

    def close(self):
        if self.keeping:
            self.keeping.kill()


def restored_during_a_sale(bench, rng, keeps, stops):
    """Some buy before the copies are taken and some after, some hold seats or wait; and then both stores are gone.

    - keeps: whether every commit is kept, and not the copies alone.
    - stops: whether the workers are stopped, as the runbook has it for copies alone."""
    stack = bench.new_stack(own_postgres=True).up()
    runbook = Runbook(stack)
    try:
        if keeps:
            runbook.keep_every_commit()
        sale = Sale(stack, rng, seats=SEATS, hold_seconds=60)
        sale.await_open()

        sale.buy(EARLY, seconds=60)
        runbook.take_copies()
        sale.buy(LATE, seconds=60)
        # What was not taken at the provider is nobody's, to who asks it alone.
        sale.await_captures(EARLY + LATE)
        for _ in range(2):
            sale.add("leave")
        sale.start(seconds=60)
        if stops:
            stack.end("worker-b")
        runbook.lose_both()
        new = [sale.add("buy") for _ in range(NEW)]
        if not stops and not keeps:
            # They are there when Redis is.
            sale.start(seconds=180, spread=1.0)
        runbook.restore()
        if not stops and not keeps:
            until(lambda: halt(sale), 60, "the stop of the sale")
            why = halt(sale)
            expect((why["reason"], why["tickets"]) == ("purchases_lost", LATE), f"stopped for {why}")
        runbook.do("write purchases back")
        if stops:
            stack.start("worker-b", "worker")
        if stops or keeps:
            sale.start(seconds=150, spread=1.0)
        sale.finish(180)
        expect(not halt(sale), f"the sale is stopped: {halt(sale)}")
        verdict = judge(sale, lost=True)
        bought = sum(buyer.final == "purchased" for buyer in new)
        expect(bought >= SEATS - EARLY - LATE - 2, f"{bought} of those who came afterwards bought: {[str(b) for b in new]}")
        expect_alive(*stack.roles.values())
        return verdict
    finally:
        runbook.close()


@row(39, cost=60)
def both_stores_are_restored_with_every_commit(bench, rng):
    """Nothing that anybody was told to have bought is lost, and the sale goes on by itself."""
    return restored_during_a_sale(bench, rng, keeps=True, stops=False)


@row(39, cost=60)
def both_stores_are_restored_from_copies_alone(bench, rng):
    """What was sold since is written back from the provider's books before anybody could sell it again."""
    return restored_during_a_sale(bench, rng, keeps=False, stops=True)


@row(39, cost=60)
def both_stores_are_restored_under_the_workers(bench, rng):
    """The same by those who have not read the runbook: workers find out by themselves, before anything is sold again."""
    return restored_during_a_sale(bench, rng, keeps=False, stops=False)
