"""PgBouncer in front of PostgreSQL: in session mode it works, and any other is refused with the reason."""

import os
import shutil
import signal
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from client import Client, ok
from conftest import make_token
from stack import BINARY, free_port, until

PGBOUNCER = shutil.which("pgbouncer", path=os.environ["PATH"] + ":/usr/sbin")


class Pooled(str):
    """The address, and what stands behind it."""

    def __new__(cls, address, process, write):
        self = super().__new__(cls, address)
        self.process, self.write = process, write
        return self

    def become(self, mode):
        """The pooler goes on in another mode, as after `RELOAD`, and lets go of its clients."""
        self.write(mode)
        self.process.send_signal(signal.SIGHUP)


@contextmanager
def pooler(stack, mode):
    """The address of the stack's database behind a PgBouncer in that mode."""
    real = urlsplit(stack.settings["ONSALE_DATABASE_URL"])
    port = free_port()
    # PgBouncer refuses to be root, and whoever it is then must be able to read this.
    directory = tempfile.TemporaryDirectory()
    Path(directory.name).chmod(0o755)
    config = Path(directory.name) / "pooler.ini"

    def write(mode):
        config.write_text(f"""
[databases]
onsale = host={real.hostname} port={real.port} dbname={real.path[1:]} user={real.username} password={real.password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
max_client_conn = 200
default_pool_size = 40
""")

    write(mode)
    config.chmod(0o644)
    owner = {"user": "nobody"} if os.getuid() == 0 else {}
    process = subprocess.Popen([PGBOUNCER, "-q", config], stderr=subprocess.PIPE, text=True, **owner)
    try:
        yield Pooled(f"postgres://{real.username}@127.0.0.1:{port}/onsale", process, write)
    finally:
        process.terminate()
        process.communicate()
        directory.cleanup()


def listing(stack, url, **settings):
    environment = {**os.environ, **stack.settings, "ONSALE_DATABASE_URL": url, **settings}
    return subprocess.run(
        [BINARY, "admin", "list"], env=environment, capture_output=True, text=True, timeout=60
    )


pytestmark = pytest.mark.skipif(not PGBOUNCER, reason="there is no PgBouncer here")


def test_a_pooler_that_keeps_no_sessions_is_refused_with_the_reason(stack):
    with pooler(stack, "transaction") as between:
        refused = listing(stack, between)
        assert refused.returncode == 69, refused
        assert "pooler" in refused.stderr and "ONSALE_DATABASE_POOLER=session" in refused.stderr
    with pooler(stack, "session") as between:
        assert listing(stack, between).returncode == 69
        until(
            lambda: listing(stack, between, ONSALE_DATABASE_POOLER="session").returncode == 0,
            what="an answer through a pooler that keeps sessions",
        )


@contextmanager
def role(stack, command, url, **settings):
    """A process of its own beside the stack's, and where it writes its log."""
    port = metrics = free_port()
    while metrics == port:
        metrics = free_port()
    environment = {
        **os.environ, **stack.settings, "ONSALE_DATABASE_URL": url, "ONSALE_SEARCH_DATABASE_URL": url,
        "ONSALE_PORT": str(port), "ONSALE_METRICS_PORT": str(metrics), "ONSALE_METRICS_HOST": "127.0.0.1", **settings,
    }
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen([BINARY, *command], env=environment, stdout=log, stderr=log)

        def written():
            log.seek(0)
            return log.read()

        try:
            yield process, written, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{metrics}"
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("command", [["serve"], ["worker"], ["indexer"]], ids=lambda command: command[0])
@pytest.mark.parametrize("settings", [{}, {"ONSALE_DATABASE_POOLER": "session"}], ids=["unsaid", "said wrongly"])
def test_no_role_starts_behind_a_pooler_that_keeps_no_sessions(stack, command, settings):
    with pooler(stack, "transaction") as between, role(stack, command, between, **settings) as (process, log, _, _):
        assert process.wait(timeout=30) not in (0, -9), log()
        assert "pooler" in log() and "session mode" in log(), log()
        assert '"ready"' not in log()


def test_a_pooler_that_is_changed_under_a_running_server_is_told_and_its_way_back_is_found(stack):
    with pooler(stack, "session") as between, role(
        stack, ["serve"], between, ONSALE_DATABASE_POOLER="session"
    ) as (process, log, url, operators):
        ready = lambda: requests.get(f"{operators}/readyz", timeout=5)  # noqa: E731
        until(lambda: can(lambda: ready().status_code == 200), 60, "a server that is ready")
        token = make_token(stack, "organizer", "organizer")
        organizer = Client(url, token)

        def ask():
            """So many at once that sessions mix."""
            with ThreadPoolExecutor(8) as threads:
                list(threads.map(lambda _: Client(url, token).get("/api/admin/events", limit=1), range(16)))

        between.become("transaction")

        def told():
            ask()
            answer = ready()
            return answer.text if answer.status_code != 200 and "pooler" in answer.text else None

        assert "session mode" in until(told, 60, "a readiness that says why it is none")
        assert "keeps no sessions" in log()
        assert process.poll() is None, "it goes on with what needs no database"
        # Nobody is told that something is wrong on our side: it is a part that is away.
        assert organizer.get("/api/admin/events").status_code == 503
        between.become("session")
        until(lambda: can(lambda: ready().status_code == 200), 60, "a server that is ready again")
        assert ok(organizer.get("/api/admin/events"))


def can(look):
    try:
        return look()
    except requests.RequestException:
        return False
