"""PostgreSQL of a stack with `ENGINE=ha`: an etcd, and two PostgreSQL under Patroni, of which one is the synchronous standby."""

import os
import signal
import time
from pathlib import Path

from . import Failure, patroni, postgres, processes, say

NODES = ("1", "2")
ETCD_SECONDS, PRIMARY_SECONDS, STANDBY_SECONDS, STOP_SECONDS = 30, 90, 90, 60
PAUSE = 0.2


class HighlyAvailable:
    """Works on the members of a stack: `etcd-1`, `patroni-1` and `patroni-2`; Patroni starts and stops its PostgreSQL."""

    members = ("etcd-1", *(f"patroni-{node}" for node in NODES))

    def __init__(self, stack):
        self.stack, self.env = stack, stack.env

    def choose_ports(self):
        for name in ("ONSALE_ETCD_PORT", "ONSALE_ETCD_PEER_PORT"):
            self.stack.choose_port(name, "etcd-1")
        for node in NODES:
            # One whose Patroni was killed runs on, at that very port; the next Patroni takes it over.
            if not self.postmaster(f"patroni-{node}"):
                self.stack.choose_port(f"ONSALE_POSTGRES_{node}_PORT", f"patroni-{node}")
            self.stack.choose_port(f"ONSALE_PATRONI_{node}_PORT", f"patroni-{node}")

    def directory(self, part):
        return Path(f"{self.env['ONSALE_POSTGRES_DIRECTORY']}-{part}")

    def rest_ports(self):
        return [self.env.number(f"ONSALE_PATRONI_{node}_PORT") for node in NODES]

    # --- Starting ---

    def start(self):
        if lacking := patroni.missing():
            raise Failure(f"{lacking}: 'ENGINE=ha make up' installs it")
        self.start_etcd()
        first, *others = NODES
        is_new = not (self.directory(first) / "data/PG_VERSION").exists()
        self.start_node(first)
        if is_new:
            # The others copy it.
            self.await_cluster(f"patroni-{first}", PRIMARY_SECONDS, lambda: patroni.leader(self.rest_ports())[0])
        for node in others:
            self.start_node(node)
        # Without a standby no commit would be answered.
        self.await_cluster(f"patroni-{others[0]}", STANDBY_SECONDS, lambda: all(patroni.leader(self.rest_ports())))

    def await_cluster(self, name, seconds, condition):
        self.stack.await_condition(name, seconds, condition, [each for each in self.members if self.stack.pid(each)])

    def start_etcd(self):
        port, name = self.env.number("ONSALE_ETCD_PORT"), "etcd-1"
        if not self.stack.pid(name):
            process = patroni.launch_etcd(
                self.directory("etcd"), port, self.env.number("ONSALE_ETCD_PEER_PORT"), self.stack.log(name)
            )
            self.stack.remember(name, process.pid)
        self.stack.await_condition(name, ETCD_SECONDS, lambda: patroni.etcd_answers(port), [name])

    def start_node(self, node):
        name, directory = f"patroni-{node}", self.directory(node)
        if self.stack.pid(name):
            return
        if not directory.exists():
            postgres.make_directory(directory)
        env = self.env
        passwords = {
            "postgres": env["ONSALE_SUPERUSER_PASSWORD"], "replicator": env["ONSALE_REPLICA_PASSWORD"],
            "onsale_owner": env["ONSALE_OWNER_PASSWORD"], "onsale_app": env["ONSALE_APP_PASSWORD"],
            "rest": env["ONSALE_PATRONI_PASSWORD"],
        }  # fmt: skip
        surroundings = patroni.environment(
            name, directory / "data", env.number(f"ONSALE_POSTGRES_{node}_PORT"),
            env.number(f"ONSALE_PATRONI_{node}_PORT"), env.number("ONSALE_ETCD_PORT"), passwords,
        )  # fmt: skip
        self.stack.remember(name, patroni.launch(self.stack.log(name), surroundings).pid)

    # --- Ending ---

    def stop(self):
        """The standby first, so that it does not take over meanwhile."""
        leader = patroni.leader(self.rest_ports())[0] if self.env["ONSALE_PATRONI_1_PORT"] else None
        for name in sorted((f"patroni-{node}" for node in NODES), key=lambda name: name == leader):
            self.stack.stop([name], signal.SIGTERM, STOP_SECONDS)
            # One whose Patroni was killed runs on.
            if pid := self.postmaster(name):
                processes.stop([pid], postgres.STOP_SIGNAL, STOP_SECONDS)
        self.stack.stop(["etcd-1"], signal.SIGTERM, STOP_SECONDS)

    def postmaster(self, name):
        """The pid of a node's PostgreSQL, if it runs: its lock file may name one that has ended."""
        directory = self.directory(name.rpartition("-")[2]) / "data"
        try:
            pid = int((directory / "postmaster.pid").read_text().split("\n", 1)[0])
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if os.fsencode(directory) in command else None

    # --- The primary ---

    def primary(self):
        """The name of the member that is it."""
        deadline = time.monotonic() + PRIMARY_SECONDS
        while not (name := patroni.leader(self.rest_ports())[0]):
            if time.monotonic() > deadline:
                raise Failure("there is no primary: see 'make logs'")
            time.sleep(PAUSE)
        return name

    def replace_primary(self):
        """Kills it with its Patroni, as a machine that loses its power; it comes back as a standby once another one has
        taken over."""
        lost = self.primary()
        say(f"Killing the primary, {lost}")
        pids = [pid for pid in (self.stack.pid(lost), self.postmaster(lost)) if pid]
        began = time.monotonic()
        for pid in pids:
            processes.send(pid, signal.SIGKILL)
        while (name := self.primary()) == lost:
            time.sleep(PAUSE)
        say(f"{name} took over after {time.monotonic() - began:.0f} s; {lost} comes back as its standby")
        self.start_node(lost.rpartition("-")[2])
        self.await_cluster(lost, STANDBY_SECONDS, lambda: all(patroni.leader(self.rest_ports())))
