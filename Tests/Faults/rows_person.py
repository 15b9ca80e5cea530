"""Rows about one person: how much of everything an account, or an address, can take from the others."""

import contextlib
import http.client
import random
import socket
import threading
import time

from buyers import VISA, Caller, NoAnswer, Sale, token
from cases import row
from judge import judge, run_audit
from rows_crowd import memory
from scenes import expect, expect_alive
from servers import until

# What one account may leave in Redis and in a server, and what others may notice of it.
REDIS_BYTES = 2_000_000
REDIS_KEYS = 400
SERVER_BYTES = 250_000_000
ACCOUNTS = 500
MEDIAN_SECONDS, SLOWEST_SECONDS = 0.5, 4.0
# As `Limits.placesLeft` says.
PLACES_LEFT = 100
ATTACK_SECONDS = 6
LONG_POLLS = 200
# As long as an identity may be.
GREEDY = "greedy-" + "é" * 120


class Greedy:
    """One account, from one address, that sends as much as it can of everything."""

    def __init__(self, stack, rng, event):
        self.stack, self.rng, self.event = stack, rng, event
        self.bearer = token(stack, GREEDY)
        self.done = threading.Event()
        self.sent = 0
        self.odd = []
        self.lock = threading.Lock()
        self.request = None
        self.polls = []

    def caller(self):
        return Caller([self.stack.url], self.bearer, timeout=15)

    def note(self, what, status, expected):
        with self.lock:
            self.sent += 1
            if status not in expected and len(self.odd) < 10:
                self.odd.append((what, status))

    def key(self, local):
        return {"Idempotency-Key": f"{local.getrandbits(64):x}".ljust(255, "k")}

    def wish(self, local):
        """The largest one there is, or a small one."""
        body = {"event_id": self.event, "payment_method": "pm_" + "x" * 197}
        if local.random() < 0.5:
            return {**body, "ticket_ids": list(range(999_951, 1_000_001))}
        return {"event_id": self.event, "quantity": 1}

    def reserve(self, local, caller):
        status, answer = caller.once("POST", "/api/ticket/reserve", self.wish(local), self.key(local))
        self.note("reserve", status, (200, 202, 409, 410, 422))
        if status in (200, 202):
            self.request = answer["request_id"]

    def confirm(self, local, caller):
        if self.request:
            # Without digits: many of them in a row may be a card's number, which is refused.
            method = f"pm_{local.getrandbits(400):x}".translate(str.maketrans("0123456789", "ghijklmnop"))
            body = {"request_id": self.request, "payment_method": method}
            status, _ = caller.once("POST", "/api/ticket/confirm", body, self.key(local))
            self.note("confirm", status, (202, 409, 410, 422))

    def cancel(self, local, caller):
        if self.request:
            status, _ = caller.once("DELETE", f"/api/request/{self.request}")
            self.note("cancel", status, (200, 409))

    def sign_in(self, local, caller):
        body = {"email": f"{local.getrandbits(40):x}@example.com", "password": "correct horse"}
        status, _ = caller.once("POST", "/api/sessions", body)
        self.note("sign in", status, (401, 429, 503))

    def sign_up(self, local, caller):
        body = {
            "name": "N" * 200, "email": f"{local.getrandbits(40):x}@{'x' * 300}.com", "password": "correct horse",
        }  # fmt: skip
        status, _ = caller.once("POST", "/api/users", body)
        self.note("sign up", status, (201, 429, 503))

    def large_body(self, local, caller):
        body = {"event_id": self.event, "quantity": 1, "nothing": "x" * local.randrange(10_000, 60_000)}
        status, _ = caller.once("POST", "/api/ticket/reserve", body)
        # A name that nobody knows: refused, once all of it is read.
        self.note("large body", status, (400,))

    def slow_body(self, local, caller):
        """Promises much, sends little, and stays."""
        with contextlib.suppress(OSError):
            connection = socket.create_connection(("127.0.0.1", self.stack.serve_port), timeout=3)
            connection.sendall(
                f"POST /api/ticket/reserve HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self.bearer}\r\n"
                f"Content-Length: 60000\r\n\r\n{{".encode()
            )
            with self.lock:
                self.polls.append(connection)
                self.sent += 1

    def long_polls(self):
        """As many as it can, for its place."""
        until(lambda: self.request or self.done.is_set(), what="the account's place")
        for _ in range(LONG_POLLS):
            with contextlib.suppress(OSError):
                connection = socket.create_connection(("127.0.0.1", self.stack.serve_port), timeout=3)
                connection.sendall(
                    f"GET /api/request/{self.request}?wait=25 HTTP/1.1\r\nHost: x\r\n\r\n".encode()
                )
                with self.lock:
                    self.polls.append(connection)
                    self.sent += 1

    def attack(self, seed, acts):
        local, caller = random.Random(seed), self.caller()
        while not self.done.is_set():
            act = local.choice(acts)
            try:
                act(local, caller)
            except NoAnswer as problem:
                self.note(act.__name__, repr(problem), ())
        caller.close()

    @contextlib.contextmanager
    def at_work(self):
        buying = [self.reserve] * 6 + [self.confirm] * 3 + [self.large_body, self.cancel]
        crowds = [[self.reserve], buying, buying, [self.sign_in, self.sign_up], [self.sign_in, self.sign_up]]
        threads = [threading.Thread(target=self.attack, args=[self.rng.random(), acts], daemon=True) for acts in crowds]
        threads.append(threading.Thread(target=self.long_polls, daemon=True))
        threads.append(threading.Thread(target=self.open_slowly, daemon=True))
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self.done.set()
            for thread in threads:
                thread.join(30)
            for connection in self.polls:
                connection.close()

    def open_slowly(self):
        local = random.Random(self.rng.random())
        for _ in range(100):
            if self.done.is_set():
                return
            self.slow_body(local, None)


class Prober(threading.Thread):
    """Somebody else, who looks how long calls take meanwhile."""

    def __init__(self, stack, request):
        super().__init__(daemon=True)
        self.stack, self.request = stack, request
        self.seconds = []
        self.problems = []
        self.done = threading.Event()

    def run(self):
        caller = Caller([self.stack.url], timeout=SLOWEST_SECONDS)
        while not self.done.wait(0.02):
            began = time.monotonic()
            try:
                status, _ = caller.once("GET", f"/api/request/{self.request}")
                if status != 200:
                    self.problems.append(status)
            except (NoAnswer, http.client.HTTPException) as problem:
                self.problems.append(repr(problem))
            self.seconds.append(time.monotonic() - began)

    def judge(self):
        ordered = sorted(self.seconds)
        expect(len(ordered) >= 20, f"only {len(ordered)} polls of somebody else came to an end")
        expect(not self.problems, f"somebody else's polls failed: {self.problems[:3]}")
        median, slowest = ordered[len(ordered) // 2], ordered[-1]
        expect(
            median < MEDIAN_SECONDS and slowest < SLOWEST_SECONDS,
            f"somebody else's polls took {median:.3f} s, and up to {slowest:.3f} s",
        )


def redis_size(stack):
    client = stack.redis.client
    return client.info("memory")["used_memory"], client.dbsize()


@row(28, cost=25)
def one_account_sends_whatever_it_can(bench, rng):
    """Keys, wishes, cards, logins, accounts, bodies, long polls: they leave little, and the others buy as ever."""
    stack = bench.shared_stack()
    server = stack.roles["serve"]
    attacked = Sale(stack, rng, seats=4, hold_seconds=2)
    sale = Sale(stack, rng, seats=20, hold_seconds=4)
    for each in (attacked, sale):
        each.await_open()
    first = sale.add("leave")
    sale.start(seconds=60)
    until(lambda: first.request, what="somebody else's place")
    accounts = stack.sql("SELECT count(*) FROM users")[0][0]
    bytes_before, keys_before = redis_size(stack)
    memory_before = memory(server)
    prober = Prober(stack, first.request)
    with Greedy(stack, rng, attacked.event).at_work() as greedy:
        prober.start()
        sale.crowd(24, ("buy", "pay", "twice", "decline", "cancel")).start(spread=ATTACK_SECONDS)
        sale.finish()
        prober.done.set()
        prober.join(10)
    grown = memory(server) - memory_before
    expect_alive(*stack.roles.values())
    expect(not greedy.odd, f"the account was answered {greedy.odd}")
    prober.judge()
    # Buffers of its connections go with those.
    until(lambda: redis_size(stack)[0] - bytes_before < REDIS_BYTES, 15, "a Redis as small as it was")
    keys = redis_size(stack)[1] - keys_before
    expect(keys < REDIS_KEYS, f"Redis has {keys} keys more, after {greedy.sent} calls")
    expect(grown < SERVER_BYTES, f"the server grew by {grown:,} bytes")
    made = stack.sql("SELECT count(*) FROM users")[0][0] - accounts
    expect(made <= ACCOUNTS, f"one address made {made} accounts")
    rows = stack.sql("SELECT count(*) FROM purchase WHERE event_id = %s", attacked.event)[0][0]
    expect(rows <= 2 * PLACES_LEFT, f"the account left {rows} purchases that came to nothing")
    verdict = judge(sale)
    verdict.requests += greedy.sent + len(prober.seconds)
    attacked.act("close")
    verdict.violations += run_audit(stack, "--event", attacked.event)[1]
    return verdict


@row(28, cost=15)
def one_account_comes_and_goes(bench, rng):
    """Wishes for seats that are taken keep nobody from buying; whoever gives up places again and again is told."""
    stack = bench.shared_stack()
    rows = [{"name": "Floor", "price": 2500, "rows": [{"row": "A", "seats": 6}]}]
    sale = Sale(stack, rng, seats=6, hold_seconds=60, sections=rows)
    sale.await_open()
    holder = Caller([stack.url], token(stack, f"holder-{sale.salt}"))
    clicker = Caller([stack.url], token(stack, f"clicker-{sale.salt}"))

    def ask(caller, **wish):
        body = {"event_id": sale.event, **wish}
        return caller.until_answered("POST", "/api/ticket/reserve", body, time.monotonic() + 20)

    def ended(caller, answer, states):
        path = f"/api/request/{answer['request_id']}"
        return until(
            lambda: (found := caller.until_answered("GET", path, None, time.monotonic() + 20)[1])["state"] in states
            and found,
            what=f"one of {states}", pause=0.005,
        )  # fmt: skip

    status, held = ask(holder, ticket_ids=[1])
    expect(status == 202, f"a free seat was answered {status} {held}")
    ended(holder, held, ("reserved",))
    for number in range(PLACES_LEFT + 5):
        status, answer = ask(clicker, ticket_ids=[1])
        expect(status == 202, f"wish {number} for a taken seat was answered {status} {answer}")
        found = ended(clicker, answer, ("rejected",))
        expect(found["reason"] == "seats_taken", f"told {found}")
    given_up = 0
    while True:
        status, answer = ask(clicker, quantity=1)
        if status == 409:
            break
        expect(status == 202, f"a place was answered {status} {answer}")
        expect(given_up < PLACES_LEFT, "places may be given up without end")
        status, _ = clicker.until_answered(
            "DELETE", f"/api/request/{answer['request_id']}", None, time.monotonic() + 20
        )
        expect(status == 200, f"giving a place up was answered {status}")
        given_up += 1
    expect(answer["code"] == "too_often", f"told {answer}")
    expect(given_up == PLACES_LEFT, f"told that it was too often after {given_up}")
    # Everybody else goes on.
    holder.until_answered("DELETE", f"/api/request/{held['request_id']}", None, time.monotonic() + 20)
    buyer = Caller([stack.url], token(stack, f"buyer-{sale.salt}"))
    status, answer = ask(buyer, quantity=4, payment_method=VISA)
    expect(status == 202, f"somebody else was answered {status} {answer}")
    ended(buyer, answer, ("purchased",))
    # There are no buyers of the usual kind who could be heard.
    verdict = judge(sale, lost=True)
    verdict.requests = holder.calls + clicker.calls + buyer.calls
    return verdict


@row(28, cost=15)
def one_account_buys_again_after_redis_forgot(bench, rng):
    """What an account bought is lost with Redis: PostgreSQL knows, nothing is charged, and the seats are free again."""
    stack = bench.shared_stack()
    verdict, again = buy_again(stack, rng)
    expect(again.final == "rejected", f"told {again.states}")
    expect(again.last_poll().get("reason") == "limit_exceeded", f"told {again.last_poll()}")
    return verdict


def buy_again(stack, rng):
    """One account buys as many tickets as it may, and once more when Redis has forgotten that."""
    sale = Sale(stack, rng, seats=8, hold_seconds=6)
    sale.await_open()
    first = sale.add("buy", 3)
    sale.start(seconds=40).finish()
    expect(first.final == "purchased", f"told {first.states}")
    client = stack.redis.client
    (bucket,) = [
        key for key in client.scan_iter(f"{sale.prefix}u:*") if any(":3" in text for text in client.hvals(key))
    ]
    (user,) = client.hkeys(bucket)
    client.hdel(bucket, user)
    again = sale.add("buy" if rng.random() < 0.5 else "pay", 3)
    again.user, again.caller.bearer = first.user, first.caller.bearer
    sale.start(seconds=40).finish()
    expect(again.final, f"told {again.states}")
    others = sale.add("buy", 4), sale.add("pay", 1)
    sale.start(seconds=40).finish()
    if again.final != "purchased":
        expect(all(buyer.final == "purchased" for buyer in others), f"others were told {[*map(str, others)]}")
    _, owned, *ends = client.hget(bucket, user).split(":")
    if again.final != "purchased":
        # Of four, and three that were refused: they have two at least, and the next such wish holds nothing.
        expect(owned == "2", f"Redis counts {owned} tickets")
    # As it would be had nothing been forgotten.
    total = int(owned) + 3 if again.final == "purchased" else 3
    client.hset(bucket, user, ":".join(["0", str(total), *ends]))
    return judge(sale), again
