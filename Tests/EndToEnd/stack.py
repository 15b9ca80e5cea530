"""A whole Onsale of its own, started and stopped by the same script that `make up` uses."""

from pathlib import Path

import psycopg
import requests

from local import BINARY, ROOT, Failure, until
from local.handle import Handle
from local.ports import free as free_port
from local.processes import is_alive as alive

__all__ = ["BINARY", "ROOT", "Stack", "alive", "assert_books_agree", "free_port", "until"]


class Stack(Handle):
    def __init__(self, state, port=None, workers=2, demo=False):
        super().__init__(state, port, workers, DEMO="yes" if demo else "no")

    def metrics(self, process="serve-1"):
        """What a process tells its operators of itself."""
        port = self.settings["ONSALE_METRICS_PORT_" + process.replace("-", "_").upper()]
        answer = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=20)
        assert answer.status_code == 200
        return answer.text

    def admin(self, *arguments, **options):
        return self.onsale("admin", *arguments, **options).stdout

    def sql(self, statement, *values):
        """What PostgreSQL says, or how it is changed as no call does it, and time would; rows, if it has any."""
        with psycopg.connect(self.settings["ONSALE_DATABASE_URL"], autocommit=True) as books:
            cursor = books.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def memory(self, process):
        """Resident memory in bytes."""
        status = Path(f"/proc/{self.pid(process)}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024


def assert_books_agree(stack, seconds=40):
    """Waits until `onsale audit` has nothing to say about PostgreSQL, Redis and the provider's ledger."""
    last = None

    def clean():
        nonlocal last
        last = stack.onsale("audit", check=False)
        return last.returncode == 0

    try:
        until(clean, seconds, "an audit without findings")
    except Failure as failure:
        raise AssertionError(f"{failure}\n{last.stdout}\n{last.stderr}") from None
