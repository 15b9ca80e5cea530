"""A whole Onsale of its own, started and stopped by the same script that `make up` uses."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("ONSALE_BINARY", ROOT / ".build/release/onsale"))


def free_port():
    """A port below the ephemeral range that nobody listens on now."""
    for port in range(21000 + os.getpid() % 5000, 32000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise RuntimeError("no free port")


def until(condition, seconds=20, what="the condition"):
    """Waits for `condition` to return something true, and returns that."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come within {seconds} s; last: {value!r}")
        time.sleep(0.05)


class Stack:
    def __init__(self, state, port=None, workers=2, demo=False):
        self.state = Path(state)
        self.port = port or free_port()
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ONSALE_TEST")},
            "STATE": str(self.state),
            "PORT": str(self.port),
            "WORKERS": str(workers),
            "DEMO": "yes" if demo else "no",
        }

    def run(self, action, check=True, **changes):
        """Runs one of the stack's actions; returns the finished process with its output as text."""
        result = subprocess.run(
            [ROOT / "deploy/stack", action],
            env={**self.environment, **changes},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=170,
        )
        if check and result.returncode != 0:
            raise AssertionError(f"stack {action} failed:\n{result.stdout}{result.stderr}\n{self.log_ends()}")
        return result

    def up(self, **changes):
        return self.run("up", **changes)

    def down(self):
        return self.run("down")

    def remove(self):
        return self.run("remove")

    @property
    def url(self):
        return self.settings["ONSALE_URL"]

    def metrics(self, process="serve-1"):
        """What a process tells its operators of itself."""
        port = self.settings["ONSALE_METRICS_PORT_" + process.replace("-", "_").upper()]
        answer = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=20)
        assert answer.status_code == 200
        return answer.text

    @property
    def settings(self):
        """The env file, read anew each time."""
        lines = (self.state / "env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def pid(self, process):
        return int((self.state / "run" / f"{process}.pid").read_text())

    def signal(self, process, number):
        os.kill(self.pid(process), number)

    def kill(self, process):
        """Ends a process without a chance to clean up, and waits until it is gone."""
        pid = self.pid(process)
        os.kill(pid, signal.SIGKILL)
        until(lambda: not alive(pid), what=f"the end of {process}")

    def log(self, process):
        return (self.state / "log" / f"{process}.log").read_text(errors="replace")

    def log_ends(self):
        return "\n".join(
            f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-15:])
            for path in sorted((self.state / "log").glob("*.log"))
        )

    def onsale(self, *arguments, check=True, input=None):
        """Runs the binary with the stack's settings, as an operator would."""
        settings = {n: v for n, v in self.settings.items() if n != "ONSALE_MIGRATE_DATABASE_URL"}
        result = subprocess.run(
            [BINARY, *map(str, arguments)],
            env={**os.environ, **settings},
            input=input,
            capture_output=True,
            text=True,
            timeout=120,
        )
        if check and result.returncode != 0:
            raise AssertionError(f"onsale {arguments} failed: {result.stdout}{result.stderr}")
        return result

    def admin(self, *arguments, **options):
        return self.onsale("admin", *arguments, **options).stdout

    def memory(self, process):
        """Resident memory in bytes."""
        status = Path(f"/proc/{self.pid(process)}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024


def alive(pid):
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rsplit(")", 1)[1].split()[0] not in "ZX"


def assert_books_agree(stack, seconds=40):
    """Waits until `onsale audit` has nothing to say about PostgreSQL, Redis and the provider's ledger."""
    last = None

    def clean():
        nonlocal last
        last = stack.onsale("audit", check=False)
        return last.returncode == 0

    try:
        until(clean, seconds, "an audit without findings")
    except AssertionError as failure:
        raise AssertionError(f"{failure}\n{last.stdout}\n{last.stderr}") from None
