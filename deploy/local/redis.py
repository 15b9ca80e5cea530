"""Redis: servers of our own, never the system's."""

import shutil
import socket
from pathlib import Path

from . import Failure, processes

START_SECONDS = 60
ANSWER_SECONDS = 5


def configuration(directory, port, **settings):
    """The lines of its configuration. An underscore in a setting's name stands for a hyphen."""
    # As in production: nothing that was accepted is lost, and hashes of requests stay small (Stores/Queue).
    options = {
        "bind": "127.0.0.1",
        "port": port,
        "dir": Path(directory),
        "daemonize": "no",
        "save": "",
        "appendonly": "yes",
        "appendfsync": "always",
        "maxmemory-policy": "noeviction",
        "hash-max-listpack-entries": 512,
        "hash-max-listpack-value": 128,
        "stream-node-max-entries": 16,
        **{name.replace("_", "-"): value for name, value in settings.items()},
    }
    return "".join(f"{name} {_written(value)}\n" for name, value in options.items())


def _written(value):
    if isinstance(value, Path) or value == "":
        return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value)


def launch(directory, port, log, environment=None, ending=None, **settings):
    """Starts a Redis with its data in a directory, on a loopback port; returns its `Popen` at once. Its configuration
    comes by a pipe: a password is in no argument list."""
    if not shutil.which("redis-server"):
        raise Failure("Redis 7 is not installed (Debian: redis-server); 'make deps' installs it")
    Path(directory).mkdir(parents=True, exist_ok=True)
    Path(directory).chmod(0o700)
    text = configuration(directory, port, **settings)
    return processes.launch(["redis-server", "-"], log, environment, ending=ending, text=text)


def start(directory, port, log, ending=None, **settings):
    """Starts a Redis and waits until it answers; returns its pid, or `None` if it does not (its log says why)."""
    process = launch(directory, port, log, ending=ending, **settings)
    return process.pid if processes.await_answer(process, lambda: answers(port), START_SECONDS) else None


def answers(port):
    """True once it takes commands. That it wants a password is an answer, too; that it is loading is not yet."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
    except OSError:
        return False
