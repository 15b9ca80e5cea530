"""Real servers for the tests: PostgreSQL, Redis, the payment stub and the roles, each a process of its own.

They are started as in `deploy/local`; what is more here is that each can be harmed, and started again with a setting of
its own. Nothing is shared with another stack on the machine: every stack has a range of ports of its own. Every process
ends with this one, however that ends.
"""

import atexit
import contextlib
import json
import os
import secrets
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import redis

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deploy"))
from local import BINARY, Failure, postgres, private, processes  # noqa: E402
from local import ROOT as ROOT  # noqa: E402
from local import redis as redis_server  # noqa: E402
from local import until as until_within  # noqa: E402
from local.ports import Range  # noqa: E402

POSTGRES_BIN = postgres.programs()
# Leases, take-overs and retries in a fifth of their usual time: what a test waits for is then seconds.
TAKEOVER_PERCENT = 20
PAYMENT_KEY = "sk_test_faults"
WEBHOOK_SECRET = "whsec_0123456789abcdef"
FAULT_STRUCK = '"fault struck"'


def until(condition, seconds=30, what="the condition", pause=0.03):
    """Waits until `condition` returns something true, and returns that."""
    return until_within(condition, seconds, what, pause)


# --- Processes ---

# The kernel ends a child with the thread that made it, so one thread that lives as long as we do makes them all.
_launcher = ThreadPoolExecutor(max_workers=1, thread_name_prefix="launcher")
_running = {}
_running_lock = threading.Lock()


class Process:
    """One process, its log, and what can be done to it. Always named by its pid."""

    def __init__(self, name, arguments, log, environment=None):
        """Runs this command; ended with us by SIGKILL."""
        self._watch(name, log, lambda: processes.launch(arguments, log, environment, ending=signal.SIGKILL))

    @classmethod
    def launched(cls, name, log, launch):
        """What `launch` starts, and returns the `Popen` of."""
        process = cls.__new__(cls)
        process._watch(name, log, launch)
        return process

    def _watch(self, name, log, launch):
        self.name = name
        self.was_told_to_end = False
        self.log_path = Path(log)
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        self._offset = self.log_path.stat().st_size if self.log_path.exists() else 0
        self.popen = _launcher.submit(launch).result()
        self.pid = self.popen.pid
        with _running_lock:
            _running[self.pid] = self

    @property
    def alive(self):
        return self.popen.poll() is None

    @property
    def code(self):
        return self.popen.poll()

    @property
    def is_stopped(self):
        return processes.is_stopped(self.pid)

    def send(self, number):
        self.was_told_to_end = self.was_told_to_end or number == signal.SIGTERM
        if self.alive:
            os.kill(self.pid, number)

    def pause(self):
        self.send(signal.SIGSTOP)
        until(lambda: self.is_stopped or not self.alive, what=f"{self.name} to stop")

    def resume(self):
        self.send(signal.SIGCONT)

    @contextlib.contextmanager
    def standing_still(self):
        """Stopped with all of its children for as long as the block takes: asked, it says nothing, for ever."""
        self.pause()
        children = processes.children(self.pid)
        for child in children:
            processes.send(child, signal.SIGSTOP)
        try:
            yield
        finally:
            for child in children:
                processes.send(child, signal.SIGCONT)
            self.resume()

    def log_lines(self, level="warning"):
        """How many lines of this level it has written since it was started."""
        return self.log.count(f'"level":"{level}"')

    def kill(self):
        """Ends it without a chance to clean up, and waits until it is gone."""
        self.end(signal.SIGKILL, 20)

    def end(self, number=signal.SIGTERM, seconds=20):
        """Sends the signal and waits. Returns the exit code."""
        self.send(number)
        return self.await_end(seconds)

    def await_end(self, seconds=20):
        """Waits for the end; a process that does not come to it in time is killed. Returns the exit code."""
        try:
            self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
            self.popen.wait(20)
        with _running_lock:
            _running.pop(self.pid, None)
        return self.popen.returncode

    @property
    def log(self):
        """What it wrote since it was started."""
        with open(self.log_path, "rb") as file:
            file.seek(self._offset)
            return file.read().decode(errors="replace")

    def await_log(self, text, seconds=30):
        def look():
            if text in self.log:
                return True
            if not self.alive:
                raise Failure(f"{self.name} ended with {self.code}: {self.log[-1500:]}")
            return False

        until(look, seconds, f"{text!r} in the log of {self.name}")


@atexit.register
def end_all():
    """Ends every process that still runs."""
    with _running_lock:
        left = list(_running.values())
        _running.clear()
    for process in left:
        processes.send(process.pid, signal.SIGKILL)
    for process in left:
        with contextlib.suppress(Exception):
            process.popen.wait(10)


# --- PostgreSQL ---


class Clock:
    """What processes that were started with it take the time of day to be, as the test sets it (`clock.c`)."""

    _library = None
    _lock = threading.Lock()

    def __init__(self, path):
        self.path = Path(path)
        self.set()
        # Read by servers that run as another user.
        self.path.chmod(0o644)

    def set(self, seconds=0, millionths=0):
        """So many seconds ahead of the machine's clock from now on, and running fast by so many millionths."""
        self.seconds = seconds
        with open(self.path, "r+b" if self.path.exists() else "wb") as file:
            file.write(struct.pack("<qqq", int(seconds * 1e9), millionths, time.time_ns()))

    def environment(self, machinery):
        return {"LD_PRELOAD": str(self.library(machinery)), "TEST_CLOCK": str(self.path)}

    @classmethod
    def library(cls, machinery):
        with cls._lock:
            if cls._library is None:
                cls._library = machinery.directory / "clock.so"
                source = Path(__file__).parent / "clock.c"
                subprocess.run(
                    ["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o", cls._library, source],
                    check=True,
                )
        return cls._library


class Postgres:
    """A PostgreSQL server whose data is a copy of a cluster that has the schema."""

    database = postgres.NAME
    # What it has in its environment besides ours.
    surroundings = {}

    def __init__(self, directory, port, logs, passwords):
        self.directory, self.port, self.logs = Path(directory), port, Path(logs)
        self.passwords = passwords
        self.process = None

    def start(self, wait=True, **settings):
        options = {
            "max_connections": 400,
            "shared_buffers": "64MB",
            "wal_level": "replica",
            "log_min_messages": "warning",
            **settings,
        }
        name = f"postgres-{self.port}"
        log, environment = self.logs / f"{name}.log", {**os.environ, **self.surroundings}
        self.process = Process.launched(
            name,
            log,
            lambda: postgres.launch(self.directory, self.port, log, environment, postgres.STOP_SIGNAL, **options),
        )
        if wait:
            self.await_ready()

    def await_ready(self, seconds=60):
        def answers():
            if not self.process.alive:
                raise Failure(f"PostgreSQL ended: {self.process.log[-1500:]}")
            return postgres.is_ready(self.directory, self.process.pid)

        until(answers, seconds, "PostgreSQL")

    def url(self, role="onsale_app", database=None, port=None):
        password = self.passwords[role]
        return f"postgres://{role}:{password}@127.0.0.1:{port or self.port}/{database or self.database}"

    def execute(self, statement, *parameters, database=None):
        """Runs one statement as the superuser; returns its rows, if it has any."""
        url = self.url("postgres", database)
        with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
            return rows(connection, statement, parameters)

    def stop(self, number=signal.SIGINT):
        if self.process:
            self.process.end(number, 60)

    def remove(self):
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.directory, ignore_errors=True)


def rows(connection, statement, parameters):
    """What a statement brought, if it brings rows."""
    cursor = connection.execute(statement, parameters or None)
    return cursor.fetchall() if cursor.description else []


class Machinery:
    """What all stacks of a run have in common: a directory, one schema to copy, one PostgreSQL to share."""

    def __init__(self):
        undo = contextlib.ExitStack()
        atexit.register(undo.close)
        self.directory = undo.enter_context(private.temporary_directory("onsale-faults."))
        self.logs = self.directory / "log"
        self.logs.mkdir()
        self.passwords = {role: secrets.token_hex(8) for role in ("postgres", "onsale_owner", "onsale_app")}
        self.ports = Range()
        self._golden = self.directory / "golden"
        self._initialise()
        self._lock = threading.Lock()
        self._databases = 0
        self.shared = self.new_postgres("shared", self.ports.take())
        self.shared.start()

    def _initialise(self):
        # Passwords by MD5: a test opens dozens of connections, and SCRAM makes each as dear as a dozen statements.
        # That the clients speak SCRAM is seen elsewhere, in the stack that the other tests use.
        postgres.initialise(self._golden, self.passwords["postgres"], authentication="md5")
        roles = {role: password for role, password in self.passwords.items() if role != "postgres"}
        postgres.create_database(self._golden, roles)
        server = Postgres(self._golden, self.ports.take(), self.logs, self.passwords)
        server.start()
        self.migrate(server.url("onsale_owner"))
        server.stop()

    def migrate(self, url):
        """Makes the schema in a database."""
        subprocess.run(
            [BINARY, "migrate"],
            env={**clean_environment(), "ONSALE_MIGRATE_DATABASE_URL": url},
            check=True,
            stderr=subprocess.DEVNULL,
        )

    def new_postgres(self, name, port):
        """A server of its own, not started, for a test that harms it."""
        directory = self.directory / f"postgres-{name}"
        subprocess.run(["cp", "-a", "--reflink=auto", self._golden, directory], check=True)
        return Postgres(directory, port, self.logs, self.passwords)

    def new_database(self):
        """A database of its own in the shared server."""
        with self._lock:
            self._databases += 1
            name = f"onsale_{self._databases}"
            self.shared.execute(f"CREATE DATABASE {name} TEMPLATE onsale", database="postgres")
        return name

    def drop_database(self, name):
        self.shared.execute(f"DROP DATABASE {name} WITH (FORCE)", database="postgres")


def clean_environment():
    return {name: value for name, value in os.environ.items() if not name.startswith("ONSALE_")}


# --- Redis ---


class Redis:
    surroundings = {}

    def __init__(self, directory, port, logs):
        self.directory, self.port, self.logs = Path(directory), port, Path(logs)
        self.process = None

    def start(self, wait=True, **settings):
        name = f"redis-{self.port}"
        log, environment = self.logs / f"{name}.log", {**os.environ, **self.surroundings}
        self.process = Process.launched(
            name,
            log,
            lambda: redis_server.launch(self.directory, self.port, log, environment, signal.SIGKILL, **settings),
        )
        if wait:
            self.await_ready()

    def await_ready(self):
        def answers():
            if not self.process.alive:
                raise Failure(f"Redis ended: {self.process.log[-1500:]}")
            return redis_server.answers(self.port)

        until(answers, 30, "Redis")

    @property
    def client(self):
        return redis.Redis(port=self.port, decode_responses=True, socket_timeout=10)

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    def kill(self):
        self.process.kill()

    def remove(self):
        if self.process:
            self.process.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


# --- The whole ---


class Stack:
    """One Onsale. Its roles are started one by one, each with faults and addresses of its own if need be."""

    _count = 0

    def __init__(self, machinery, own_postgres=False, has_clocks=False, cluster=None):
        """`cluster` makes what takes the place of a PostgreSQL of its own, for this stack."""
        Stack._count += 1
        self.machinery = machinery
        self.name = f"stack-{Stack._count}"
        self.directory = machinery.directory / self.name
        self.directory.mkdir()
        self.logs = self.directory / "log"
        self.ports = Range()
        self.secret = secrets.token_hex(32)
        self.roles = {}
        # Of every role, and of what operators run, where they are others than a stack's usual ones.
        self.settings = {}
        # One for each process, by its name.
        self.clocks = {}
        self._has_clocks = has_clocks
        if has_clocks:
            self.directory.chmod(0o711)
        self._own_postgres = own_postgres or cluster is not None
        if cluster:
            self.postgres = cluster(self)
            self.database = Postgres.database
        elif own_postgres:
            self.postgres = machinery.new_postgres(self.name, self.ports.take())
            self.postgres.surroundings = self.clock_of("postgres")
            self.postgres.start()
            self.database = Postgres.database
        else:
            self.postgres = machinery.shared
            self.database = machinery.new_database()
        self.redis = Redis(self.directory / "redis", self.ports.take(), self.logs)
        self.redis.surroundings = self.clock_of("redis")
        self.redis.start()
        self.payment_port, self.serve_port, self.sick_port = (self.ports.take() for _ in range(3))
        self.metrics_ports = {}
        # What looks into the database; a connection is as dear as a dozen statements, and most cases make that many.
        self._looking = None
        self._looking_lock = threading.Lock()
        self.start_payments()

    def clock_of(self, name):
        """What makes a process of this name have a clock that the test sets."""
        if not self._has_clocks:
            return {}
        if name not in self.clocks:
            self.clocks[name] = Clock(self.directory / f"clock-{name}")
        return self.clocks[name].environment(self.machinery)

    # --- Addresses ---

    @property
    def database_url(self):
        return self.postgres.url(database=self.database)

    @property
    def payment_url(self):
        return f"http://127.0.0.1:{self.payment_port}"

    @property
    def url(self):
        return f"http://127.0.0.1:{self.serve_port}"

    @property
    def operators_url(self):
        return f"http://127.0.0.1:{self.metrics_ports['serve']}"

    def environment(self, **changes):
        base = {
            **clean_environment(),
            "ONSALE_DATABASE_URL": self.database_url,
            "ONSALE_DATABASE_CONNECTIONS": "2",
            "ONSALE_REDIS_URL": self.redis.url,
            "ONSALE_PAYMENT_URL": self.payment_url,
            "ONSALE_PAYMENT_KEY": PAYMENT_KEY,
            "ONSALE_PAYMENT_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "ONSALE_JWT_SECRET": self.secret,
            "ONSALE_HOST": "127.0.0.1",
            # All buyers come from one address.
            "ONSALE_CONNECTIONS_PER_ADDRESS": "0",
            "ONSALE_DECLINES_PER_ADDRESS": "0",
            "ONSALE_DECLINES_PER_EVENT": "0",
            "ONSALE_URL": self.url,
            "ONSALE_TAKEOVER_PERCENT": str(TAKEOVER_PERCENT),
            "ONSALE_REJOIN_SECONDS": "1",
            "ONSALE_WEBHOOK_NETWORKS": "127.0.0.0/8",
            # Row 14 makes it up to two.
            "ONSALE_PAYMENT_SEARCH_SECONDS": "3",
        }
        return {**base, **self.settings, **{f"ONSALE_{name.upper()}": str(value) for name, value in changes.items()}}

    # --- Roles ---

    def start(self, name, role, ready=True, binary=BINARY, **changes):
        """Starts `role` as a process called `name`; `changes` are settings, without their ONSALE_."""
        process = Process(
            name, [binary, role], self.logs / f"{name}.log", {**self.environment(**changes), **self.clock_of(name)}
        )
        self.roles[name] = process
        if ready:
            process.await_log('"message":"ready"')
        return process

    def start_payments(self):
        ledger = self.directory / "ledger"
        return self.start("payments", "payments", payment_port=self.payment_port, payment_ledger=ledger)

    def start_serve(self, name="serve", port=None, **changes):
        if name not in self.metrics_ports:
            self.metrics_ports[name] = self.ports.take()
        return self.start(
            name, "serve", port=port or self.serve_port, metrics_port=self.metrics_ports[name], **changes
        )

    def up(self, workers=("worker-b",)):
        """Starts what a sale needs."""
        self.start_serve()
        self.start("indexer", "indexer")
        for name in workers:
            self.start(name, "worker")
        for name in ("serve", "indexer", *workers):
            # They are ready before they have anyone to talk to; Redis has its functions afterwards.
            self.roles[name].await_log('"redis: connected"')
        return self

    def end(self, *names, number=signal.SIGTERM, seconds=20):
        """Ends roles side by side. Returns their exit codes."""
        found = [self.roles.pop(name) for name in names if name in self.roles]
        for process in found:
            process.resume()
            # Once: a second one means impatience.
            if not process.was_told_to_end:
                process.send(number)
        return [process.await_end(seconds) for process in found]

    def down(self):
        for name in list(self.roles):
            self.roles.pop(name).kill()
        self.redis.remove()
        if self._looking:
            self._looking.close()
        if self._own_postgres:
            self.postgres.remove()
        else:
            self.machinery.drop_database(self.database)
        self.ports.release()

    def sql(self, statement, *parameters):
        """Runs one statement as the superuser; returns its rows, if it has any."""
        if self._own_postgres:
            # It may have been restarted since.
            return self.postgres.execute(statement, *parameters, database=self.database)
        with self._looking_lock:
            if self._looking is None or self._looking.closed:
                url = self.postgres.url("postgres", self.database)
                self._looking = psycopg.connect(url, autocommit=True, connect_timeout=10)
            return rows(self._looking, statement, parameters)

    def set_provider(self, **faults):
        """What the payment stub does wrong from now on; nothing without arguments."""
        if "latency" in faults:
            faults["latency_ms"] = {"mean": faults.pop("latency"), "spread": 0}
        self.stub("POST", "/stub/faults", faults)

    def stub(self, method, path, body=None, form=None):
        data = None if body is None else json.dumps(body).encode()
        if form:
            data = urllib.parse.urlencode(form).encode()
        request = urllib.request.Request(
            self.payment_url + path, method=method, data=data, headers={"Authorization": f"Bearer {PAYMENT_KEY}"}
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
            return json.loads(answer.read())

    def authorise(self, reference):
        """Reserves money at the provider, as a worker does, for nobody; returns the payment."""
        fields = {
            "amount": 2500, "currency": "usd", "payment_method": "pm_card_visa", "payment_method_types[0]": "card",
            "confirm": "true", "capture_method": "manual", "metadata[onsale_reference]": reference,
        }  # fmt: skip
        return self.stub("POST", "/v1/payment_intents", form=fields)

    def refunds(self):
        """Everything that was given back, in the provider's books."""
        found, after = [], ""
        while True:
            page = self.stub("GET", f"/v1/refunds?limit=100{after}")
            found += page["data"]
            if not page["has_more"]:
                return found
            after = f"&starting_after={page['data'][-1]['id']}"

    def payments(self, event):
        """All payments of an event in the provider's books."""
        found, after = [], ""
        while True:
            page = self.stub("GET", f"/v1/payment_intents?limit=100{after}")
            found += page["data"]
            if not page["has_more"]:
                break
            after = f"&starting_after={page['data'][-1]['id']}"
        return [
            p for p in found
            if p["metadata"].get("onsale_event", p["metadata"].get("onsale_reference", "").split("-")[0]) == str(event)
        ]  # fmt: skip

    def onsale(self, *arguments, timeout=120):
        """Runs the binary as an operator would."""
        return subprocess.run(
            [BINARY, *map(str, arguments)],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )

    def leases(self):
        """The pid of the worker that owns each partition; `None` where nobody does."""
        client = self.redis.client
        holders = client.mget([f"{{p{number}}}:lease" for number in range(16)])
        return [int(holder.split("-")[-2]) if holder else None for holder in holders]

    def partitions_of(self, process):
        return [number for number, pid in enumerate(self.leases()) if pid == process.pid]

    def log_ends(self, lines=12):
        return "\n".join(
            f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
            for path in sorted(self.logs.glob("*.log"))
        )
