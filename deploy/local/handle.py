"""A stack as somebody outside it sees it, for tests and measurements: its actions are run as a person runs them, and what
it has is read from its files."""

import os
import signal
import subprocess
from pathlib import Path

from . import BINARY, ROOT, Failure, ports, processes, until
from .settings import EnvFile


class Handle:
    # What is raised when something did not succeed.
    failure = Failure
    # How long an action may take, which has shorter limits of its own, and a tool of the binary.
    action_seconds, tool_seconds = 170, 120

    def __init__(self, state, port=None, workers=2, **variables):
        """`variables` are those of `deploy/stack`. Settings of this environment are handed on, but for those that
        belong to other servers."""
        self.state = Path(state)
        self.port = port or ports.free()
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ONSALE_TEST")},
            "STATE": str(self.state),
            "PORT": str(self.port),
            "WORKERS": str(workers),
            "DEMO": "no",
            **variables,
        }
        self._read = (None, {})

    # --- Actions ---

    def run(self, action, check=True, **changes):
        """Runs one of the stack's actions; returns the finished process with its output as text."""
        result = subprocess.run(
            [ROOT / "deploy/stack", action],
            env={**self.environment, **changes},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=self.action_seconds,
        )
        if check and result.returncode != 0:
            raise self.failure(f"stack {action} failed:\n{result.stdout}{result.stderr}\n{self.log_ends()}")
        return result

    def up(self, **changes):
        return self.run("up", **changes)

    def down(self):
        return self.run("down")

    def remove(self):
        return self.run("remove")

    # --- Settings ---

    @property
    def settings(self):
        """What the env file says now."""
        path = self.state / "env"
        found = path.stat()
        seen = (found.st_ino, found.st_mtime_ns)
        if self._read[0] != seen:
            self._read = (seen, EnvFile(path).values)
        return self._read[1]

    @property
    def url(self):
        return self.settings["ONSALE_URL"]

    # --- Processes ---

    def pid(self, process):
        return int((self.state / "run" / f"{process}.pid").read_text())

    def pids(self):
        """By name, also of what has died since."""
        return {path.stem: int(path.read_text()) for path in (self.state / "run").glob("*.pid")}

    def signal(self, process, number):
        os.kill(self.pid(process), number)

    def kill(self, process):
        """Ends a process without a chance to clean up, and waits until it is gone."""
        pid = self.pid(process)
        os.kill(pid, signal.SIGKILL)
        until(lambda: not processes.is_alive(pid), what=f"the end of {process}")

    def log(self, process):
        return (self.state / "log" / f"{process}.log").read_text(errors="replace")

    def log_ends(self):
        return "\n".join(
            f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-15:])
            for path in sorted((self.state / "log").glob("*.log"))
        )

    # --- The binary ---

    def tool_environment(self):
        """What somebody has who sourced the env file, without the right to change the schema."""
        settings = {name: value for name, value in self.settings.items() if name != "ONSALE_MIGRATE_DATABASE_URL"}
        return {**os.environ, **settings}

    def start(self, *arguments):
        """The binary with the stack's settings, under way."""
        return subprocess.Popen(
            [BINARY, *map(str, arguments)], env=self.tool_environment(), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def onsale(self, *arguments, check=True, input=None):
        """Runs the binary with the stack's settings, as an operator would."""
        result = subprocess.run(
            [BINARY, *map(str, arguments)],
            env=self.tool_environment(),
            input=input,
            capture_output=True,
            text=True,
            timeout=self.tool_seconds,
        )
        if check and result.returncode != 0:
            raise self.failure(f"onsale {arguments} failed: {result.stdout}{result.stderr}")
        return result
