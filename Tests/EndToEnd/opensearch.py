"""An OpenSearch of one's own, where one can be started. Also used by the measurements, without Python packages."""

import os
import shutil
import signal
import subprocess
import urllib.request

from local import ROOT, until
from local.ports import free as free_port
from local.processes import is_alive

PROGRAM = os.environ.get("ONSALE_TEST_OPENSEARCH", ROOT.parent / "shared/opensearch/start")
MISSING = "there is no OpenSearch to start: ONSALE_TEST_OPENSEARCH names a program that does"


def is_available():
    return os.access(PROGRAM, os.X_OK) and shutil.which("java") is not None


class OpenSearch:
    def __init__(self, directory):
        self.directory = directory
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = None

    def start(self):
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(
                [PROGRAM, self.directory / "data", str(self.port)], stdout=log, stderr=log, start_new_session=True
            )
        until(self.answers, 120, "OpenSearch")

    def answers(self):
        try:
            return urllib.request.urlopen(f"{self.url}/_cluster/health", timeout=2).status == 200
        except OSError:
            return False

    def kill(self):
        if self.process:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            until(lambda: not is_alive(self.process.pid), what="the end of OpenSearch")
            self.process = None
