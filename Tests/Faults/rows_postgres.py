"""Rows about PostgreSQL: connections lost at the worst moment, stopped, failed over, transactions refused."""

import signal
import time
import urllib.request

import psycopg

from buyers import Caller
from cases import row
from proxy import DOWN, UP, Proxy, breaking
from scenes import (
    HOLD_SECONDS,
    SLACK,
    end_in_time,
    ended,
    expect,
    expect_alive,
    expect_short_logs,
    hold_to_the_end,
    sell_what_came_back,
    troubled_sale,
)
from servers import Postgres, postgres, until


def through_proxy(stack, proxy):
    """The database's address by way of the proxy."""
    return stack.postgres.url(database=stack.database, port=proxy.port)


@row(4)
def the_answer_to_a_commit_is_lost(bench, rng):
    """The connection breaks between COMMIT and its answer: what became of it is looked up, not guessed."""
    stack = bench.shared_stack()
    proxy = Proxy(stack.postgres.port)
    stack.end("worker-b")
    # The server's own word for a commit that happened.
    proxy.watch = breaking(DOWN, b"COMMIT\0", 0.4, rng)
    try:
        worker = stack.start("far-worker", "worker", database_url=through_proxy(stack, proxy))

        def trouble(sale):
            until(lambda: proxy.broken >= 3 or sale.is_over, 60, "three lost answers")
            proxy.watch = breaking(DOWN, b"COMMIT\0", 0.1, rng)

        verdict = troubled_sale(stack, rng, trouble)
        expect(proxy.broken > 0, "no answer was lost")
        expect_alive(worker)
        return verdict
    finally:
        proxy.heal()
        stack.end("far-worker")
        stack.start("worker-b", "worker")
        proxy.close()


@row(4)
def a_transaction_is_cut_off_halfway(bench, rng):
    """The connection breaks while a transaction is sent: nothing of it happened, and it is done again."""
    stack = bench.shared_stack()
    proxy = Proxy(stack.postgres.port)
    stack.end("worker-b")

    def watch(way, data):
        # Of a transaction in one piece only the first half arrives, and then the connection is gone.
        if way == UP and len(data) > 600 and rng.random() < (0.6 if proxy.broken < 3 else 0.2):
            return None
        return data

    proxy.watch = watch
    try:
        worker = stack.start("far-worker", "worker", database_url=through_proxy(stack, proxy))

        def trouble(sale):
            until(lambda: proxy.broken >= 3 or sale.is_over, 60, "three broken transactions")
            proxy.watch = None

        verdict = troubled_sale(stack, rng, trouble)
        expect(proxy.broken > 0, "no transaction was broken")
        expect_alive(worker)
        return verdict
    finally:
        proxy.heal()
        stack.end("far-worker")
        stack.start("worker-b", "worker")
        proxy.close()


@row(11, cost=20)
def postgres_is_stopped_and_started(bench, rng):
    """Immediate stop, as in a crash, in the midst of commits, and a restart: the sale resumes by itself."""
    stack = bench.new_stack(own_postgres=True).up()

    def trouble(sale):
        for _ in range(2):
            time.sleep(rng.uniform(0.2, 0.8))
            stack.postgres.stop(signal.SIGQUIT)
            time.sleep(rng.uniform(0, 1.5))
            stack.postgres.start()

    verdict = troubled_sale(stack, rng, trouble, spread=3.0)
    expect_alive(*stack.roles.values())
    return verdict


@row(11, cost=20)
def holds_run_out_while_postgres_stands_still(bench, rng):
    """SIGSTOP: it answers nothing, and refuses nothing. Holds end all the same, also where a seat map must be loaded."""
    stack = bench.new_stack(own_postgres=True).up()
    sale = hold_to_the_end(stack, rng)
    # Longer than a try to connect takes, so that the log is that of an outage.
    with stack.postgres.process.standing_still():
        if rng.random() < 0.5:
            # Over another connection the owner begins anew, and gets no further than PostgreSQL.
            stack.redis.client.client_kill_filter(_type="normal", skipme=True)
        end_in_time(sale)
        time.sleep(8)
        expect_short_logs(stack)
    verdict = sell_what_came_back(sale)
    expect_alive(*stack.roles.values())
    return verdict


@row(11, cost=25)
def holds_end_first_when_redis_is_back(bench, rng):
    """Redis is killed, holds run out, and it is back while PostgreSQL stands still: they end before all else."""
    stack = bench.new_stack(own_postgres=True).up()
    sale = hold_to_the_end(stack, rng)
    with stack.postgres.process.standing_still():
        stack.redis.kill()
        time.sleep(HOLD_SECONDS + rng.uniform(0, 1))
        stack.redis.start()
        worker = stack.roles["worker-b"]
        connected = worker.log.count('"redis: connected"')
        until(lambda: worker.log.count('"redis: connected"') > connected or ended(sale), 10, "the worker at Redis")
        back = time.monotonic()
        until(lambda: ended(sale), 10, "the end of the holds", pause=0.02)
        late = time.monotonic() - back
        expect(late < 1 + SLACK, f"holds ended {late:.2f} s after Redis was back")
    return sell_what_came_back(sale)


@row(12, cost=35)
def postgres_fails_over_to_a_replica(bench, rng):
    """kill -9 of the primary; its synchronous replica is promoted, and everyone finds it by themselves."""
    stack = bench.new_stack(own_postgres=True)
    primary = stack.postgres
    replica = replica_of(stack, primary)
    both = (
        f"postgres://onsale_app:{primary.passwords['onsale_app']}@127.0.0.1:{primary.port},"
        f"127.0.0.1:{replica.port}/onsale?target_session_attrs=read-write&connect_timeout=2"
    )
    plain = stack.environment
    stack.environment = lambda **changes: plain(**{"database_url": both, **changes})
    try:
        stack.up()
        until(lambda: replication(stack) == "synchronous", 20, "the word that it is synchronous")

        def trouble(sale):
            time.sleep(rng.uniform(0.3, 1.0))
            primary.process.kill()
            time.sleep(rng.uniform(0, 0.5))
            promote(replica)
            stack.postgres = replica

        verdict = troubled_sale(stack, rng, trouble, spread=3.0)
        expect_alive(*stack.roles.values())
        return verdict
    finally:
        replica.remove()
        stack.postgres = primary


def replication(stack):
    """What a server says of it in the details of its readiness, and in its metrics."""
    status, answer = Caller([stack.operators_url]).until_answered("GET", "/readyz", deadline=time.monotonic() + 20)
    expect(status == 200, f"readyz: {status} {answer}")
    word = answer["details"].get("postgres_replication")
    with urllib.request.urlopen(f"{stack.operators_url}/metrics", timeout=10) as page:
        gauge = f"onsale_postgres_replication_synchronous {float(word == 'synchronous')}\n"
        return word if gauge in page.read().decode() else None


def replica_of(stack, primary, port_of_primary=None, synchronous=True):
    """A streaming replica; one that is synchronous has every commit before its client knows of it."""
    directory = stack.directory / "postgres-replica"
    port = stack.ports.take()
    stack.directory.chmod(0o711)
    port_of_primary = port_of_primary or primary.port
    postgres.copy(directory, port_of_primary, "postgres", primary.passwords["postgres"], primary.logs / "copy.log")
    replica = Postgres(directory, port, primary.logs, primary.passwords)
    replica.start(hot_standby="on")
    if not synchronous:
        return replica
    primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'", database="postgres")
    primary.execute("SELECT pg_reload_conf()", database="postgres")
    until(
        lambda: primary.execute("SELECT sync_state FROM pg_stat_replication", database="postgres") == [("sync",)],
        30, "the synchronous replica",
    )  # fmt: skip
    return replica


def promote(replica):
    # It would wait for a replica of its own otherwise.
    replica.execute("SELECT pg_promote(true, 30)", database="postgres")
    until(lambda: replica.execute("SELECT pg_is_in_recovery()", database="postgres") == [(False,)], 30, "promotion")
    replica.execute("ALTER SYSTEM RESET synchronous_standby_names", database="postgres")
    replica.execute("SELECT pg_reload_conf()", database="postgres")


@row(13)
def transactions_are_refused_for_others_sake(bench, rng):
    """Serialization failures, deadlocks and lock timeouts: the whole group is decided again."""
    stack = bench.shared_stack()
    code = rng.choice(["40001", "40P01", "55P03"])
    table = rng.choice(["purchase", "claim"])
    stack.sql("CREATE SEQUENCE IF NOT EXISTS unlucky")
    stack.sql("GRANT USAGE ON SEQUENCE unlucky TO onsale_app")
    # Sequences do not roll back: of eight statements three fail, and a transaction with up to five of them has its turn.
    stack.sql(
        "CREATE OR REPLACE FUNCTION be_unlucky() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF nextval('unlucky') % 8 < 3 THEN RAISE EXCEPTION 'unlucky' USING ERRCODE = '{code}'; END IF; "
        "RETURN NULL; END $$"
    )
    stack.sql(
        f"CREATE TRIGGER unlucky AFTER INSERT OR UPDATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION be_unlucky()"
    )
    try:
        return troubled_sale(stack, rng, lambda sale: None)
    finally:
        stack.sql(f"DROP TRIGGER unlucky ON {table}")


@row(13)
def a_deadlock_with_somebody_else(bench, rng):
    """Another session holds tickets that a sale needs, and wants the purchase that the sale holds."""
    stack = bench.shared_stack()
    met = []

    def trouble(sale):
        url = stack.postgres.url("postgres", stack.database)
        deadline = time.monotonic() + 20
        while not met and time.monotonic() < deadline:
            with psycopg.connect(url) as connection:
                # So that the other side is the one that notices, and is refused.
                connection.execute("SET deadlock_timeout = '20 s'; SET lock_timeout = '8 s'")
                connection.execute("UPDATE ticket SET rank = rank WHERE event_id = %s", (sale.event,))
                waiting = wait_for_waiter(stack, 3)
                if not waiting:
                    connection.rollback()
                    continue
                try:
                    connection.execute("UPDATE purchase SET reason = reason WHERE event_id = %s", (sale.event,))
                    met.append(True)
                except (psycopg.errors.DeadlockDetected, psycopg.errors.LockNotAvailable):
                    pass
                connection.rollback()

    verdict = troubled_sale(stack, rng, trouble, spread=4.0)
    log = stack.postgres.process.log
    expect("deadlock detected" in log or met, "there was no deadlock")
    return verdict


def wait_for_waiter(stack, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        rows = stack.sql(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        if rows[0][0]:
            return True
        time.sleep(0.01)
    return False


@row(13)
def locks_are_held_too_long(bench, rng):
    """Somebody locks the tables of a sale for some seconds."""
    stack = bench.shared_stack()

    def trouble(sale):
        url = stack.postgres.url("postgres", stack.database)
        for _ in range(2):
            with psycopg.connect(url) as connection:
                table = rng.choice(["purchase", "claim", "ticket", "outbox"])
                connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
                time.sleep(rng.uniform(0.5, 7))
                connection.rollback()
            time.sleep(0.2)

    return troubled_sale(stack, rng, trouble, spread=3.0)
