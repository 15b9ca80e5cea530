"""Where processor time goes: all processes of a measurement, sampled by perf, by what runs in them."""

import collections
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path

NANOSECONDS_PER_SAMPLE = 1_000_000
# By command, of processes that no stack lists: sessions of PostgreSQL, and what makes the load.
ROLES = {"postgres": "postgres", "wrk": "generator", "pgbench": "generator", "onsale": "generator"}
# Parts of a process in the order of the columns; the rest is its libraries, by name.
PARTS = ["kernel", "runtime", "libc", "own"]
OWN = re.compile(r"onsale|postgres|redis-.*|wrk|nginx")
RUNTIME = re.compile(r"lib_?(swift|Foundation|dispatch|BlocksRuntime).*")
LIBC = re.compile(r"(libc|libm|libstdc\+\+|libgcc_s|ld-linux-x86-64)\.so.*|\[vdso\]")


def threads(roles):
    """The role of each thread: perf's pids are theirs. With those of Java, which have names of their own."""
    found = {}
    javas = {int(file.parent.name): "opensearch" for file in Path("/proc").glob("[0-9]*/comm") if read(file) == "java"}
    for pid, role in {**javas, **roles}.items():
        for task in Path(f"/proc/{pid}/task").glob("*"):
            found[int(task.name)] = role
    return found


def read(file):
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def part_of(library):
    # The kernel's and its modules' names are in brackets, and so are some that are no library's.
    if re.match(r"\[(JIT|unknown|heap|stack|anon)", library):
        return "own"
    if LIBC.fullmatch(library):
        return "libc"
    if library.startswith("["):
        return "kernel"
    if RUNTIME.fullmatch(library):
        return "runtime"
    if OWN.fullmatch(library):
        return "own"
    return re.sub(r"\.so.*", "", library)


class Profile:
    """Samples of everything on this machine while something was done; `result` is what came of it."""

    def __init__(self, roles, work):
        """`roles` are names by pid."""
        with tempfile.TemporaryDirectory(prefix="onsale-profile.", dir="/var/tmp") as directory:
            self.sample(Path(directory) / "perf.data", roles, work)

    def sample(self, data, roles, work):
        recorder = subprocess.Popen(
            ["perf", "record", "-q", "-a", "-e", "cpu-clock", "-c", str(NANOSECONDS_PER_SAMPLE), "-o", data],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        time.sleep(0.5)
        if recorder.poll() is not None:
            raise SystemExit(f"perf cannot sample here: {recorder.stderr.read()}")
        roles_of = threads(roles)
        try:
            self.result = work()
            roles_of |= threads(roles)
        finally:
            recorder.send_signal(signal.SIGINT)
            recorder.communicate()
        report = subprocess.run(
            ["perf", "report", "-i", data, "--stdio", "-q", "-n", "--no-children", "--sort", "pid,dso", "-t", ";"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        self.processes = collections.defaultdict(collections.Counter)
        for line in report.splitlines():
            fields = [field.strip() for field in line.split(";")]
            if len(fields) != 4 or not fields[1].isdigit():
                continue
            pid, _, command = fields[2].partition(":")
            command = command.strip()
            if command.startswith(("swapper", "perf")):
                continue
            self.processes[roles_of.get(int(pid)) or ROLES.get(command, "others")][part_of(fields[3])] += int(fields[1])

    def print(self, what, count):
        """Of each process, the dearest first: all of its time, that of its parts, and its dearest libraries, all in
        microseconds for each of the `count` times that it was done."""

        def shown(samples):
            return f"{samples * NANOSECONDS_PER_SAMPLE / 1_000 / count:.1f}"

        total = sum(parts.total() for parts in self.processes.values())
        print(f"\n{what}: {shown(total)} µs of a core each, {count:,} times\n")
        print("| process | all | kernel | Swift runtime | libc | own code | its dearest libraries |")
        print("|---|---|---|---|---|---|---|")
        for name, parts in sorted(self.processes.items(), key=lambda item: -item[1].total()):
            libraries = [f"{library} {shown(samples)}" for library, samples in parts.most_common() if library not in PARTS]
            columns = [name, shown(parts.total()), *(shown(parts[part]) for part in PARTS), ", ".join(libraries[:3])]
            print(f"| {' | '.join(columns)} |")


def profiled(stack, what, work, count=lambda load: load.count):
    """Does it, prints its profile and returns what came of it. `count` says of that how often it was done; a load of wrk
    knows it."""
    profile = Profile(stack.roles(), work)
    profile.print(what, count(profile.result))
    return profile.result
