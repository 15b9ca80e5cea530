"""Three nodes of OpenSearch, of which one may die and come back."""

import json
import os
import shutil
import signal
import subprocess
import urllib.request
from pathlib import Path

from local import ROOT, until
from local.ports import Range
from local.processes import as_user, is_alive

PROGRAM = Path(os.environ.get("ONSALE_TEST_OPENSEARCH", ROOT.parent / "shared/opensearch/start"))
MISSING = "there is no OpenSearch to start: ONSALE_TEST_OPENSEARCH names a program that does"
START_SECONDS = 180
HEAP = "384m"


def is_available():
    return os.access(PROGRAM, os.X_OK) and shutil.which("java") is not None


class SearchCluster:
    def __init__(self, directory, nodes=3):
        self.directory = directory
        # A node talks to the others 100 ports above the one that it serves.
        ports = Range()
        self.ports = []
        while len(self.ports) < nodes:
            port = ports.take()
            if port + 100 < 65_536:
                self.ports.append(port)
        self.processes = {}

    @property
    def urls(self):
        return ",".join(f"http://127.0.0.1:{port}" for port in self.ports)

    def start(self, *nodes):
        """Starts some, or all, and waits until each has a copy of everything."""
        for node in nodes or range(len(self.ports)):
            port = self.ports[node]
            seeds = ",".join(f"127.0.0.1:{each + 100}" for each in self.ports)
            managers = ",".join(f"node-{each}" for each in self.ports)
            with open(self.directory / f"log-{node}", "ab") as log:
                self.processes[node] = subprocess.Popen(
                    # The kernel ends it with us, should we have no chance to.
                    [*as_user(ending=signal.SIGKILL), PROGRAM, self.directory / f"data-{node}", str(port),
                     f"discovery.seed_hosts={seeds}", f"cluster.initial_cluster_manager_nodes={managers}"],
                    env={**os.environ, "OPENSEARCH_HEAP": HEAP}, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    start_new_session=True,
                )  # fmt: skip
        self.await_whole()

    def await_whole(self):
        until(lambda: self.health() == ("green", len(self.processes)), START_SECONDS, "a whole cluster")

    def health(self):
        """What a node that answers says of all: its colour, and how many they are."""
        for node in self.processes:
            try:
                path = f"http://127.0.0.1:{self.ports[node]}/_cluster/health"
                with urllib.request.urlopen(path, timeout=5) as answer:
                    said = json.load(answer)
                return said["status"], said["number_of_nodes"]
            except OSError:
                continue
        return None, 0

    def send(self, node, number):
        os.killpg(self.processes[node].pid, number)

    def kill(self, node):
        process = self.processes.pop(node)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        until(lambda: not is_alive(process.pid), what="the end of a node")

    def close(self):
        for node in list(self.processes):
            self.kill(node)
