"""Processes: each in a session of its own, recognised by its pid and start time, and stopped within a limit."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

from . import Failure, say

# What a process that was killed may take to be gone: the kernel frees its memory first.
KILL_SECONDS = 5
PAUSE = 0.02


def _fields(pid):
    """State, parent, … of a process, as in /proc/PID/stat; empty once it is gone. The command's name may hold spaces
    and parentheses, so everything up to the last ")" is cut off."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def is_alive(pid):
    """False once the process is gone, or only waits to be reaped."""
    return _fields(pid)[:1] not in ([], ["Z"], ["X"])


def is_stopped(pid):
    return _fields(pid)[:1] == ["T"]


def identity(pid):
    """What tells a process from any other that had or will have its pid: when it was started, in clock ticks since
    boot, and which boot that was. Empty once it is gone."""
    fields = _fields(pid)
    return f"{fields[19]} {Path('/proc/sys/kernel/random/boot_id').read_text().strip()}" if fields else ""


def started_at(pid):
    """Seconds since 1970; `None` once it is gone."""
    fields = _fields(pid)
    if not fields:
        return None
    booted = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
    return int(booted.split()[1]) + int(fields[19]) / os.sysconf("SC_CLK_TCK")


def children(pid):
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def descendants(pid):
    """Its children and theirs, those first that were started first."""
    found = []
    for child in children(pid):
        found += [child, *descendants(child)]
    return found


def processor_seconds(pid):
    """What it has used, and those of its children that it has waited for."""
    return sum(map(int, _fields(pid)[11:15])) / os.sysconf("SC_CLK_TCK")


def send(pid, number):
    """Sends a signal to a process that may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def stop(pids, number, seconds):
    """Sends the signal to all, waits so long for all together, and kills who is left."""
    left = list(pids)
    for pid in left:
        send(pid, number)
    left = _outlasting(left, seconds)
    for pid in left:
        say(f"process {pid} did not stop within {seconds} s: killing it")
        send(pid, signal.SIGKILL)
    if left and _outlasting(left, KILL_SECONDS):
        raise Failure("a process cannot be stopped")


def _outlasting(pids, seconds):
    deadline = time.monotonic() + seconds
    while (pids := [pid for pid in pids if is_alive(pid)]) and time.monotonic() < deadline:
        time.sleep(PAUSE)
    return pids


def as_user(user=None, ending=None):
    """What goes in front of a command that is to run as another user, and get the signal `ending` from the kernel when
    the thread that starts it ends, however that ends. It becomes the command: their pid is the same."""
    options = ["--reuid", user, "--regid", user, "--init-groups"] if user else []
    if ending:
        options += ["--pdeathsig", signal.Signals(ending).name[3:]]
    return ["setpriv", *options, "--"] if options else []


def launch(arguments, log, environment=None, user=None, ending=None, directory="/", text=None):
    """Starts a process, its output appended to a file; `text` is what it can read as its standard input. Returns its
    `Popen`. No descriptor of ours is handed on, so neither is a lock."""
    with open(log, "ab") as output:
        process = subprocess.Popen(
            [*as_user(user, ending), *map(str, arguments)],
            env=environment,
            stdin=subprocess.DEVNULL if text is None else subprocess.PIPE,
            stdout=output,
            stderr=output,
            cwd=directory,
            start_new_session=True,
        )
    if text is not None:
        # One that ended before it had read this is found to be dead by whoever waits for it.
        with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
            pipe.write(text.encode())
    return process


def await_answer(process, answers, seconds):
    """Waits until a server that was just started answers. `False` if it ended; one that does not answer in time is stopped."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            return False
        # Asked again afterwards: it may have been another server's answer, at whose port this one could not start.
        if answers() and process.poll() is None:
            return True
        time.sleep(PAUSE)
    stop([process.pid], signal.SIGTERM, 10)
    return False
