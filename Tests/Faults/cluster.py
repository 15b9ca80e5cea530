"""PostgreSQL with standbys under Patroni, each on a machine of its own that can lose its power or stand still.

A machine is a process namespace: all that runs in it, PostgreSQL too, ends with its first process, and so with this one.
"""

import contextlib
import functools
import os
import secrets
import shutil
import signal
import subprocess

import psycopg

from servers import ROOT, Process, rows, until

from local import patroni, ports, postgres, processes

ALONE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--")
# Longer than its lease, an election and a start.
FAILOVER_SECONDS = 90


@functools.cache
def missing():
    """What there is not to run it with, in words; empty if all is there."""
    if lacking := patroni.missing():
        return lacking
    tried = subprocess.run([*ALONE, "true"], capture_output=True, text=True)
    return "" if tried.returncode == 0 else f"no namespace of processes can be made: {tried.stderr.strip()}"


class Machine:
    """One PostgreSQL and its Patroni."""

    def __init__(self, cluster, name, port, rest_port):
        self.cluster, self.name, self.port, self.rest_port = cluster, name, port, rest_port
        # Where others find its PostgreSQL, if a network that can be cut is in between.
        self.advertised_port = None
        self.directory = cluster.directory / f"machine-{name}"
        postgres.make_directory(self.directory)
        self.process = None

    @property
    def environment(self):
        return patroni.environment(
            self.name, self.directory / "data", self.port, self.rest_port, self.cluster.etcd_port, self.cluster.passwords,
            self.advertised_port,
        )  # fmt: skip

    def start(self):
        log = self.cluster.logs / f"patroni-{self.name}.log"
        self.process = Process.launched(
            f"machine-{self.name}", log, lambda: patroni.launch(log, self.environment, signal.SIGKILL, ALONE)
        )

    def all_processes(self):
        return processes.descendants(self.process.pid)

    def kill(self):
        """Its power is gone."""
        for first in processes.children(self.process.pid):
            processes.send(first, signal.SIGKILL)
        self.process.await_end()

    def postmaster(self):
        """Its pid, as this machine knows it; `None` where none runs."""
        for pid in self.all_processes():
            with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as words:
                if words.read().split(b"\0")[0].endswith(b"/postgres"):
                    return pid
        return None

    def crash(self):
        """PostgreSQL dies, and its Patroni lives."""
        processes.send(until(self.postmaster, FAILOVER_SECONDS, "a PostgreSQL to crash"), signal.SIGKILL)

    @contextlib.contextmanager
    def standing_still(self):
        """All that runs on it stops for as long as the block takes, and goes on as if no time had passed."""
        stopped = set()
        # Who was started meanwhile is found in another round.
        while left := [pid for pid in self.all_processes() if pid not in stopped]:
            for pid in left:
                processes.send(pid, signal.SIGSTOP)
                stopped.add(pid)
        try:
            yield
        finally:
            for pid in stopped:
                processes.send(pid, signal.SIGCONT)

    def role(self):
        """`primary`, `replica` or whatever it says of itself; `None` where nobody answers."""
        return (patroni.ask(self.rest_port, "/patroni") or {}).get("role")


class Cluster:
    """An etcd and some machines; for a stack what its PostgreSQL is."""

    def __init__(self, stack, names=("a", "b")):
        self.stack, self.logs = stack, stack.logs
        self.logs.mkdir(exist_ok=True)
        # PostgreSQL's user must be able to pass through.
        stack.directory.chmod(0o711)
        self.directory = stack.directory / "cluster"
        postgres.make_directory(self.directory)
        self.passwords = {
            role: secrets.token_hex(8) for role in ("postgres", "replicator", "onsale_owner", "onsale_app", "rest")
        }
        self.etcd_port, self._etcd_peer_port = stack.ports.take(), stack.ports.take()
        self.machines = {
            name: Machine(self, name, stack.ports.take(), stack.ports.take()) for name in names
        }
        self.etcd = None

    # --- Life ---

    def start(self):
        """A primary, `a`, and its standbys, one of them synchronous, with the schema."""
        self.start_etcd()
        first, *others = self.machines.values()
        first.start()
        until(lambda: self.leader == first.name, FAILOVER_SECONDS, "the first primary")
        for machine in others:
            machine.start()
        self.await_whole()
        self.stack.machinery.migrate(self.url("onsale_owner"))
        return self

    def start_etcd(self):
        log = self.logs / "etcd.log"
        self.etcd = Process.launched(
            "etcd", log,
            lambda: patroni.launch_etcd(
                self.directory / "etcd", self.etcd_port, self._etcd_peer_port, log, signal.SIGKILL
            ),
        )  # fmt: skip
        until(lambda: patroni.etcd_answers(self.etcd_port), 30, "etcd")

    def await_whole(self, seconds=FAILOVER_SECONDS):
        """Waits for a primary that all others stream from, one of them synchronously."""

        def is_whole():
            found = patroni.members(self._rest_ports)
            streaming = sum(state == "streaming" for _, state in found.values())
            return all(patroni.leader(self._rest_ports)) and streaming == len(self.machines) - 1

        until(is_whole, seconds, "a primary and its standbys", pause=0.2)

    def remove(self):
        for machine in self.machines.values():
            if machine.process:
                machine.kill()
        if self.etcd:
            self.etcd.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    # --- What it is now ---

    @property
    def _rest_ports(self):
        return [machine.rest_port for machine in self.machines.values()]

    @property
    def leader(self):
        return patroni.leader(self._rest_ports)[0]

    @property
    def primary(self):
        return self.machines[until(lambda: self.leader, FAILOVER_SECONDS, "a primary")]

    @property
    def standby(self):
        """Of two."""
        primary = self.primary
        return next(machine for machine in self.machines.values() if machine is not primary)

    # --- For the stack ---

    def url(self, role="onsale_app", database=postgres.NAME, port=None):
        """All machines, of which libpq takes the one that can be written to."""
        ports = [port] if port else [machine.port for machine in self.machines.values()]
        hosts = ",".join(f"127.0.0.1:{each}" for each in ports)
        one = "" if port else "?target_session_attrs=read-write&connect_timeout=2"
        return f"postgres://{role}:{self.passwords[role]}@{hosts}/{database or postgres.NAME}{one}"

    def execute(self, statement, *parameters, database=None, port=None):
        url = self.url("postgres", database, port)
        with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
            return rows(connection, statement, parameters)

    # --- What is done to it ---

    def configure(self, **changes):
        """Changes the cluster's configuration, and waits until every member goes by it."""
        said = patroni.ask(self.primary.rest_port, "/config", self.passwords["rest"], "PATCH", changes)
        assert said is not None, f"the configuration could not be changed: {changes}"

    def switch_over(self):
        """As an operator does it."""
        leader, candidate = self.primary, self.standby
        done = subprocess.run(
            [patroni.program("patronictl"), "-c", patroni.EXAMPLE, "switchover", "--force", "--leader", leader.name,
             "--candidate", candidate.name],
            env=leader.environment, capture_output=True, text=True, timeout=FAILOVER_SECONDS,
        )  # fmt: skip
        assert done.returncode == 0 and "Successfully switched over" in done.stdout, f"{done.stdout}{done.stderr}"



def program(name):
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")


class HAProxy:
    """In front of a cluster, as deploy/postgresql/haproxy.cfg has it."""

    def __init__(self, cluster):
        self.port = cluster.stack.ports.take()
        environment = {**os.environ, "DATABASE_BIND": f"127.0.0.1:{self.port}"}
        for name, machine in cluster.machines.items():
            environment[f"DATABASE_{name.upper()}"] = f"127.0.0.1:{machine.port}"
            environment[f"DATABASE_{name.upper()}_PATRONI"] = str(machine.rest_port)
        example = ROOT / "deploy/postgresql/haproxy.cfg"
        self.process = Process("haproxy", [program("haproxy"), "-f", example, "-db"], cluster.logs / "haproxy.log", environment)
        until(lambda: ports.is_taken(self.port), 20, "HAProxy")

    def close(self):
        self.process.kill()


class PgBouncer:
    """In session mode, in front of whatever listens at a port."""

    def __init__(self, cluster, port):
        self.port = cluster.stack.ports.take()
        config = cluster.directory / "pgbouncer.ini"
        config.write_text(f"""
[databases]
onsale = host=127.0.0.1 port={port} user=onsale_app password={cluster.passwords["onsale_app"]}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = any
pool_mode = session
max_client_conn = 200
default_pool_size = 100
# A server that says nothing is no server: without it a client that was lost with its primary waits for ever.
server_connect_timeout = 3
query_wait_timeout = 5
server_login_retry = 1
""")
        if owner := postgres.user():
            shutil.chown(config, owner)
        log = cluster.logs / "pgbouncer.log"
        self.process = Process.launched(
            "pgbouncer", log,
            lambda: processes.launch([program("pgbouncer"), config], log, user=owner, ending=signal.SIGKILL),
        )  # fmt: skip
        until(lambda: ports.is_taken(self.port), 20, "PgBouncer")

    def close(self):
        self.process.kill()
