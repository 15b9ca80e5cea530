"""PgBouncer in front of PostgreSQL: in session mode it works, and any other is refused with the reason."""

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from stack import BINARY, free_port, until

PGBOUNCER = shutil.which("pgbouncer", path=os.environ["PATH"] + ":/usr/sbin")


@contextmanager
def pooler(stack, mode):
    """The address of the stack's database behind a PgBouncer in that mode."""
    real = urlsplit(stack.settings["ONSALE_DATABASE_URL"])
    port = free_port()
    # PgBouncer refuses to be root, and whoever it is then must be able to read this.
    directory = tempfile.TemporaryDirectory()
    Path(directory.name).chmod(0o755)
    config = Path(directory.name) / f"{mode}.ini"
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
    config.chmod(0o644)
    owner = {"user": "nobody"} if os.getuid() == 0 else {}
    process = subprocess.Popen([PGBOUNCER, "-q", config], stderr=subprocess.PIPE, text=True, **owner)
    try:
        yield f"postgres://{real.username}@127.0.0.1:{port}/onsale"
    finally:
        process.terminate()
        process.communicate()
        directory.cleanup()


def listing(stack, url, **settings):
    environment = {**os.environ, **stack.settings, "ONSALE_DATABASE_URL": url, **settings}
    return subprocess.run(
        [BINARY, "admin", "list"], env=environment, capture_output=True, text=True, timeout=60
    )


@pytest.mark.skipif(not PGBOUNCER, reason="there is no PgBouncer here")
def test_a_pooler_that_keeps_no_sessions_is_refused_with_the_reason(stack):
    with pooler(stack, "transaction") as url:
        refused = listing(stack, url)
        assert refused.returncode == 69, refused
        assert "pooler" in refused.stderr and "ONSALE_DATABASE_POOLER=session" in refused.stderr
    with pooler(stack, "session") as url:
        assert listing(stack, url).returncode == 69
        until(
            lambda: listing(stack, url, ONSALE_DATABASE_POOLER="session").returncode == 0,
            what="an answer through a pooler that keeps sessions",
        )
