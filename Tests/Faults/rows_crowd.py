"""Rows about the search index, very many buyers, and those who mean harm."""

import contextlib
import json
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time

from buyers import Sale, token
from cases import row
from judge import Verdict, judge
from proxy import Proxy
from scenes import expect, expect_alive, troubled_sale
from servers import BINARY, ROOT


@row(19)
def the_search_backend_is_away(bench, rng):
    """Down for the whole sale, then back: the sale is not touched by it, and the index catches up."""
    stack = bench.shared_stack()
    proxy = Proxy(stack.postgres.port)
    stack.end("indexer")
    indexer = stack.start(
        "indexer", "indexer", database_url=stack.postgres.url(database=stack.database, port=proxy.port)
    )
    try:
        proxy.refuse()
        sale = Sale(stack, rng, seats=10, hold_seconds=3)
        sale.await_open()
        sale.crowd(16).start(spread=1.0).finish()
        expect(sale.purchases, "nothing was sold")
        proxy.heal()
        verdict = judge(sale)
        expect_alive(indexer)
        return verdict
    finally:
        proxy.heal()
        stack.end("indexer")
        stack.start("indexer", "indexer")
        proxy.close()


@row(21, cost=150)
def one_ticket_and_very_many_buyers(bench, rng):
    """1 ticket, 100,000 buyers: one of them has it, and everyone else knows that they do not."""
    stack = bench.new_stack().up(workers=("worker-a", "worker-b"))
    sale = Sale(stack, rng, seats=1, hold_seconds=10)
    sale.await_open()
    result = subprocess.run(
        [BINARY, "rush", "--event", str(sale.event), "--buyers", "100000", "--quantity", "1..1", "--buy",
         "--seed", str(rng.randrange(1 << 30)), "--json"],
        env=stack.environment(), capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    expect(result.returncode in (0, 1), f"the rush could not run: {result.stderr[-500:]}")
    report = json.loads(result.stdout)
    verdict = judge_rush(sale, report)
    if result.returncode:
        verdict.violations.append(f"the rush found: {result.stdout[-1500:]}")
    return verdict


def judge_rush(sale, report):
    verdict = Verdict(requests=report["buyers"])
    rows = sale.stack.sql("SELECT count(*) FROM purchase WHERE event_id = %s AND state = 'sold'", sale.event)
    verdict.sold = rows[0][0]
    verdict.captured = sum(payment["amount_received"] for payment in sale.stack.payments(sale.event))
    if (verdict.sold, verdict.captured) != (1, sale.price):
        verdict.violations.append(f"I1 {verdict.sold} sold, {verdict.captured} captured")
    verdict.accepted = report.get("accepted", 0)
    return verdict


@row(23, cost=20)
def harm_is_meant_during_a_sale(bench, rng):
    """Slow headers, huge and bad bodies, forged tokens, floods of connections: buyers notice nothing."""
    stack = bench.shared_stack()
    server = stack.roles["serve"]
    before = memory(server)
    done = threading.Event()
    statuses = []
    idle = []

    def raw(data, answer=True):
        with contextlib.suppress(OSError):
            with socket.create_connection(("127.0.0.1", stack.serve_port), timeout=3) as connection:
                connection.sendall(data)
                if answer:
                    head = connection.recv(64)
                    if head.startswith(b"HTTP/1."):
                        statuses.append(int(head.split(b" ", 2)[1]))

    def request(body, token="x.y.z", length=None, path="/api/ticket/reserve"):
        return (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Length: {len(body) if length is None else length}\r\nConnection: close\r\n\r\n"
        ).encode() + body

    forged = token(stack, "mallory")[:-6] + "AAAAAA"
    own = token(stack, "mallory'; DROP TABLE ticket; --")
    attacks = [
        lambda: raw(request(b"x" * 60_000, own)),
        lambda: raw(request(b"", own, 99_999_999_999)),
        lambda: raw(request(b'{"event_id": "\xff\xfe"}', own)),
        lambda: raw(request(b"[" * 20_000, own)),
        lambda: raw(request(b'{"event_id": 1, "quantity": 1}', forged)),
        lambda: raw(request(b'{"event_id": 1, "quantity": 1}', token(stack, "late", "organizer")[:40])),
        lambda: raw(request(json.dumps({"event_id": 1, "section": "redis.call('FLUSHALL')"}).encode(), own)),
        lambda: raw(request(b'{"request_id": "*1\\r\\n$8\\r\\nFLUSHALL\\r\\n"}', own, path="/api/ticket/confirm")),
        lambda: raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20),
        lambda: raw(b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"),
        lambda: raw(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n"),
    ]  # fmt: skip

    def attack(seed):
        local = random.Random(seed)
        while not done.is_set():
            local.choice(attacks)()

    def trouble(sale):
        for _ in range(600):
            with contextlib.suppress(OSError):
                connection = socket.create_connection(("127.0.0.1", stack.serve_port), timeout=3)
                connection.sendall(b"GET /api/search HTTP/1.1\r\nHost: x\r\nX-Slow: ")
                idle.append(connection)
        threads = [threading.Thread(target=attack, args=[rng.random()], daemon=True) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(4)
        done.set()
        for thread in threads:
            thread.join(10)

    try:
        verdict = troubled_sale(stack, rng, trouble, spread=3.0)
    finally:
        done.set()
        for connection in idle:
            connection.close()
    expect_alive(*stack.roles.values())
    verdict.requests += len(statuses)
    odd = sorted({status for status in statuses if not 400 <= status < 500 and status not in (501, 505)})
    expect(not odd, f"harm was answered {odd}")
    grown = memory(server) - before
    expect(grown < 200_000_000, f"the server grew by {grown:,} bytes")
    return verdict


def memory(process):
    text = open(f"/proc/{process.pid}/status").read()
    return int(re.search(r"VmRSS:\s+(\d+)", text).group(1)) * 1024


@row(23, cost=90)
def hostile_http(bench, rng):
    """The end-to-end tests of hostile requests: tokens, bodies, injection, 10,000 idle connections."""
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", "Tests/EndToEnd/pytest.ini", "Tests/EndToEnd/test_hostile.py", "-q"],
        cwd=ROOT, env={**os.environ, "ONSALE_BINARY": str(BINARY)}, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    verdict = Verdict()
    found = re.search(r"(\d+) passed", result.stdout)
    verdict.requests = int(found.group(1)) if found else 0
    if result.returncode:
        verdict.violations.append(result.stdout[-2000:])
    return verdict
