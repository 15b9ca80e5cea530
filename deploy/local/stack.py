"""The actions of `deploy/stack`, which says what they take. In the stack's directory lie `env` and `derived` (see `settings`),
`run` and `log` (see `members`), the servers' data, and `lock`, held by `up`, `down` and `remove`, one at a time.

Nothing supervises the processes: `up` starts what died, and replaces what runs an older build or other settings.
"""

import contextlib
import fcntl
import http.client
import json
import os
import re
import resource
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

from . import ROOT, Failure, ports, postgres, processes, redis, say, settings
from .ha import HighlyAvailable
from .members import PAUSE, ROLE_STOP_SECONDS, Members, kind
from .settings import EnvFile

LOCK_SECONDS = 120
ANSWER_SECONDS = 5
# How long each may take to be ready, or to answer again after it was killed with much to read.
POSTGRES_SECONDS, REDIS_SECONDS, PAYMENTS_SECONDS, SERVE_SECONDS, DEMO_SECONDS = 60, 60, 30, 60, 30
# How long each may take to finish what it does.
STUB_STOP_SECONDS, REDIS_STOP_SECONDS, POSTGRES_STOP_SECONDS = 10, 30, 60
DEMO_SEATS, DEMO_BUYERS = 2_000, 20_000
# Where PostgreSQL's data lies if its user cannot get into the stack's directory.
ELSEWHERE = "/var/tmp/onsale-stack."
# What lies in the stack's directory, besides PostgreSQL's data.
MADE = ("run", "log", "payments", "redis", "derived.new", "derived", "env.new", "env", "lock")
# Members that are no roles of the binary.
SERVERS = ("postgres", "redis", "etcd", "patroni")
PORTS, COUNTS = range(1, 65_536), range(1, 65)


class Stack(Members):
    # --- Settings ---

    def check_server_port(self):
        """Fails before anything is started or stopped, if the servers cannot get their port."""
        port = self.wanted_port()
        settings.check_number("PORT", port, PORTS)
        if port == self.env["ONSALE_PORT"] and any(name.startswith("serve-") for name in self.running()):
            return
        if ports.is_taken(port):
            raise Failure(f"port {port} is taken by another program: PORT=… make up")

    def wanted_port(self):
        return os.environ.get("PORT") or self.env["ONSALE_PORT"] or "8080"

    def write_settings(self):
        """All of them at the first `up`; later what the caller asks to be different, and what follows from it."""
        env, recorded = self.env, EnvFile(self.state / "derived")
        kept = settings.theirs(env, recorded)
        settings.wish(env, "WORKERS", "ONSALE_WORKERS", 2, COUNTS)
        settings.wish(env, "SERVERS", "ONSALE_SERVERS", 1, COUNTS)
        settings.wish(env, "REPLICA", "ONSALE_REPLICA", "no", ("yes", "no"))
        settings.wish(env, "REDIS_FSYNC", "ONSALE_REDIS_FSYNC", "always", ("always", "everysec", "no"))
        settings.wish(env, "SYNCHRONOUS_COMMIT", "ONSALE_SYNCHRONOUS_COMMIT", "on", ("on", "off"))
        self.choose_engine()
        settings.defaults(env, self.state, self.postgres_directory)
        # Whoever tries this, or tests it, comes from one address.
        for name in ("CONNECTIONS_PER_ADDRESS", "DECLINES_PER_ADDRESS", "DECLINES_PER_EVENT"):
            env.set(f"ONSALE_{name}", os.environ.get(f"ONSALE_{name}") or env[f"ONSALE_{name}"] or 0)
        if settings.is_ha(env):
            HighlyAvailable(self).choose_ports()
        else:
            self.choose_port("ONSALE_POSTGRES_PORT", "postgres-1")
        self.choose_port("ONSALE_REDIS_PORT", "redis-1")
        if "ONSALE_PAYMENT_URL" not in kept:
            self.choose_port("ONSALE_PAYMENT_PORT", "payments-1")
        if env["ONSALE_REPLICA"] == "yes":
            self.choose_port("ONSALE_REPLICA_PORT", "postgres-2")
        env.set("ONSALE_PORT", self.wanted_port())
        settings.follow(env, recorded, kept)
        # In this order: interrupted in between, what follows from the file is recognised as following from it.
        env.save()
        recorded.save()

    def choose_engine(self):
        """Of a new stack; its data stays what it was made as."""
        before = self.env["ONSALE_ENGINE"] or ("single" if "ONSALE_STATE" in self.env else "")
        settings.wish(self.env, "ENGINE", "ONSALE_ENGINE", "single", ("single", "ha"))
        if before and before != self.env["ONSALE_ENGINE"]:
            raise Failure(f"the stack in {self.state} was made with ENGINE={before}: set STATE to a new one")
        if settings.is_ha(self.env):
            for name, value, why in (
                ("REPLICA", "no", "has a standby of its own"),
                ("SYNCHRONOUS_COMMIT", "on", "is as deploy/postgresql/patroni.yml has it"),
            ):
                if self.env[f"ONSALE_{name}"] != value:
                    raise Failure(f"ENGINE=ha {why}: {name}={self.env[f'ONSALE_{name}']} is for a single PostgreSQL")

    def choose_port(self, name, process):
        """Picks a port once and keeps it, unless somebody else has taken it while the whole stack was down."""
        if self.env[name]:
            if self.pid(process) or not ports.is_taken(self.env.number(name)):
                return
            if self.running():
                raise Failure(f"port {self.env[name]} of {process} was taken by another program: 'make down', then 'make up'")
        self.env.set(name, ports.free(self.env.ports()))

    def postgres_directory(self):
        """PostgreSQL's data lies in the stack, unless the user it runs as cannot get there (say, below /root): then in a
        directory of its own, whose name nobody could have taken beforehand."""
        directory = self.state
        if not postgres.can_enter(directory):
            directory = Path(tempfile.mkdtemp(prefix=Path(ELSEWHERE).name, dir=Path(ELSEWHERE).parent))
            directory.chmod(0o711)
        return directory / "postgres"

    # --- Servers ---

    def start_database(self):
        if settings.is_ha(self.env):
            return HighlyAvailable(self).start()
        self.start_postgres()
        self.start_replica()

    def start_postgres(self):
        env = self.env
        directory = Path(env["ONSALE_POSTGRES_DIRECTORY"])
        if self.pid("postgres-1"):
            return self.await_postgres("postgres-1", directory)
        if not (directory / "PG_VERSION").exists():
            new = directory.with_name(directory.name + ".new")
            shutil.rmtree(new, ignore_errors=True)
            # Nobody needs the superuser's password later: it is thrown away.
            postgres.initialise(new, secrets.token_hex(32))
            roles = ("owner", "app", "replica")
            postgres.create_database(new, {f"onsale_{role}": env[f"ONSALE_{role.upper()}_PASSWORD"] for role in roles})
            new.rename(directory)
        process = postgres.launch(
            directory, env["ONSALE_POSTGRES_PORT"], self.log("postgres-1"),
            max_connections=200, shared_buffers="256MB", max_wal_size="4GB", checkpoint_timeout="15min",
            wal_compression="on", random_page_cost=1.1, autovacuum_naptime="15s", log_min_messages="warning",
            synchronous_commit=env["ONSALE_SYNCHRONOUS_COMMIT"],
        )  # fmt: skip
        self.remember("postgres-1", process.pid)
        self.await_postgres("postgres-1", directory)

    def await_postgres(self, name, directory):
        self.await_condition(name, POSTGRES_SECONDS, lambda: postgres.is_ready(directory, self.pid(name)), [name])

    def start_replica(self):
        """Copies the primary once, and then follows it."""
        env = self.env
        if env["ONSALE_REPLICA"] != "yes":
            return
        directory = Path(env["ONSALE_POSTGRES_DIRECTORY"] + "-replica")
        if self.pid("postgres-2"):
            return self.await_postgres("postgres-2", directory)
        if not (directory / "PG_VERSION").exists():
            shutil.rmtree(directory, ignore_errors=True)
            port, password = env["ONSALE_POSTGRES_PORT"], env["ONSALE_REPLICA_PASSWORD"]
            try:
                postgres.copy(directory, port, "onsale_replica", password, self.log("postgres-2"))
            except Failure as failure:
                raise self.failure("postgres-2", str(failure)) from None
        process = postgres.launch(
            directory, env["ONSALE_REPLICA_PORT"], self.log("postgres-2"),
            max_connections=200, shared_buffers="128MB", random_page_cost=1.1, log_min_messages="warning",
        )  # fmt: skip
        self.remember("postgres-2", process.pid)
        self.await_postgres("postgres-2", directory)

    def start_redis(self):
        env, port = self.env, self.env.number("ONSALE_REDIS_PORT")
        if not self.pid("redis-1"):
            process = redis.launch(
                self.state / "redis", port, self.log("redis-1"),
                requirepass=env["ONSALE_REDIS_PASSWORD"], maxclients=1000, appendfsync=env["ONSALE_REDIS_FSYNC"],
            )  # fmt: skip
            self.remember("redis-1", process.pid)
        self.await_condition("redis-1", REDIS_SECONDS, lambda: redis.answers(port), ["redis-1"])

    # --- Demo ---

    def ask(self, path):
        """What the stack's own server answers, or nothing."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(settings.address(self.env) + path, timeout=ANSWER_SECONDS) as answer:
                return answer.read()
        except (OSError, http.client.HTTPException):
            return None

    def is_ready(self):
        return self.ask("/readyz") is not None

    def open_demo_event(self):
        """Makes the event of 2,000 seats, opens it, waits until seats can be had, and returns its id."""
        made = subprocess.run(
            [self.binary, "admin", "create-event", ROOT / "deploy/demo/onsale.json", "--open"],
            env=self.environment(), stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        if made.returncode != 0:
            raise Failure("the demo event could not be made")
        event = made.stdout.strip()
        deadline = time.monotonic() + DEMO_SECONDS
        while time.monotonic() < deadline:
            answer = self.ask(f"/api/event/{event}/queue")
            if answer and json.loads(answer).get("available") == DEMO_SEATS:
                return event
            time.sleep(PAUSE)
        raise Failure(f"the demo event {event} did not get ready: see 'make logs'")

    def load_demo(self):
        if (os.environ.get("DEMO") or "yes") != "yes" or self.env["ONSALE_DEMO_EVENT"]:
            return
        say("Loading demo events")
        # Each has a key: loaded again, they are there already.
        if self.run("import-1", "admin", "import", "--events", ROOT / "deploy/demo/concerts.jsonl") != 0:
            raise self.failure("import-1", "the demo events could not be loaded")
        self.env.set("ONSALE_DEMO_EVENT", self.open_demo_event())
        self.env.save()

    def run(self, log, *arguments, **settings):
        """Runs a tool of the binary, its output in a log; returns its exit code."""
        with open(self.log(log), "ab") as output:
            return subprocess.run(
                [self.binary, *arguments], env=self.environment(**settings), stdout=output, stderr=output
            ).returncode

    # --- Actions ---

    @contextlib.contextmanager
    def lock(self):
        """One `up`, `down` or `remove` at a time. It is not handed on to the processes that are started, and what an
        earlier one changed while this one waited is read anew."""
        with open(self.state / "lock", "w") as lock:
            deadline = time.monotonic() + LOCK_SECONDS
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        raise Failure(f"another 'make up' or 'make down' of {self.state} is under way") from None
                    time.sleep(PAUSE)
            self.env = EnvFile(self.state / "env")
            yield

    def up(self):
        if not os.access(self.binary, os.X_OK):
            raise Failure(f"{self.binary} is not there: 'make build' makes it")
        os.umask(0o077)
        if not self.state.is_dir():
            self.state.mkdir(parents=True)
            # Others may pass through to what they own below (PostgreSQL), not look around.
            self.state.chmod(0o711)
        self.check_directory()
        for directory in ("run", "log", "payments"):
            (self.state / directory).mkdir(exist_ok=True)
        with self.lock():
            self.start()
        if not self.has_changed:
            say("Already running; nothing was changed.")
        self.print_what_to_try()

    def check_directory(self):
        """Fails in a directory that is somebody's own. An `up` that was interrupted left no more than a stack has."""
        others = sorted({path.name for path in self.state.iterdir()} - set(MADE))
        if others and not self.env.path.exists():
            raise Failure(f"{self.state} is no stack's directory, it has {others[0]}: set STATE to a new one")

    def start(self):
        # Thousands of buyers are thousands of descriptors.
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        if self.env.problems:
            raise Failure("\n".join(self.env.problems))
        self.check_server_port()
        if self.env["ONSALE_PORT"] not in ("", self.wanted_port()):
            self.stop(self.remembered("serve"), signal.SIGTERM, ROLE_STOP_SECONDS)
        self.write_settings()

        self.start_database()
        self.start_redis()
        if self.run("migrate-1", "migrate", ONSALE_MIGRATE_DATABASE_URL=self.env["ONSALE_MIGRATE_DATABASE_URL"]) != 0:
            raise self.failure("migrate-1", "the database could not be migrated")
        expected = self.expected()
        for name in expected:
            if kind(name) not in SERVERS:
                self.start_role(name)
        # Fewer than before, or another provider: what is too many lets go of its work and ends.
        surplus = [name for name in self.remembered("worker", "serve", "payments") if name not in expected]
        self.stop(surplus, signal.SIGTERM, ROLE_STOP_SECONDS)
        if "payments-1" in expected:
            port = self.env.number("ONSALE_PAYMENT_PORT")
            self.await_condition("payments-1", PAYMENTS_SECONDS, lambda: ports.is_taken(port))
        self.await_condition("serve-1", SERVE_SECONDS, self.is_ready)
        self.load_demo()

    def print_what_to_try(self):
        shown = os.environ.get("STATE") or ".local"
        url, event = self.env["ONSALE_URL"], self.env["ONSALE_DEMO_EVENT"]
        make = "make" if shown == ".local" else f"STATE={shown} make"
        print(f"\nOnsale runs at {url}")
        if event:
            print(f"""\
Event {event} is on sale with {DEMO_SEATS:,} seats: {url}/event/{event}

Try:
  set -a; . {shown}/env; set +a      # the settings
  curl $ONSALE_URL/api/event/{event}/queue
  TOKEN=$({make} -s token)        # a customer; ROLE=organizer: an organizer
  curl -H "Authorization: Bearer $TOKEN" "$ONSALE_URL/api/search?terms=mahler"
  curl -H "Authorization: Bearer $TOKEN" $ONSALE_URL/api/ticket/reserve \\
    -H "Content-Type: application/json" -d '{{"event_id":{event},"quantity":2,"payment_method":"pm_card_visa"}}'
  {make} demo                     # {DEMO_BUYERS:,} buyers at once""")
        print(f"{make} status, {make} logs, {make} down")

    def down(self):
        if not self.state.is_dir():
            say(f"There is no stack in {self.state}.")
            return
        with self.lock():
            self.stop_everything()
        say(f"Stopped; the data is kept in {self.state}.")

    def stop_everything(self):
        # New work first, then those who finish it, then what they need for that.
        self.stop(self.remembered("serve"), signal.SIGTERM, ROLE_STOP_SECONDS)
        self.stop(self.remembered("worker", "indexer"), signal.SIGTERM, ROLE_STOP_SECONDS)
        self.stop(self.remembered("payments"), signal.SIGTERM, STUB_STOP_SECONDS)
        self.stop(["redis-1"], signal.SIGTERM, REDIS_STOP_SECONDS)
        if settings.is_ha(self.env):
            return HighlyAvailable(self).stop()
        self.stop(["postgres-2"], postgres.STOP_SIGNAL, POSTGRES_STOP_SECONDS)
        self.stop(["postgres-1"], postgres.STOP_SIGNAL, POSTGRES_STOP_SECONDS)

    def status(self):
        """Fails unless everything runs and the server is ready."""
        if not self.env.path.exists():
            raise NoStack(f"There is no stack in {self.state}: 'make up' makes one.")
        is_well = True
        for name in self.expected():
            pid = self.pid(name)
            if pid:
                print(f"{name:<12} running  pid {pid:<8} since {time.ctime(processes.started_at(pid))}")
                continue
            is_well = False
            if name in self.remembered():
                print(f"{name:<12} died     see {self.state}/log/{name}.log")
            else:
                print(f"{name:<12} stopped")
        is_ready = self.is_ready()
        print(f"{self.env['ONSALE_URL']} is {'ready' if is_ready else 'not ready'}")
        if not (is_well and is_ready):
            raise SystemExit(1)

    def logs(self):
        files = sorted((self.state / "log").glob("*.log"))
        if not files:
            raise Failure(f"there are no logs in {self.state}/log")
        follow = ["-F"] if os.environ.get("FOLLOW") == "1" else []
        os.execvp("tail", ["tail", "-n", "20", *follow, *map(str, files)])

    def token(self):
        if not self.env.path.exists():
            raise Failure(f"there is no stack in {self.state}: 'make up' makes one")
        self.replace_with("admin", "token", "--role", os.environ.get("ROLE") or "customer")

    def rush(self):
        """A sale of its own each time: the last one is sold out."""
        if not self.env.path.exists():
            raise Failure(f"there is no stack in {self.state}: 'make up' makes one")
        event = self.open_demo_event()
        say(f"{DEMO_BUYERS:,} buyers want the {DEMO_SEATS:,} seats of event {event}")
        arguments = ("rush", "--event", event, "--buyers", str(DEMO_BUYERS), "--double-click", "0.05")
        if settings.is_ha(self.env):
            raise SystemExit(self.rush_through_failover(event, arguments))
        self.replace_with(*arguments)

    def rush_through_failover(self, event, arguments):
        """Lets the primary be lost when the sale is under way; the buyers compare the books afterwards. Returns their code."""
        with subprocess.Popen([self.binary, *arguments], env=self.environment()) as buyers:
            deadline = time.monotonic() + DEMO_SECONDS
            while buyers.poll() is None and self.sold(event) < DEMO_SEATS // 10 and time.monotonic() < deadline:
                time.sleep(PAUSE)
            with self.lock():
                HighlyAvailable(self).replace_primary()
            return buyers.wait()

    def sold(self, event):
        answer = self.ask(f"/api/event/{event}/queue")
        queue = json.loads(answer) if answer else {"available": DEMO_SEATS, "held": 0}
        return DEMO_SEATS - queue["available"] - queue["held"]

    def replace_with(self, *arguments):
        """Goes on as a tool of the binary."""
        os.execve(self.binary, [str(self.binary), *arguments], self.environment())

    def remove(self):
        if not self.env.path.exists() or not (self.state / "run").is_dir():
            return
        with self.lock():
            self.stop_everything()
        directory = Path(self.env["ONSALE_POSTGRES_DIRECTORY"])
        is_elsewhere = str(directory).startswith(ELSEWHERE)
        # Only what a stack has made: the setting may be its user's.
        if is_elsewhere or self.state in directory.parents:
            for suffix in ("", ".new", "-replica", "-1", "-2", "-etcd"):
                shutil.rmtree(f"{directory}{suffix}", ignore_errors=True)
        if is_elsewhere:
            directory.parent.rmdir()
        for name in MADE:
            path = self.state / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        try:
            self.state.rmdir()
        except OSError:
            say(f"Removed the stack in {self.state}; what else is there was kept.")
        else:
            say(f"Removed {self.state}.")


class NoStack(Failure):
    """Said as it is, not as an error."""


ACTIONS = {
    action.__name__: action
    for action in (Stack.up, Stack.down, Stack.status, Stack.logs, Stack.token, Stack.rush, Stack.remove)
}


def main(arguments):
    """Returns the exit code."""
    try:
        if len(arguments) != 1 or arguments[0] not in ACTIONS:
            raise Failure(f"usage: deploy/stack {'|'.join(ACTIONS)}")
        state = ROOT / (os.environ.get("STATE") or ".local")
        # The env file is for shells to source: a path in it must not need quotes.
        if not re.fullmatch(r"[A-Za-z0-9_./+=@%-]+", str(state)):
            raise Failure(f"STATE must be a path of letters, digits and _./+=@%-: {state}")
        ACTIONS[arguments[0]](Stack(state))
    except NoStack as missing:
        say(missing)
        return 1
    except Failure as failure:
        say(f"error: {failure}")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
