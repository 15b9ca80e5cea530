"""What a join, a poll, a grant and a confirmation cost in instructions, which unlike time can be counted on any machine.

Who makes one cheaper lowers its budget here in the same change; who must make one dearer says why.
"""

import os
import re
import signal
import subprocess
import time

import pytest
import requests

from client import VISA, Client, ok
from conftest import make_token, new_organizer
from stack import BINARY, Stack, alive, assert_books_agree, until

# Instructions of the process that does it: the server's for a join and a poll, the worker's for the rest.
BUDGET = {"join": 118_000, "poll": 25_000, "grant": 35_000, "confirm": 1_058_000}
# What the number of requests that come together makes of it, from run to run.
TOLERANCE = 1.15
BUYERS = 400
IDLE_SECONDS = 3


class Counted:
    """A role of the stack, started anew under callgrind."""

    def __init__(self, stack, process, directory):
        self.directory = directory
        os.kill(stack.pid(process), signal.SIGTERM)
        until(lambda: not alive(stack.pid(process)), 40, f"the end of {process}")
        self.log = open(directory / "log", "w")
        self.child = subprocess.Popen(
            ["valgrind", "--tool=callgrind", "--compress-strings=no", f"--callgrind-out-file={directory}/out"]
            + [BINARY, process[:-2]],
            # The walk through the books is work by the clock, and uneven.
            env={**os.environ, **stack.settings, "ONSALE_PROCESS": process, "ONSALE_BOOKS_MILLISECONDS": "3600000"},
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )

    def control(self, order):
        subprocess.run(
            ["callgrind_control", order, str(self.child.pid)], check=True, capture_output=True, timeout=60
        )

    def begin(self):
        self.control("--zero")

    def count(self):
        """Instructions since `begin`."""
        before = set(self.directory.glob("out.*"))
        self.control("--dump")
        dump = until(lambda: set(self.directory.glob("out.*")) - before, what="callgrind's dump").pop()
        total = until(
            lambda: re.search(r"^(?:totals|summary): (\d+)", dump.read_text(), re.MULTILINE), what="the total"
        )
        return int(total[1])

    def stop(self):
        self.child.send_signal(signal.SIGCONT)
        self.child.terminate()
        try:
            self.child.wait(60)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.log.close()


@pytest.fixture
def stack(tmp_path):
    """One worker, which keeps its loop while it is stopped or slow."""
    stack = Stack(tmp_path / "state", workers=1)
    try:
        stack.up(ONSALE_TAKEOVER_PERCENT="1000")
        yield stack
    finally:
        stack.remove()


@pytest.fixture
def counted(stack, tmp_path):
    roles = []

    def start(process):
        directory = tmp_path / f"counted-{process}"
        directory.mkdir()
        roles.append(Counted(stack, process, directory))
        return roles[-1]

    yield start
    for role in roles:
        role.stop()


class Crowd:
    """Buyers of one event, all over one connection."""

    def __init__(self, stack):
        self.stack = stack
        self.connection = Client(stack.url)
        self.tokens = [make_token(stack) for _ in range(BUYERS)]
        sections = [{"name": "Floor", "price": 2500, "capacity": BUYERS}]
        self.event = new_organizer(stack).create_event(sections)
        self.requests = []

    def call(self, token, method, path, body=None):
        headers = {"Authorization": f"Bearer {token}"}
        return self.connection.call(method, path, body, headers=headers)

    def join(self):
        body = {"event_id": self.event, "quantity": 1}
        for token in self.tokens:
            self.requests.append(ok(self.call(token, "POST", "/api/ticket/reserve", body), 202)["request_id"])

    def poll(self):
        return [
            ok(self.call(token, "GET", f"/api/request/{request}"))["state"]
            for token, request in zip(self.tokens, self.requests, strict=True)
        ]

    def confirm(self):
        for token, request in zip(self.tokens, self.requests, strict=True):
            body = {"request_id": request, "payment_method": VISA}
            ok(self.call(token, "POST", "/api/ticket/confirm", body), 202)

    def await_all(self, state):
        until(lambda: set(self.poll()) == {state}, 120, f"everyone {state}")


def is_ready(stack):
    try:
        return Client(stack.url).get("/readyz").status_code == 200
    except requests.ConnectionError:
        return False


def assert_within_budget(name, instructions):
    cost = round(instructions / BUYERS)
    print(f"{name}: {cost} instructions, budget {BUDGET[name]}")
    assert cost <= BUDGET[name] * TOLERANCE
    assert cost >= BUDGET[name] / 2, "so much cheaper that the budget must come down"


def test_a_join_and_a_poll_cost_the_server_what_they_did(stack, counted):
    server = counted("serve-1")
    until(lambda: is_ready(stack), 60, "the server under callgrind")
    crowd = Crowd(stack)
    stack.signal("worker-1", signal.SIGSTOP)
    try:
        server.begin()
        crowd.join()
        assert_within_budget("join", server.count())
        crowd.poll()
        server.begin()
        assert set(crowd.poll()) == {"queued"}
        assert_within_budget("poll", server.count())
    finally:
        stack.signal("worker-1", signal.SIGCONT)


def test_a_grant_and_a_confirmation_cost_the_worker_what_they_did(stack, counted):
    worker = counted("worker-1")
    # One crowd is there for what is done once: starting, connecting.
    first, crowd = Crowd(stack), Crowd(stack)
    first.join()
    first.await_all("reserved")
    first.confirm()
    first.await_all("purchased")
    # Captured, too: nothing is left to do.
    assert_books_agree(stack)

    # What it does by the clock, a second: on a slow machine there are more seconds in the same work.
    worker.begin()
    time.sleep(IDLE_SECONDS)
    idle = worker.count() / IDLE_SECONDS

    # Each loop has its whole work before it, so that it comes in groups of the same size in every run.
    def work(crowd, orders, state):
        worker.begin()
        worker.child.send_signal(signal.SIGSTOP)
        orders()
        worker.child.send_signal(signal.SIGCONT)
        began = time.monotonic()
        crowd.await_all(state)
        return worker.count() - idle * (time.monotonic() - began)

    grant = work(crowd, crowd.join, "reserved")
    confirm = work(crowd, crowd.confirm, "purchased")
    assert_within_budget("grant", grant)
    assert_within_budget("confirm", confirm)
    assert_books_agree(stack)
