"""Buyers over HTTP, who remember what they were told.

Each is a thread with one wish. It repeats a call until it has an answer, as a patient client would, and writes
down every state it sees: what it was told is judged later, without looking into any server.
"""

import collections
import http.client
import json
import random
import threading
import time
import urllib.parse
import uuid

import jwt

from servers import Failure, until

VISA = "pm_card_visa"
DECLINED = "pm_card_visa_chargeDeclined"
TERMINAL = {"purchased", "expired", "sold_out", "cancelled", "rejected"}
# Ends that say of a wish that it cannot be had any more, whoever has it.
# What is said of payments that were given up: they may be authorised after all.
UNDECIDED = {
    "processing_timeout", "authentication_required", "payments_unavailable", "payments_busy", "payment_unknown",
    "processing_error",
}  # fmt: skip
ENDS_OF_WISHES = {"not_together", "section_sold_out", "only_n_left"}
PRICE = 2500
CALL_TIMEOUT = 4.0


def token(stack, user, role="customer"):
    now = int(time.time())
    return jwt.encode({"sub": user, "role": role, "iat": now, "exp": now + 7200}, stack.secret, algorithm="HS256")


class NoAnswer(Exception):
    """Nothing came back, so nothing is known."""


class Caller:
    """One person's calls, over one connection to one of several addresses."""

    def __init__(self, urls, bearer=None, timeout=CALL_TIMEOUT):
        self.addresses = [urllib.parse.urlsplit(url).netloc for url in urls]
        self.bearer, self.timeout = bearer, timeout
        self.calls = 0
        # How often a call was answered with "come back later", by what it asked for.
        self.put_off = collections.Counter()
        self._index = 0
        self._connection = None

    def once(self, method, path, body=None, headers=None):
        """One attempt. Returns status and JSON."""
        self.calls += 1
        try:
            if self._connection is None:
                address = self.addresses[self._index % len(self.addresses)]
                self._connection = http.client.HTTPConnection(address, timeout=self.timeout)
            self._connection.request(
                method,
                path,
                None if body is None else json.dumps(body),
                {
                    **({"Authorization": f"Bearer {self.bearer}"} if self.bearer else {}),
                    "Content-Type": "application/json",
                    **(headers or {}),
                },
            )
            answer = self._connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text else None
        except (TimeoutError, OSError, http.client.HTTPException, ValueError) as problem:
            self.close()
            self._index += 1
            raise NoAnswer(repr(problem)) from None

    def until_answered(self, method, path, body=None, deadline=None, headers=None):
        """Repeats the call until it is answered with something else than "come back later"."""
        last = None
        while deadline is None or time.monotonic() < deadline:
            try:
                status, answer = self.once(method, path, body, headers)
                if status < 500 and status != 429:
                    return status, answer
                last = (status, answer)
                self.put_off[method, path.partition("?")[0]] += 1
                if len(self.addresses) > 1:
                    self.close()
                    self._index += 1
            except NoAnswer as problem:
                last = problem
            time.sleep(0.1)
        raise NoAnswer(f"{method} {path}: no answer in time, last {last}")

    def prefer(self, index):
        """Goes to this address next."""
        if self._index % len(self.addresses) != index % len(self.addresses):
            self.close()
            self._index = index

    def close(self):
        if self._connection:
            self._connection.close()
        self._connection = None


class Buyer(threading.Thread):
    """One person who wants seats.

    `plan` is what they do: `buy` pays in the same call; `pay` pays once seats are held; `twice` does so after
    asking twice; `decline` pays with a bad card and then a good one; `refuse` only with a bad one; `cancel` gives
    held seats back; `leave` never pays; `hold` keeps the seats and does nothing.

    Every other one who is told that fewer are left than they asked for takes those, and keeps the place.
    """

    PLANS = ("buy", "pay", "twice", "decline", "refuse", "cancel", "leave")

    def __init__(self, sale, number, plan, quantity=1, section=None, urls=None, adjacent=False):
        super().__init__(daemon=True)
        self.sale, self.number, self.plan = sale, number, plan
        self.quantity, self.section, self.adjacent = quantity, section, adjacent
        self.takes_fewer = number % 2 == 0
        # Whether that kept the place, and the ends of wishes that they were told: position, wish, in which words.
        self.kept_place = False
        self.ends_of_wishes = []
        self.user = f"buyer-{sale.event}-{sale.salt}-{number}"
        self.caller = Caller(urls or sale.urls, token(sale.stack, self.user))
        self.request = None
        self.position = None
        self.asked_at = self.accepted_at = None
        self.refusal = None
        self.history = []
        self.tickets, self.amount = (), None
        # What is held, signed, and of which place: shown whenever they ask or pay.
        self.hold = None
        self.holds_lost = 0
        self.problems = []
        # The id of a place that was lost, to ask for its order.
        self.rejoin = None
        # Places of theirs that had ended when they asked again.
        self.earlier = []
        self.final = None
        # Whether other seats will do should their payment come late, which they say with the payment.
        self.takes_others = False
        # Whether their last payment was declined since nobody decided it in time.
        self.was_given_up = False
        self.is_patient = True
        self.tried_good_card = False
        # What a good card is.
        self.method = VISA
        # Set by `sale.start`: the moment after which nobody waits any more.
        self.deadline = None

    # --- Calls ---

    def call(self, method, path, body=None):
        # With one key for all repetitions, as a careful client has it: they are one wish.
        headers = {"Idempotency-Key": uuid.uuid4().hex} if method == "POST" else None
        return self.caller.until_answered(method, path, body, self.deadline, headers)

    def reserve(self):
        body = {"event_id": self.sale.event, "quantity": self.quantity}
        if self.section:
            body["section"] = self.section
        if self.adjacent:
            body["adjacent"] = True
        if self.rejoin:
            body["rejoin"] = self.rejoin
        if self.plan == "buy":
            body["payment_method"] = self.method
        if self.plan == "refuse":
            body["payment_method"] = DECLINED
        self.caller.prefer(0)
        self.asked_at = self.asked_at or time.monotonic()
        status, answer = self.call("POST", "/api/ticket/reserve", body)
        if status in (200, 202):
            # Two ids with one position name the same place.
            is_another = status == 202 or answer["position"] != self.position
            if self.request and answer["request_id"] != self.request and is_another:
                # Theirs as long as it lives; when it has ended they may ask again, at the back.
                old = self.poll()
                if old["state"] not in TERMINAL:
                    self.problems.append(f"asked again and got another place: {answer}, while {old} lives")
                self.earlier.append(self.position)
                self.history, self.final, self.tickets = [], None, ()
            self.accepted_at = self.accepted_at or time.monotonic()
            self.request, self.position = answer["request_id"], answer["position"]
            if self.hold and self.hold[0] != self.position:
                self.hold = None
            return True
        self.refusal = (status, (answer or {}).get("code"))
        if self.refusal not in ((410, "sold_out"), (409, "closed"), (409, "not_open")):
            self.problems.append(f"reserve was answered {status} {answer}")
        return False

    def poll(self):
        shown = f"?hold={self.hold[1]}" if self.hold else ""
        status, answer = self.call("GET", f"/api/request/{self.request}{shown}")
        if status != 200:
            self.problems.append(f"a place that was given is answered {status} {answer}")
            return {"state": "unknown"}
        self.learn(answer)
        return answer

    def learn(self, answer):
        state = answer["state"]
        if not self.history or self.history[-1][0] != state:
            self.history.append((state, time.monotonic()))
        if self.final == "declined" and self.was_given_up and state in ("confirming", "purchased"):
            # Nobody had refused it: it was authorised after all, and the seats were still there.
            self.final = None
        if self.final and state != self.final:
            self.problems.append(f"was told {self.final}, and later {state}")
        if state == "declined":
            self.was_given_up = answer.get("reason") in UNDECIDED
        if state in TERMINAL:
            self.final = state
            told = answer.get("reason", state)
            # Who kept a place wants since then what others wanted before, who may have been served.
            if (state == "sold_out" or told in ENDS_OF_WISHES) and not self.kept_place:
                self.ends_of_wishes.append((self.position, self.wish, told))
        if answer.get("reason") == "hold_lost":
            # Told so, they know that the next are others.
            self.holds_lost += 1
            self.tickets = ()
        if "hold" in answer:
            self.hold = (self.position, answer["hold"])
        if answer.get("reason") in ("refunded", "partly_refunded"):
            # They may have fewer since; which ones is looked at by who gave them back.
            if not {ticket["id"] for ticket in answer.get("tickets", [])} <= set(self.tickets):
                self.problems.append(f"had tickets {self.tickets}, and after a refund {answer}")
        elif state in ("reserved", "confirming", "purchased"):
            tickets = tuple(sorted(ticket["id"] for ticket in answer["tickets"]))
            # In the first answer after a late payment they are others, and told so once they are bought.
            had_to_change = self.takes_others and "declined" in self.states and state != "reserved"
            if self.tickets and tickets != self.tickets and not had_to_change:
                self.problems.append(f"had tickets {self.tickets}, and later {tickets}")
            if len(tickets) != self.quantity or answer["amount"] != self.sale.price * self.quantity:
                self.problems.append(f"asked for {self.quantity} and was told {answer}")
            self.tickets, self.amount = tickets, answer["amount"]

    def confirm(self, method):
        self.caller.prefer(0)
        body = {"request_id": self.request, "payment_method": method}
        if self.hold:
            body["hold"] = self.hold[1]
        if self.takes_others:
            body["other_seats"] = True
        status, answer = self.call("POST", "/api/ticket/confirm", body)
        # The hold may have ended, or seats may be lost, before the call came through: the poll says which.
        if status not in (202, 410, 409):
            self.problems.append(f"confirm was answered {status} {answer}")

    def cancel(self):
        self.caller.prefer(0)
        status, answer = self.call("DELETE", f"/api/request/{self.request}")
        if status not in (200, 409):
            self.problems.append(f"cancel was answered {status} {answer}")

    def take_fewer(self, answer):
        """Asks for what is left, if that is how this one is, and it keeps the place. Whether they are in line again."""
        fewer = answer.get("left", 0)
        if not self.takes_fewer or self.kept_place or not answer.get("answer_within_seconds") or fewer < 1:
            return False
        ended, ends, wish = self.position, list(self.ends_of_wishes), (self.quantity, self.adjacent)
        self.quantity, self.adjacent, self.final = fewer, False, None
        if not self.reserve():
            # Everything is sold by now: it stays as it was told.
            self.final, self.refusal, (self.quantity, self.adjacent) = "rejected", None, wish
            return False
        self.kept_place, self.ends_of_wishes = self.position == ended, ends
        return True

    # --- A life ---

    def run(self):
        try:
            self.live()
        except NoAnswer as problem:
            self.is_patient = False
            self.problems.append(f"gave up: {problem}")
        except Exception as problem:  # whatever it is, it is the test's finding
            self.problems.append(f"{type(problem).__name__}: {problem}")

    def live(self):
        if not self.reserve():
            return
        if self.plan == "twice":
            self.reserve()
        acted = set()
        while True:
            answer = self.poll()
            state = answer["state"]
            if state in TERMINAL and self.take_fewer(answer):
                continue
            if state in TERMINAL or state == "unknown":
                return
            if state == "reserved" and "held" not in acted:
                acted.add("held")
                if self.plan in ("pay", "twice"):
                    self.confirm(self.method)
                elif self.plan == "decline":
                    self.confirm(DECLINED)
                elif self.plan == "cancel":
                    self.cancel()
                elif self.plan == "hold":
                    return
            if state == "declined":
                if self.plan == "decline" and not self.tried_good_card:
                    self.tried_good_card = True
                    self.confirm(self.method)
                elif self.plan == "refuse" or "declined" in acted:
                    # Terminal once the hold has ended; the deadline goes away then.
                    last = self.last_poll()
                    self.was_given_up = last.get("reason") in UNDECIDED
                    if "expires_at" not in last:
                        self.final = "declined"
                        return
                acted.add("declined")
            if self.deadline and time.monotonic() > self.deadline:
                raise NoAnswer(f"no end in time; told {self.states}")
            time.sleep(self.sale.poll_pause)

    def last_poll(self):
        status, answer = self.call("GET", f"/api/request/{self.request}")
        return answer if status == 200 else {}

    @property
    def first_position(self):
        return self.earlier[0] if self.earlier else self.position

    @property
    def wish(self):
        return self.section, self.quantity, self.adjacent

    @property
    def states(self):
        return [state for state, _ in self.history]

    @property
    def was_granted(self):
        return any(state in ("reserved", "confirming", "purchased", "declined") for state in self.states)

    def __str__(self):
        return f"buyer {self.number} ({self.plan}, position {self.position}, {self.states or self.refusal})"


class Sale:
    """One event and the buyers who came for it."""

    _lock = threading.Lock()

    def __init__(self, stack, rng, seats=8, hold_seconds=3, partitions=None, urls=None, open=True, **fields):
        self.stack, self.rng = stack, rng
        self.price, self.seats = PRICE, seats
        self.poll_pause = 0.12
        self.salt = rng.randrange(1 << 32)
        self.urls = urls or [stack.url]
        self.organizer = Caller([stack.url], token(stack, "organizer", "organizer"), timeout=15)
        self.buyers = []
        self.event = self._create(hold_seconds, partitions, fields)
        if open:
            self.open()

    def _create(self, hold_seconds, partitions, fields):
        body = {
            "name": f"Concert {self.salt}",
            "location": "Town Hall, Springfield",
            "date": "2031-05-20T19:30:00Z",
            "currency": "USD",
            "hold_seconds": 10,
            "sections": [{"name": "Floor", "price": self.price, "capacity": self.seats}],
            **fields,
        }
        with Sale._lock:
            if partitions:
                # An event's partition is its id modulo 16, and ids come from a sequence.
                last = self.stack.sql("SELECT coalesce(max(id), 0) FROM event")[0][0]
                wanted = self.rng.choice(sorted(partitions))
                event = next(number for number in range(last + 1, last + 17) if number % 16 == wanted)
                self.stack.sql("SELECT setval(pg_get_serial_sequence('event', 'id'), %s, false)", event)
            status, answer = self.organizer.until_answered(
                "POST", "/api/admin/events", body, time.monotonic() + 60
            )
        if status != 201:
            raise Failure(f"the event was not made: {status} {answer}")
        # Shorter than an organizer may choose, so that a test need not wait that long.
        self.stack.sql("UPDATE event SET hold_seconds = %s WHERE id = %s", hold_seconds, answer["id"])
        return answer["id"]

    @property
    def prefix(self):
        return f"{{p{self.event % 16}}}:{self.event}:"

    def act(self, action, seconds=60, **body):
        status, answer = self.organizer.until_answered(
            "POST", f"/api/admin/events/{self.event}/{action}", body, time.monotonic() + seconds
        )
        if status not in (200, 202):
            raise Failure(f"{action}: {status} {answer}")

    def open(self):
        self.act("open")

    def queue(self):
        status, answer = self.organizer.until_answered(
            "GET", f"/api/event/{self.event}/queue", deadline=time.monotonic() + 30
        )
        return answer if status == 200 else {}

    def await_open(self, seconds=30):
        """Waits until there is a line, though it may be sold out already."""
        until(lambda: self.queue().get("state") in ("open", "sold_out"), seconds, "the line")

    def add(self, plan, quantity=1, **options):
        buyer = Buyer(self, len(self.buyers), plan, quantity, **options)
        self.buyers.append(buyer)
        return buyer

    def add_returning(self, lost):
        """The same person once more, who says which place they had."""
        buyer = self.add(lost.plan, lost.quantity)
        buyer.user, buyer.rejoin, buyer.hold = lost.user, lost.request, lost.hold
        buyer.caller.bearer = lost.caller.bearer
        return buyer

    def crowd(self, count, plans=None, quantities=(1, 1, 2)):
        """Adds buyers with plans drawn by the seed."""
        for _ in range(count):
            plan = self.rng.choice(plans or ("buy", "buy", "buy", "pay", "pay", *Buyer.PLANS))
            quantity = self.rng.choice(quantities)
            section, adjacent = self.rng.choice([None, "Floor"]), quantity > 1 and len(self.buyers) % 3 == 0
            self.add(plan, quantity, section=section, adjacent=adjacent)
        return self

    def buy(self, count, seconds):
        """So many more come, and buy one seat each."""
        buyers = [self.add(self.rng.choice(("buy", "pay"))) for _ in range(count)]
        self.start(seconds=seconds)
        until(lambda: all(buyer.final == "purchased" for buyer in buyers), seconds, f"{count} purchases")

    def await_captures(self, count):
        """Waits until the money of all of these is taken, and nothing else was begun at the provider."""
        until(
            lambda: [payment["status"] for payment in self.stack.payments(self.event)] == ["succeeded"] * count,
            20, "the captures",
        )  # fmt: skip

    def start(self, seconds=90, spread=0.0):
        """Sends the buyers who are not on their way yet, within `spread` seconds."""
        deadline = time.monotonic() + seconds
        for buyer in self.buyers:
            if buyer.ident is None:
                buyer.deadline = deadline
                buyer.start()
                if spread:
                    time.sleep(self.rng.uniform(0, 2 * spread / max(1, len(self.buyers))))
        return self

    def finish(self, seconds=120):
        deadline = time.monotonic() + seconds
        for buyer in self.buyers:
            buyer.join(max(0.1, deadline - time.monotonic()))
        return self

    @property
    def is_over(self):
        return not any(buyer.is_alive() for buyer in self.buyers)

    @property
    def requests(self):
        return sum(buyer.caller.calls for buyer in self.buyers)

    @property
    def purchases(self):
        return [buyer for buyer in self.buyers if buyer.final == "purchased"]


def seeded(seed, *names):
    """Randomness for one case, the same whenever that case runs with that seed."""
    return random.Random(f"{seed}:{':'.join(map(str, names))}")
