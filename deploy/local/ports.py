"""Ports of the loopback address, below the kernel's ephemeral range: no outgoing connection takes one meanwhile."""

import contextlib
import fcntl
import os
import random
import socket
import stat
import tempfile
from pathlib import Path

from . import Failure

FREE = range(20_000, 32_000)
TRIES = 200
# Whole ranges are for test runs, of which several may be under way.
RANGES = range(12_000, 20_000)
PORTS_PER_RANGE = 40


def is_taken(port):
    """True if something listens on it."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(port))) == 0


def free(besides=()):
    """A port that nobody listens on now, and that is none of `besides`: what was chosen already may not be listened on yet."""
    for _ in range(TRIES):
        port = random.choice(FREE)
        if port not in besides and not is_taken(port):
            return port
    raise Failure(f"no free port between {FREE.start} and {FREE.stop}")


def own_directory(path):
    """Where others may make files, too, somebody may have made it before: a directory of their own, or a link to one."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise Failure(f"{path} is not a directory of yours: somebody else has taken the name")
    # One of a version before let everybody in whom the umask let in.
    path.chmod(0o700)
    return path


def open_lock(path):
    """Never follows a link, and leaves what is in the file."""
    try:
        return open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "r+b", buffering=0)
    except OSError as error:
        raise Failure(f"{path} cannot be a lock: {error.strerror}") from None


class Range:
    """Ports that nobody else on this machine takes who takes a range: a lock file keeps it, until its process ends.
    Servers that share a port by SO_REUSEPORT would take each other's clients without a word."""

    def __init__(self):
        directory = own_directory(Path(tempfile.gettempdir()) / f"onsale-fault-ports-{os.geteuid()}")
        for slot, first in enumerate(RANGES[::PORTS_PER_RANGE]):
            lock = open_lock(directory / str(slot))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.close()
                continue
            self._lock = lock
            self._free = list(range(first, first + PORTS_PER_RANGE))
            if not any(map(is_taken, self._free)):
                return
            lock.close()
        raise Failure("no range of free ports")

    def take(self):
        return self._free.pop(0)

    def release(self):
        self._lock.close()
