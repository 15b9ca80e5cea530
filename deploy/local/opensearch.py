"""An OpenSearch of one's own, of one node or of some, where one can be started. Needs no Python packages."""

import json
import os
import shutil
import signal
import subprocess
import urllib.request

from . import ROOT, until
from .ports import Range
from .processes import as_user, is_alive

PROGRAM = os.environ.get("ONSALE_TEST_OPENSEARCH", ROOT.parent / "shared/opensearch/start")
MISSING = "there is no OpenSearch to start: ONSALE_TEST_OPENSEARCH names a program that does"
START_SECONDS = 180
# A node talks to the others so many ports above the one that it serves.
BETWEEN_NODES = 100
# Of each of several nodes, on one machine.
HEAP = "384m"


def is_available():
    return os.access(PROGRAM, os.X_OK) and shutil.which("java") is not None


class OpenSearch:
    def __init__(self, directory, nodes=1):
        self.directory = directory
        # Kept for as long as this is.
        self._range = Range()
        self.ports = []
        while len(self.ports) < nodes:
            if (port := self._range.take()) + BETWEEN_NODES < 65_536:
                self.ports.append(port)
        self.processes = {}

    @property
    def url(self):
        """Of all nodes, as ONSALE_SEARCH_URL takes them."""
        return ",".join(f"http://127.0.0.1:{port}" for port in self.ports)

    def start(self, *nodes):
        """Starts some, or all, and waits until each has a copy of everything."""
        for node in nodes or range(len(self.ports)):
            with open(self.directory / f"log-{node}", "ab") as log:
                self.processes[node] = subprocess.Popen(
                    # The kernel ends it with us, should we have no chance to.
                    [*as_user(ending=signal.SIGKILL), PROGRAM, self.directory / f"data-{node}", str(self.ports[node]),
                     *self.cluster()],
                    env={**os.environ, **({"OPENSEARCH_HEAP": HEAP} if len(self.ports) > 1 else {})},
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                )  # fmt: skip
        self.await_whole()

    def cluster(self):
        """What tells a node of the others."""
        if len(self.ports) == 1:
            return []
        seeds = ",".join(f"127.0.0.1:{port + BETWEEN_NODES}" for port in self.ports)
        managers = ",".join(f"node-{port}" for port in self.ports)
        return [f"discovery.seed_hosts={seeds}", f"cluster.initial_cluster_manager_nodes={managers}"]

    def await_whole(self):
        def is_whole():
            status, count = self.health()
            return count == len(self.processes) and (count == 1 or status == "green")

        until(is_whole, START_SECONDS, "OpenSearch")

    def health(self):
        """What a node that answers says of all: their colour, and how many they are."""
        for node in self.processes:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[node]}/_cluster/health", timeout=5) as answer:
                    said = json.load(answer)
                return said["status"], said["number_of_nodes"]
            except OSError:
                continue
        return None, 0

    def send(self, node, number):
        os.killpg(self.processes[node].pid, number)

    def kill(self, *nodes):
        """Some of those that run, or all."""
        for node in nodes or list(self.processes):
            self.send(node, signal.SIGKILL)
            process = self.processes.pop(node)
            process.wait()
            until(lambda process=process: not is_alive(process.pid), what="the end of OpenSearch")
