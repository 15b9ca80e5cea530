"""Rows 1, 2, 3, 19, 26 and, in part, 38: every fault point, generated.

A fault point is a place where a process waits for a server. At each of them, before and after the wait, the
process is killed, or stopped until its leases and its buyers' holds are over, or the wait fails, or takes long.
The process with the fault does the work alone until the fault strikes, so that it certainly comes by; then a
healthy one joins, and the first is started again (killed) or goes on (everything else). A case whose fault never
struck is a failure.
"""

import hashlib
import hmac
import json
import signal
import time
import uuid

from buyers import VISA, Caller, Sale, token
from cases import Case, fault_points
from hooks import Shop
from refunds import Refunds
from judge import Verdict, judge
from servers import FAULT_STRUCK, TAKEOVER_PERCENT, WEBHOOK_SECRET, Failure, until

ACTIONS = ("kill", "stop", "error", "delay")
SIDES = ("before", "after")
DELAY_MILLISECONDS = 1_500
HOLD_SECONDS = 3
# Past the lease (4 s), the take-over of entries (15 s), each scaled, and the hold.
STOP_SECONDS = max(4 * TAKEOVER_PERCENT / 100, 15 * TAKEOVER_PERCENT / 100, HOLD_SECONDS) + 1
STRIKE_SECONDS = 40
# Longer than others wait for an owner that does nothing (half its lease, scaled), and shorter than its lease.
HELP_SECONDS = 0.6


class Course:
    """What happens around one fault; a fault point that needs more than a sale overrides some of it."""

    role = "worker"
    # A healthy process of the role is there from the start. Otherwise the one with the fault is alone until it
    # struck, so that whatever there is to do comes by it.
    has_peer = False
    # The passage that is struck is drawn from the first so many.
    passages = 1
    latency = 0
    # Whether one sale after the other may be needed.
    sells_on = False
    buyers = 12
    plans = None
    # Whether the sale is in a partition of the process with the fault.
    is_owner = True
    # Of the process with the fault, besides, and what its buyers pay with.
    settings = {}
    method = VISA
    # Redis comes back with less than it had on purpose.
    loses = False

    def __init__(self, case):
        self.case = case

    def prepare(self):
        """Before the process with the fault is there, and while no healthy one is."""

    def opened(self, sale):
        """The event is open and nobody has come yet."""

    def during(self, sale):
        """Buyers are on their way."""

    def again(self, sale):
        """Called now and then until the fault struck."""

    def after(self, sale):
        """The fault struck, and the process is well again or replaced."""


def point_case(point, side, action, course):
    """What runs one fault point, side and action."""
    return lambda bench, rng: PointRun(point, side, action, course, bench.shared_stack(), rng).carry_out()


class PointRun:
    """One run of one fault point, side and action, on a stack that is used for many of them."""

    def __init__(self, point, side, action, course, stack, rng):
        self.point, self.side, self.action = point, side, action
        self.stack, self.rng = stack, rng
        self.course = course(self)

    def carry_out(self):
        stack, rng, course = self.stack, self.rng, self.course
        self.role, self.sick = course.role, f"sick-{course.role}"
        passage = rng.randint(1, course.passages)
        spec = f"{self.point}:{self.side}:{self.action}:{passage}:{DELAY_MILLISECONDS}"
        healthy = {"worker": "worker-b", "indexer": "indexer", "serve": None}[self.role]
        if healthy and not course.has_peer:
            stack.end(healthy)
        course.prepare()
        if course.latency:
            stack.set_provider(latency=course.latency)
        self.sick_port = stack.sick_port if self.role == "serve" else None
        self.start_sick(fault=spec, **course.settings)
        if self.role == "serve":
            # Buyers who find nobody there would go to the other server. What it does by itself may end it before.
            until(
                lambda: self.has_struck or not self.process.alive or '"message":"ready"' in self.process.log, 30, "the server"
            )
        if self.role == "worker":
            until(lambda: self.has_struck or stack.partitions_of(self.process), 30, "the worker's first partition")
        self.sales = []
        sale = self.start_sale()
        course.during(sale)
        self.await_strike(sale)
        if healthy and not course.has_peer:
            stack.start(healthy, self.role, ready=False)
        self.recover()
        course.after(sale)
        for each in self.sales:
            each.finish()
        if course.latency:
            stack.set_provider()
        self.retire()
        if self.role == "worker" and "worker-b" not in stack.roles:
            stack.start("worker-b", "worker")
        verdict = Verdict()
        for each in self.sales:
            verdict.add(judge(each, lost=course.loses))
        return verdict

    # --- The process with the fault ---

    def start_sick(self, **changes):
        if self.sick_port:
            changes["port"] = self.sick_port
        # It may die before it is ready.
        self.process = self.stack.start(self.sick, self.role, ready=False, **changes)
        self.has_fault = "fault" in changes

    @property
    def has_struck(self):
        return FAULT_STRUCK in self.process.log

    def start_sale(self):
        stack = self.stack
        owner = self.process if self.course.is_owner else stack.roles["worker-b"]
        partitions = stack.partitions_of(owner) if self.role == "worker" and owner.alive else None
        # Buyers come to the sick server first, and go to the healthy one when it does not answer.
        urls = [f"http://127.0.0.1:{self.sick_port}", stack.url] if self.sick_port else None
        sale = Sale(stack, self.rng, hold_seconds=HOLD_SECONDS, partitions=partitions, urls=urls, open=False)
        sale.open()
        self.sales.append(sale)
        self.course.opened(sale)
        sale.crowd(self.course.buyers, self.course.plans)
        for buyer in sale.buyers:
            buyer.method = self.course.method
        return sale.start()

    def await_strike(self, sale):
        deadline = time.monotonic() + STRIKE_SECONDS
        while not self.has_struck:
            if not self.process.alive:
                # By the fault, perhaps, between both looks.
                if self.has_struck:
                    return
                raise Failure(f"{self.sick} ended with {self.process.code}: {self.process.log[-1500:]}")
            if time.monotonic() > deadline:
                raise Failure(f"{self.point} was never crossed")
            self.course.again(sale)
            if self.sales[-1].is_over and self.course.sells_on:
                # Nobody happened to do what leads there: others come for another event.
                self.start_sale()
            time.sleep(0.05)

    def recover(self):
        process = self.process
        if self.action == "kill":
            until(lambda: not process.alive, what="the end of the killed process")
            if process.code != -signal.SIGKILL:
                raise Failure(f"{self.sick} ended with {process.code}, not by the kill")
            time.sleep(0.1)
            self.start_sick()
            self.process.await_log('"message":"ready"')
        elif self.action == "stop":
            until(lambda: process.is_stopped, what="the stop")
            time.sleep(STOP_SECONDS)
            process.resume()
        elif self.action == "delay":
            time.sleep(DELAY_MILLISECONDS / 1000)

    def retire(self):
        """Ends the process as an operator would; it may have been told so before."""
        codes = self.stack.end(self.sick)
        if codes and codes[0] not in (0, 75):
            raise Failure(f"{self.sick} ended with {codes[0]}: {self.process.log[-1500:]}")


# --- Courses ---


class Lease(Course):
    has_peer = True


class Handover(Course):
    """Crossed when the worker is told to end."""

    def during(self, sale):
        # It may also hand over before, to a worker that has not been forgotten yet.
        until(lambda: self.case.has_struck or any(buyer.was_granted for buyer in sale.buyers), what="a grant")
        if not self.case.has_struck:
            self.case.process.send(signal.SIGTERM)


class Owner(Course):
    passages = 2


class ClockStep(Course):
    """Redis's clock seems to have stepped, as far as the partitions' owner can see."""

    sells_on = True
    plans = ("buy", "pay")

    def again(self, sale):
        client = sale.stack.redis.client
        key = f"{{p{sale.event % 16}}}:clock"
        # The owner has looked at it before, and puts it back.
        if self.case.process.alive and not client.exists(key):
            time.sleep(0.6)
            client.set(key, self.case.rng.choice([-3_600_000, 3_600_000]))


class Loading(Course):
    """Three times for each event of a partition; that of the sale is not the first where a stack is used again."""

    passages = 8
    sells_on = True


class Comparison(Loading):
    """Once in a process for each event."""

    passages = 3


class Batches(Course):
    passages = 3
    sells_on = True


class Ends(Course):
    """Requests that end without a purchase, each second some."""

    plans = ("buy", "cancel", "cancel", "leave")
    passages = 3
    sells_on = True


class StrayLock(Course):
    """Somebody's lock on a ticket that the owner knows nothing of, for a while."""

    def opened(self, sale):
        sale.stack.redis.client.set(f"{sale.prefix}l:1", 99_999, px=4_000)


class OlderCopy(Course):
    """The line is shorter than it was, as after a failover to a replica that lagged."""

    plans = ("buy", "pay")
    sells_on = True
    loses = True

    def again(self, sale):
        client = sale.stack.redis.client
        if int(client.hget(f"{sale.prefix}m", "head") or 0) == 0:
            return
        # The owner looks at the line once a second at least, and so has seen it.
        time.sleep(1.2)
        # In one step: the line may be noticed to be old, and removed, at any moment. A stream takes no id below its
        # last one; that of an older copy is lower, too.
        client.eval(
            "local lines = redis.call('HKEYS', ARGV[1] .. 'kn') "
            "for i, n in ipairs(lines) do lines[i] = ARGV[1] .. 'q:' .. n "
            "if redis.call('XLEN', lines[i]) > 0 then return end end "
            "if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'tail', 0) "
            "for _, line in ipairs(lines) do redis.call('DEL', line) end end",
            1, f"{sale.prefix}m", sale.prefix,
        )  # fmt: skip


class OtherDatabase(Course):
    """Nobody knows any more which server PostgreSQL was when its purchases were compared with the provider's books."""

    def again(self, sale):
        sale.stack.redis.client.delete("{workers}:database")


class Closing(Course):
    plans = ("buy", "pay")
    buyers = 8

    def during(self, sale):
        # An earlier sale may be archived, and strike, before this one is over.
        until(lambda: self.case.has_struck or sale.is_over, 60, "the end of the sale")
        sale.act("close")


class Confirm(Course):
    passages = 2
    sells_on = True


class Declined(Course):
    """Cards that are refused."""

    plans = ("decline", "refuse", "buy")
    sells_on = True


class Helped(Course):
    """The owner stands still, and another worker looks after its payments."""

    has_peer = True
    is_owner = False
    # All others' partitions are looked at when the worker starts, and now and then.
    passages = 60
    plans = ("buy", "pay")

    def during(self, sale):
        owner = sale.stack.roles["worker-b"]
        until(lambda: self.case.has_struck or any(buyer.was_granted for buyer in sale.buyers), what="a grant")
        owner.pause()
        time.sleep(HELP_SECONDS)
        owner.resume()


class SlowProvider(Course):
    """Payments that take longer than a worker may be silent about them."""

    latency = 2_500
    plans = ("buy", "pay")


class Late(Course):
    """Payments that the provider decides after they were given up, and their holds had ended."""

    settings = {"payment_wait_seconds": 1}
    method = "pm_stub_processing"
    plans = ("buy",)
    buyers = 4
    sells_on = True

    def prepare(self):
        self.case.stack.set_provider(processing_ms=4_500)

    def after(self, sale):
        for each in self.case.sales:
            each.finish()
            until(
                lambda each=each: {p["status"] for p in each.stack.payments(each.event)} <= {"succeeded", "canceled"},
                60, "everything at the provider to be closed",
            )  # fmt: skip
        self.case.stack.set_provider()


class LeftBehind(Course):
    """Somebody takes entries and is never heard of again."""

    def prepare(self):
        self.ghost = f"ghost-{uuid.uuid4().hex[:8]}"

    def during(self, sale):
        stream = f"{{p{sale.event % 16}}}:c"
        client = sale.stack.redis.client
        # In one step with its taking, so that the worker cannot be faster.
        entry = client.pipeline(transaction=True)
        # Of an event that PostgreSQL does not know, in the same partition: it ends without a payment.
        event = 1_000_000_000 + sale.event % 16
        entry.xadd(stream, {"e": event, "g": 1, "p": 1, "t": 1, "k": "1", "a": 0, "m": VISA, "u": "nobody"})
        entry.xreadgroup("workers", self.ghost, {stream: ">"}, count=100)
        entry.execute()

    def after(self, sale):
        stream = f"{{p{sale.event % 16}}}:c"
        client = sale.stack.redis.client
        until(
            lambda: not client.xpending_range(stream, "workers", "-", "+", 10, self.ghost),
            30, "the ghost's entries to be taken over",
        )  # fmt: skip


class Poison(Course):
    """An entry that no database accepts: its ticket's number is too large for it."""

    def during(self, sale):
        client = sale.stack.redis.client
        generation = client.hget(f"{sale.prefix}m", "generation")
        fields = {
            "e": sale.event, "g": generation, "p": 4_000_000, "t": 1, "k": str(1 << 40), "a": 100, "m": VISA, "u": "x",
        }  # fmt: skip
        client.xadd(f"{{p{sale.event % 16}}}:c", fields)
        client.publish(f"{{p{sale.event % 16}}}:k", "")

    def after(self, sale):
        client = sale.stack.redis.client
        until(
            lambda: not client.xpending(f"{{p{sale.event % 16}}}:c", "workers")["pending"],
            60, "the poisoned entry to be buried",
        )  # fmt: skip


class Orphan(Course):
    """Money that is reserved for nobody, noted to be given back."""

    def during(self, sale):
        payment = sale.stack.authorise(f"{sale.event}-1-3000000-1")
        sale.stack.sql(
            "INSERT INTO outbox (event_id, generation, position, kind, payment_id, available_at) "
            "VALUES (%s, 1, 3000000, 'cancel', %s, now())", sale.event, payment["id"],
        )  # fmt: skip


class Refund(Course):
    """Somebody gets their money back, and others their seats."""

    passages = 2
    plans = ("buy", "pay")

    def during(self, sale):
        self.back = Refunds(sale)

    def again(self, sale):
        self.back.sale = sale
        self.back.ask(1)

    def after(self, sale):
        for each in self.case.sales:
            each.finish()
        self.back.await_ends()


class Cancelled(Course):
    """The event does not take place."""

    plans = ("buy", "pay")

    def during(self, sale):
        until(lambda: self.case.has_struck or any(b.final == "purchased" for b in sale.buyers), 40, "a purchase")
        sale.act("cancel", reason="Flooded")

    def after(self, sale):
        path = f"/api/admin/events/{sale.event}/cancel"
        until(
            lambda: sale.organizer.until_answered("GET", path, deadline=time.monotonic() + 10)[1]["state"] == "done",
            60, "the cancellation's end",
        )  # fmt: skip


class News(Course):
    """Somebody gives money back at the provider's dashboard."""

    passages = 3
    plans = ("buy", "pay")

    def during(self, sale):
        self.payment = None

    def again(self, sale):
        if self.payment is None:
            done = [p["id"] for p in sale.stack.payments(sale.event) if p["status"] == "succeeded"]
            if done:
                self.payment = done[0]
                form = {"payment_intent": self.payment, "amount": 100}
                sale.stack.stub("POST", "/stub/dashboard/refunds", form=form)

    def after(self, sale):
        if self.payment:
            until(
                lambda: sale.stack.sql("SELECT 1 FROM refund WHERE event_id = %s AND who = 'provider'", sale.event),
                60, "the refund to be known",
            )  # fmt: skip


class Books(Course):
    """Somebody loses what is owed the provider, by hand; workers put it right by themselves."""

    passages = 2
    plans = ("buy", "pay")

    def again(self, sale):
        # Sold an hour ago, captured, and neither noted so nor noted as owed.
        sale.stack.sql(
            "UPDATE purchase SET captured_at = NULL, updated_at = now() - interval '1 h' WHERE event_id = %s "
            "AND state = 'sold' AND captured_at IS NOT NULL AND updated_at > now() - interval '1 h'", sale.event,
        )  # fmt: skip

    def after(self, sale):
        for each in self.case.sales:
            each.finish()
            until(
                lambda: not each.stack.sql(  # noqa: B023
                    "SELECT 1 FROM purchase WHERE event_id = %s AND state = 'sold' AND captured_at IS NULL", each.event  # noqa: B023
                ),
                60, "the books to be put right",
            )  # fmt: skip


class Draft(Course):
    """A sale that opens by the clock."""

    def during(self, sale):
        self.draft = Sale(sale.stack, self.case.rng, open=False)
        sale.stack.sql(
            "UPDATE event SET onsale_at = now() + interval '200 ms' WHERE id = %s", self.draft.event
        )

    def after(self, sale):
        self.draft.await_open()


class Intake(Course):
    role = "serve"
    passages = 3
    sells_on = True


class DoubleClick(Intake):
    plans = ("twice", "buy", "twice")


class UnknownSection(Intake):
    passages = 1
    sells_on = False

    def again(self, sale):
        caller = Caller(sale.urls, token(sale.stack, f"lost-{sale.event}"))
        status, answer = caller.until_answered(
            "POST", "/api/ticket/reserve", {"event_id": sale.event, "quantity": 1, "section": "Nowhere"},
            time.monotonic() + 30,
        )  # fmt: skip
        # Sold out meanwhile is also an answer.
        if status not in (422, 410):
            raise Failure(f"an unknown section was answered {status} {answer}")


class KnownSection(Intake):
    passages = 1


class Cancelling(Intake):
    passages = 2
    plans = ("cancel", "buy", "cancel")


class Past(Intake):
    """A buyer of a sale that has left Redis."""

    passages = 1
    sells_on = False
    plans = ("buy", "pay")

    def during(self, sale):
        sale.finish()
        sale.act("close")
        client = sale.stack.redis.client
        until(lambda: not client.exists(f"{sale.prefix}m"), 30, "the sale to leave Redis")

    def again(self, sale):
        buyer = next(buyer for buyer in sale.buyers if buyer.request)
        buyer.deadline = time.monotonic() + 30
        buyer.cancel()
        buyer.confirm(VISA)


class Hint(Intake):
    """The provider tells of a payment; it is as well when that is not heard."""

    passages = 1
    sells_on = False

    def message(self, sale):
        metadata = {"onsale_event": str(sale.event), "onsale_generation": "1", "onsale_position": "1"}
        return {"type": "payment_intent.succeeded", "data": {"object": {"metadata": metadata}}}

    def again(self, sale):
        body = self.message(sale)
        now = int(time.time())
        signature = hmac.new(WEBHOOK_SECRET.encode(), f"{now}.{json.dumps(body)}".encode(), hashlib.sha256).hexdigest()
        status, answer = Caller(sale.urls).until_answered(
            "POST", "/api/payment/webhook", body, time.monotonic() + 30,
            {"Stripe-Signature": f"t={now},v1={signature}"},
        )  # fmt: skip
        if status != 200:
            raise Failure(f"a message of the provider was answered {status} {answer}")


class Told(Course):
    """A system outside is told of the sale."""

    plans = ("buy", "pay", "cancel")
    sells_on = True

    def prepare(self):
        self.shop = Shop(self.case.stack)

    def after(self, sale):
        for each in self.case.sales:
            each.finish()
            self.shop.expect_all(each)
        self.shop.close()


class HintOfRefund(Hint):
    """The same of something that was given back."""

    def message(self, sale):
        return {"type": "refund.updated", "data": {"object": {"object": "refund", "payment_intent": "pi_nobodys"}}}


class Index(Course):
    role = "indexer"
    buyers = 6
    plans = ("buy", "pay")


class StrangeDocument(Index):
    """The index has an event that does not exist."""

    def prepare(self):
        self.case.stack.sql(
            "INSERT INTO search_document_v5 (id, version, is_postponed, shown_date, date, min_price, max_price, "
            "lowest_price, available, held, name_words, text_hash, words, name, location, description, "
            "currency, onsale_state, open_sections, local_date, standing, time_zone) "
            "VALUES (%s, 1, false, 0, 0, 1, 1, 1, 1, 0, 1, 0, 'nothing', 'Nothing', 'Nowhere', '', 'USD', "
            "'open', '[]', 0, 0, 'UTC') ON CONFLICT DO NOTHING", 900_000_000 + self.case.rng.randrange(1000),
        )  # fmt: skip


COURSES = {
    "lease.announce": Lease,
    "lease.renew": Lease,
    "lease.holders": Lease,
    "lease.acquire": Lease,
    "lease.release": Handover,
    "lease.epoch": Owner,
    "lease.own": Owner,
    "lease.events": Owner,
    "lease.withdraw": Handover,
    "reserve.load": Course,
    "reserve.compare": Comparison,
    "reserve.seats": Loading,
    "reserve.publish": Course,
    "reserve.read": Batches,
    "reserve.commit": Batches,
    "reserve.tick": Batches,
    "reserve.locks": StrayLock,
    "reserve.ends": Ends,
    "reserve.late": Late,
    "reserve.markLost": OlderCopy,
    "reserve.archive": Closing,
    "forgotten.look": Course,
    "forgotten.halt": Course,
    "database.look": Lease,
    "database.compare": OtherDatabase,
    "confirm.next": Helped,
    "confirm.take": Confirm,
    "confirm.take_over": Confirm,
    "confirm.deliveries": LeftBehind,
    "confirm.keep": SlowProvider,
    "holds.end": Owner,
    "holds.clock": ClockStep,
    "confirm.intent": Confirm,
    "confirm.late": Late,
    "confirm.authorise": Confirm,
    "confirm.settle": Confirm,
    "confirm.finish": Confirm,
    "confirm.capture": Confirm,
    "confirm.captured": Confirm,
    "confirm.void": Orphan,
    "confirm.bury": Poison,
    "confirm.retire": Handover,
    "confirm.forget": Course,
    "confirm.declined": Declined,
    "outbox.due": Confirm,
    "outbox.late": Late,
    "outbox.stalled": Confirm,
    "refund.cancel": Cancelled,
    "news.due": Course,
    "news.ask": News,
    "news.write": News,
    "books.take": Books,
    "books.look": Books,
    "books.ask": Books,
    "books.mend": Books,
    "books.note": Books,
    "refund.due": Refund,
    "refund.make": Refund,
    "refund.settle": Refund,
    "refund.tell": Refund,
    "events.open_due": Lease,
    "events.publish": Draft,
    "events.reconcile": Lease,
    "webhooks.endpoints": Told,
    "webhooks.news": Told,
    "webhooks.due": Told,
    "webhooks.send": Told,
    "webhooks.sent": Told,
    "webhooks.tidy": Told,
    "intake.sections": KnownSection,
    "intake.settings": UnknownSection,
    "intake.enqueue": Intake,
    "intake.place": DoubleClick,
    "intake.confirm": Intake,
    "intake.cancel": Cancelling,
    "intake.past": Past,
    "intake.hint": Hint,
    "intake.news": HintOfRefund,
    "intake.declines": Intake,
    "index.changed": Index,
    "index.events": Index,
    "index.queues": Index,
    "index.document": Index,
    "index.prepare": Index,
    "index.versions": Index,
    "index.read": Index,
    "index.claim": Index,
    "index.write": Index,
    "index.remove": StrangeDocument,
    "index.written": Index,
}

ROW_OF = {
    "lease": 2, "reserve": 2, "holds": 2, "events": 2, "forgotten": 2, "database": 2, "confirm": 3, "outbox": 3,
    "intake": 1, "index": 19, "refund": 26, "news": 26, "books": 26,
    "webhooks": 38}


def untested(bench, rng):
    raise Failure("no course is known that crosses this fault point")


def generated(only=None):
    """All cases of all fault points, in the order of their names."""
    cases = []
    for point in fault_points():
        if only and point not in only:
            continue
        number = ROW_OF.get(point.split(".")[0], 3)
        if point not in COURSES:
            cases.append(Case(number, point, untested, 0, point))
            continue
        for action in ACTIONS:
            for side in SIDES:
                run = point_case(point, side, action, COURSES[point])
                cost = 14 if action == "stop" else 9
                cases.append(Case(number, f"{point} {side} {action}", run, cost, point))
    return cases
