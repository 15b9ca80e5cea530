"""`deploy/with-servers`: one command with a PostgreSQL and a Redis of its own, both gone with their data afterwards."""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from . import Failure, ports, postgres, processes, redis, say

# Somebody else may take a port between our choice and the server's start.
TRIES = 3
GROUP_SECONDS, REDIS_SECONDS, POSTGRES_SECONDS = 10, 10, 10


class Interrupted(Exception):
    """A signal that asks us to end."""


@contextlib.contextmanager
def temporary_directory(prefix):
    """A directory that PostgreSQL's user can pass through, and others cannot look into."""
    directory = Path(tempfile.mkdtemp(prefix=prefix))
    if not postgres.can_enter(directory.parent):
        directory.rmdir()
        directory = Path(tempfile.mkdtemp(prefix=prefix, dir="/var/tmp"))
    directory.chmod(0o711)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def started(name, log, start):
    """A port, and the pid of what was started there."""
    for _ in range(TRIES):
        port = ports.free()
        if pid := start(port):
            return port, pid
    say("\n".join(log.read_text(errors="replace").splitlines()[-20:]))
    raise Failure(f"{name} did not start")


@contextlib.contextmanager
def servers():
    """Gives the environment in which a command finds them."""
    with contextlib.ExitStack() as undo:
        directory = undo.enter_context(temporary_directory("onsale-test."))
        password = secrets.token_hex(16)
        cluster, log = directory / "postgres", directory / "postgres.log"
        postgres.initialise(cluster, password)
        # The kernel ends them should this process be killed without a chance to clean up.
        postgres_port, pid = started(
            "PostgreSQL", log,
            lambda port: postgres.start(
                cluster, port, log, ending=signal.SIGQUIT,
                max_connections=200, shared_buffers="128MB", wal_level="replica", log_min_messages="warning",
            ),
        )  # fmt: skip
        # At once: what it has is thrown away.
        undo.callback(processes.stop, [pid], signal.SIGQUIT, POSTGRES_SECONDS)
        data, log = directory / "redis", directory / "redis.log"
        redis_port, pid = started("Redis", log, lambda port: redis.start(data, port, log, ending=signal.SIGTERM))
        undo.callback(processes.stop, [pid], signal.SIGTERM, REDIS_SECONDS)
        yield {
            **os.environ,
            "ONSALE_TEST_DATABASE_URL": f"postgres://postgres:{password}@127.0.0.1:{postgres_port}/postgres",
            "ONSALE_TEST_REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
            "ONSALE_TEST_DIRECTORY": str(directory),
        }


def run(arguments, environment):
    """Runs the command as a process group of its own, so that what it left running ends with it."""
    try:
        process = subprocess.Popen(arguments, env=environment, start_new_session=True)
    except OSError as error:
        # As a shell does.
        say(f"error: {arguments[0]}: {error.strerror}")
        return 127
    try:
        code = process.wait()
        return code if code >= 0 else 128 - code
    finally:
        ignore_signals()
        stop_group(process)


def stop_group(process):
    deadline = time.monotonic() + GROUP_SECONDS
    number = signal.SIGTERM
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(process.pid, number)
            # Asked once; from then on only whether anybody is left.
            number = 0
            process.poll()
            time.sleep(processes.PAUSE)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ignore_signals():
    """Cleaning up is not interrupted again; each step of it has a limit."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def interrupt(number, _):
    ignore_signals()
    raise Interrupted(number)


def main(arguments):
    """Returns the command's exit code."""
    if not arguments:
        say("error: usage: deploy/with-servers COMMAND [ARGUMENT…]")
        return 1
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    try:
        with servers() as environment:
            return run(arguments, environment)
    except Interrupted as interrupted:
        return 128 + interrupted.args[0]
    except Failure as failure:
        say(f"error: {failure}")
        return 1
