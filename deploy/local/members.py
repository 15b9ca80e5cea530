"""The processes of a stack: which there should be, which there are, and how a role of the binary is started. Their files:

`run/NAME.pid`   the pid of each that was started, say of worker-1
`run/NAME.start` its identity, the build of the binary that it runs, and a digest of the settings that it was given
`log/NAME.log`   what it wrote; a large one is set aside
"""

import contextlib
import os
import signal
import time

from . import BINARY, ROOT, Failure, ports, processes, say, settings
from .ha import HighlyAvailable
from .settings import EnvFile

LARGEST_LOG = 50_000_000
# Beyond this a role that was told to end is killed.
ROLE_STOP_SECONDS = 40
PAUSE = 0.05


def kind(name):
    """`worker` of `worker-1`."""
    return name.rpartition("-")[0]


class Members:
    def __init__(self, state):
        self.state = state
        self.binary = BINARY
        self.env = EnvFile(state / "env")
        self.has_changed = False

    def environment(self, **more):
        """What the roles and the tools of the binary get."""
        return {**settings.handed_on(self.env, os.environ), **more}

    def pid(self, name):
        """The pid of a process of the stack, if it runs and is the one that was started: a pid alone may have been
        given to somebody else since."""
        try:
            pid = int((self.state / "run" / f"{name}.pid").read_text())
            started = (self.state / "run" / f"{name}.start").read_text().splitlines()
        except (OSError, ValueError):
            return None
        return pid if processes.is_alive(pid) and [processes.identity(pid)] == started[:1] else None

    def remember(self, name, pid):
        """Also which build of the binary it runs, and with which settings."""
        lines = [processes.identity(pid), self.build(), settings.digest(self.env)]
        (self.state / "run" / f"{name}.start").write_text("".join(f"{line}\n" for line in lines))
        (self.state / "run" / f"{name}.pid").write_text(f"{pid}\n")
        self.has_changed = True

    def forget(self, name):
        for suffix in ("pid", "start"):
            (self.state / "run" / f"{name}.{suffix}").unlink(missing_ok=True)

    def build(self):
        found = self.binary.stat()
        return f"{found.st_ino} {int(found.st_mtime)} {found.st_size}"

    def remembered(self, *kinds):
        """The names of all processes that have a pid file, or of those of certain kinds."""
        names = sorted(path.stem for path in (self.state / "run").glob("*.pid"))
        return [name for name in names if not kinds or kind(name) in kinds]

    def running(self):
        return [name for name in self.remembered() if self.pid(name)]

    def expected(self):
        """What should run, in the order in which it is started."""
        if settings.is_ha(self.env):
            names = list(HighlyAvailable.members)
        else:
            names = ["postgres-2"] if self.env["ONSALE_REPLICA"] == "yes" else []
            names.append("postgres-1")
        names.append("redis-1")
        names += ["payments-1"] if settings.has_stub(self.env) else []
        names += ["indexer-1"]
        names += [f"worker-{number + 1}" for number in range(self.env.number("ONSALE_WORKERS"))]
        return names + [f"serve-{number + 1}" for number in range(self.env.number("ONSALE_SERVERS"))]

    def log(self, name):
        """Where a process is to write; a large log is set aside first, so that logs stay bounded."""
        path = self.state / "log" / f"{name}.log"
        if path.exists() and path.stat().st_size > LARGEST_LOG:
            path.replace(path.with_name(path.name + ".1"))
        return path

    def failure(self, name, message):
        """The failure to raise, after the end of the log that says why."""
        path = self.state / "log" / f"{name}.log"
        say(f"--- last lines of {path}")
        with contextlib.suppress(OSError):
            say("\n".join(path.read_text(errors="replace").splitlines()[-15:]))
        return Failure(message)

    def metrics_port(self, name):
        """Where a process is to answer operators: a port of its own, the same at each start."""
        setting = f"ONSALE_METRICS_PORT_{name.replace('-', '_').upper()}"
        if not self.env[setting] or ports.is_taken(self.env.number(setting)):
            self.env.set(setting, ports.free(self.env.ports()))
            self.env.save()
        return self.env[setting]

    def start_role(self, name):
        """Starts a role of the binary, unless it runs already this build with these settings."""
        pid = self.pid(name)
        if pid:
            started = (self.state / "run" / f"{name}.start").read_text().splitlines()
            if started[1:2] != [self.build()]:
                say(f"{name} runs an older build: replacing it")
            # Of one that was started before settings were looked at nothing is known.
            elif started[2:] not in ([], [settings.digest(self.env)]):
                say(f"{name} runs with other settings: replacing it")
            else:
                return
            processes.stop([pid], signal.SIGTERM, ROLE_STOP_SECONDS)
        environment = self.environment(ONSALE_PROCESS=name, ONSALE_METRICS_PORT=self.metrics_port(name))
        process = processes.launch([self.binary, kind(name)], self.log(name), environment, directory=ROOT)
        self.remember(name, process.pid)

    def await_condition(self, name, seconds, condition, needed=None):
        """Waits for what a process brings about, while those live that it needs: all, if nothing is said."""
        deadline = time.monotonic() + seconds
        while not condition():
            for each in needed or self.expected():
                if not self.pid(each):
                    raise self.failure(each, f"{each} ended")
            if time.monotonic() > deadline:
                raise self.failure(name, f"{name} was not ready in time")
            time.sleep(PAUSE)

    def stop(self, names, number, seconds):
        """Stops processes side by side. A pid file that names no process of ours is only removed."""
        processes.stop(filter(None, map(self.pid, names)), number, seconds)
        for name in names:
            self.forget(name)
