"""Rows about what is large: a line of very many when its sale changes, and an event with as many seats as there may be."""

import base64
import contextlib
import hashlib
import os
import re
import socket
import statistics
import time
import urllib.request

from buyers import VISA, Caller, Sale, token
from cases import row
from judge import Verdict, run_audit
from scenes import expect, expect_alive
from servers import until

# As many as a run can afford; `make bench` measures a million.
WAITING = int(os.environ.get("FAULTS_WAITING", 50_000))
SEATS = 200_000
SAMPLE = 300
POLLS_A_ROUND = 3_000
ROUNDS = 7
# A poll in any state may cost so much more than one of somebody who waits.
DEARER = 1.25
TURN_SECONDS = 0.05
REDIS_MICROSECONDS = 20_000


def fill(sale, first, last, payload="1"):
    """Puts buyers in line as the intake does, without HTTP. The payload is the wish, and how it is paid at once."""
    quantity = payload.split(" ")[0]
    client = sale.stack.redis.client
    for start in range(first, last, 1_000):
        pipeline = client.pipeline(transaction=False)
        for number in range(start, min(start + 1_000, last)):
            user = name(sale, number)
            short = base64.urlsafe_b64encode(hashlib.blake2b(user.encode(), digest_size=16).digest()[:9]).decode()
            pipeline.execute_command(
                "FCALL", "onsale_enqueue", 1, sale.prefix + "m", short, quantity, payload, user, ""
            )
        answers = pipeline.execute()
        expect(all(answer[0] == "queued" for answer in answers), f"the line was not filled: {answers[:3]}")


def name(sale, number):
    return f"crowd-{sale.event}-{number}"


def ask_again(sale, numbers, quantity=1):
    """The ids of those who are in line already, by their number."""
    requests = {}
    for number in numbers:
        caller = Caller([sale.stack.url], token(sale.stack, name(sale, number)))
        body = {"event_id": sale.event, "quantity": quantity}
        status, answer = caller.until_answered("POST", "/api/ticket/reserve", body, time.monotonic() + 20)
        caller.close()
        expect(status in (200, 202), f"a place was asked for again: {status} {answer}")
        requests[number] = answer["request_id"]
    return requests


def poll_many(stack, requests, count):
    """Sends so many polls over one connection, a hundred at a time. Returns how often each state was told."""
    states = {}
    with socket.create_connection(("127.0.0.1", stack.serve_port), timeout=30) as connection:
        reader = connection.makefile("rb")
        for start in range(0, count, 100):
            batch = [requests[number % len(requests)] for number in range(start, start + 100)]
            text = "".join(f"GET /api/request/{request} HTTP/1.1\r\nHost: x\r\n\r\n" for request in batch)
            connection.sendall(text.encode())
            for _ in batch:
                status = int(reader.readline().split(b" ")[1])
                length = 0
                while (line := reader.readline()) != b"\r\n":
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                found = re.search(rb'"state":"([a-z_]+)"', reader.read(length))
                state = found[1].decode() if found else str(status)
                states[state] = states.get(state, 0) + 1
    return states


def processor_seconds(process):
    """What it has used of processors, and its children, to the nanosecond as far as the kernel tells."""
    total = 0
    for task in os.listdir(f"/proc/{process.pid}/task"):
        with contextlib.suppress(OSError), open(f"/proc/{process.pid}/task/{task}/schedstat") as file:
            total += int(file.read().split()[0])
    return total / 1e9


def metric(stack, wanted):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(stack.operators_url + "/metrics", timeout=20) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(wanted + " "):
                return float(line.rsplit(" ", 1)[1])
    return 0.0


def waiting_sale(stack, rng, seats=4, hold_seconds=600):
    """An event on sale of which nobody gets anything yet, and a line."""
    sale = Sale(stack, rng, seats=seats, hold_seconds=hold_seconds, open=False, queue_limit=2_000_000)
    set_rate(sale, 0)
    sale.open()
    sale.await_open()
    return sale


def set_rate(sale, rate):
    status, answer = sale.organizer.until_answered(
        "PUT", f"/api/admin/events/{sale.event}/rate", {"rate": rate}, time.monotonic() + 20
    )
    expect(status == 200, f"rate: {status} {answer}")


def pause(sale):
    sale.act("pause")
    return "queued"


def sell_out(sale):
    """The first in line pays at once for the only seat."""
    set_rate(sale, None)
    until(lambda: sale.queue().get("state") == "sold_out", 60, "the end of the seats")
    return "sold_out"


def close_with_holds(sale):
    """Two hold seats, so that the line stays in Redis."""
    set_rate(sale, 2)
    until(lambda: sale.queue()["head"] >= 2, 20, "the first holds")
    set_rate(sale, 0)
    sale.act("close")
    return "rejected"


def close_for_good(sale):
    sale.act("close")
    until(lambda: not sale.stack.redis.client.exists(sale.prefix + "m"), 120, "the end of the line in Redis")
    return "rejected"


def let_leave(sale, requests):
    for number, request in requests.items():
        caller = Caller([sale.stack.url], token(sale.stack, name(sale, number)))
        status, answer = caller.until_answered("DELETE", f"/api/request/{request}", deadline=time.monotonic() + 20)
        caller.close()
        expect(status == 200, f"leaving: {status} {answer}")
    return "cancelled"


CHANGES = {"paused": pause, "sold out": sell_out, "closed": close_with_holds, "closed and archived": close_for_good}


def polls_cost_the_same(bench, rng, change):
    stack = bench.new_stack().up()
    verdict = Verdict()
    still = waiting_sale(stack, rng)
    fill(still, 0, SAMPLE)
    sale = waiting_sale(stack, rng, seats=1 if change == "sold out" else 4)
    first = 0
    if change == "sold out":
        fill(sale, 0, 1, f"1 {VISA}")
        first = 1
    fill(sale, first, WAITING)
    # Not the first ones, who get seats or hold them.
    sample = ask_again(sale, rng.sample(range(10, WAITING), SAMPLE))
    reference = list(ask_again(still, range(SAMPLE)).values())
    if change == "left":
        wanted = let_leave(sale, sample)
    else:
        wanted = CHANGES[change](sale)
    requests = list(sample.values())
    server = stack.roles["serve"]
    # What is not known yet is read.
    poll_many(stack, requests, POLLS_A_ROUND)
    poll_many(stack, reference, POLLS_A_ROUND)
    remembered = metric(stack, "onsale_polls_from_memory_total")
    ratios, polls = [], 0
    for _ in range(ROUNDS):
        costs = []
        for asked, state in ((reference, "queued"), (requests, wanted)):
            before = processor_seconds(server)
            told = poll_many(stack, asked, POLLS_A_ROUND)
            costs.append(processor_seconds(server) - before)
            polls += POLLS_A_ROUND
            if set(told) != {state}:
                verdict.violations.append(f"I4 {change}: told {told}, not {state}")
        ratios.append(costs[1] / costs[0])
    verdict.requests = polls
    ratio = statistics.median(ratios)
    if ratio > DEARER:
        verdict.violations.append(f"P8 {change}: a poll costs {ratio:.2f} times that of somebody who waits: {ratios}")
    # Nobody is asked: Redis and PostgreSQL would pay for it, and not the server.
    asked = polls - (metric(stack, "onsale_polls_from_memory_total") - remembered)
    if asked > polls / 100:
        verdict.violations.append(f"P8 {change}: {asked:.0f} of {polls} polls were not answered from memory")
    verdict.violations += run_audit(stack, "--event", sale.event)[1]
    verdict.sold = stack.sql("SELECT count(*) FROM purchase WHERE state = 'sold'")[0][0]
    expect_alive(*stack.roles.values())
    return verdict


for change in (*CHANGES, "left"):
    row(30, cost=25, name=f"a line of {WAITING:,} is {change}: polls cost what they cost before")(
        lambda bench, rng, change=change: polls_cost_the_same(bench, rng, change)
    )


# --- 200,000 seats ---


def favour(*processes):
    """They run when they can: how long something takes is to be their own doing, not that of a busy machine."""
    for process in processes:
        for task in os.listdir(f"/proc/{process.pid}/task"):
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, int(task), -20)


class Watch:
    """What stood still, and what made it: turns of the server's loop, and calls of Redis."""

    def __init__(self, stack):
        self.stack = stack
        favour(stack.roles["serve"], stack.redis.process)
        # A rewrite of its file would make each write copy a page; syncing is not a call's own doing either.
        stack.redis.client.config_set("appendonly", "no")
        stack.redis.client.config_set("slowlog-log-slower-than", REDIS_MICROSECONDS)
        stack.redis.client.config_set("slowlog-max-len", 1_000)
        stack.redis.client.slowlog_reset()
        self.worst = 0.0
        self.turns = []

    def step(self, what):
        """Says of what was done since the step before whether it stopped the loop."""
        seconds = metric(self.stack, "onsale_loop_turn_processor_seconds_max")
        if seconds > max(self.worst, TURN_SECONDS):
            self.turns.append(f"P7 {what}: a turn of the server's loop of {seconds * 1000:.0f} ms")
        self.worst = max(self.worst, seconds)

    def violations(self):
        """What stopped Redis by itself. Whatever takes that long and does one small thing, within a function too, says how
        long a busy machine keeps Redis waiting; a function was slow beyond that, and more than once unless it was very slow."""
        waited, slow = 0, {}
        for entry in self.stack.redis.client.slowlog_get(1_000):
            command = entry["command"]
            words = (command if isinstance(command, str) else command.decode(errors="replace")).split()
            if words[0] == "FCALL":
                slow.setdefault(words[1], []).append(entry["duration"])
            else:
                waited = max(waited, entry["duration"])
        found = list(self.turns)
        for function, times in sorted(slow.items()):
            beyond = [time for time in times if time > REDIS_MICROSECONDS + waited]
            if len(beyond) > 1 or max(times) > 5 * REDIS_MICROSECONDS + waited:
                found.append(
                    f"P7 {function} stopped Redis for {max(times) / 1000:.0f} ms, and {len(beyond)} times for more than"
                    f" {(REDIS_MICROSECONDS + waited) / 1000:.0f} ms"
                )
        return found


def large_sale(stack, rng, hold_seconds):
    sections = [
        {"name": f"Block {number}", "price": 2500, "rows": [{"row": f"R{n}", "seats": 50} for n in range(100)]}
        for number in range(SEATS // 5_000)
    ]
    announced = "2031-01-01T09:00:00Z"
    return Sale(
        stack, rng, hold_seconds=hold_seconds, open=False, sections=sections, queue_limit=2_000_000, onsale_at=announced
    )


def get(sale, path, user="visitor"):
    caller = Caller([sale.stack.url], token(sale.stack, user), timeout=30)
    status, answer = caller.until_answered("GET", path, deadline=time.monotonic() + 60)
    caller.close()
    expect(status == 200, f"{path}: {status} {answer}")
    return answer


def await_head(sale, head):
    until(lambda: sale.queue().get("head", 0) >= head, 120, "the grants", pause=0.2)


@row(31, cost=75)
def an_event_of_200000_seats_from_draft_to_archive(bench, rng):
    """Drafted, looked at, opened, held to the last seat, taken over, paid, given back, expired, closed and archived."""
    stack = bench.new_stack().up()
    watch = Watch(stack)
    sale = large_sale(stack, rng, hold_seconds=30)
    watch.step("making the event")
    event = f"/api/event/{sale.event}"
    expect(sale.queue()["available"] == SEATS, "the draft's tickets were not counted")
    expect(get(sale, event)["total"] == SEATS, "the page does not know all tickets")
    expect(len(get(sale, event + "/tickets")["tickets"]) == SEATS, "not all seats are listed")
    watch.step("looking at the draft")
    sale.open()
    sale.await_open()
    sale.act("pause")
    parties = SEATS // 4
    fill(sale, 0, parties, "4")
    sample = ask_again(sale, rng.sample(range(parties), SAMPLE), 4)
    watch.step("joining")
    sale.act("resume")
    await_head(sale, parties)
    requests = list(sample.values())
    poll_many(stack, requests, 1_000)
    answer = get(sale, f"/api/request/{requests[0]}")
    expect(answer["state"] == "reserved" and all("seat" in ticket for ticket in answer["tickets"]), f"told {answer}")
    get(sale, event)
    get(sale, event + "/tickets")
    watch.step("holding all seats")
    # Another worker takes over a line of which everything is held.
    stack.end("worker-b")
    stack.start("worker-c", "worker")
    favour(stack.roles["worker-c"])
    buyers = list(sample.items())
    for number, request in buyers[:50]:
        caller = Caller([stack.url], token(stack, name(sale, number)))
        caller.until_answered(
            "POST", "/api/ticket/confirm", {"request_id": request, "payment_method": VISA}, time.monotonic() + 20
        )
        caller.close()
    for number, request in buyers[50:100]:
        caller = Caller([stack.url], token(stack, name(sale, number)))
        caller.until_answered("DELETE", f"/api/request/{request}", deadline=time.monotonic() + 20)
        caller.close()
    paid = [request for _, request in buyers[:50]]
    until(lambda: set(poll_many(stack, paid, 100)) == {"purchased"}, 60, "the purchases", pause=0.3)
    watch.step("paying and giving back")
    # Nearly fifty thousand holds end within a second or two of each other.
    until(lambda: sale.queue().get("held") == 0, 120, "the end of all holds", pause=0.5)
    watch.step("the end of all holds")
    sale.act("close")
    until(lambda: not stack.redis.client.exists(sale.prefix + "m"), 120, "the end of the line in Redis", pause=0.5)
    told = poll_many(stack, requests, 1_000)
    expect(set(told) == {"purchased", "cancelled", "expired"}, f"after the sale {told} were told")
    get(sale, event)
    get(sale, event + "/tickets")
    watch.step("closing")
    verdict = Verdict(requests=parties, accepted=parties)
    verdict.violations += run_audit(stack, "--event", sale.event)[1]
    verdict.violations += watch.violations()
    verdict.sold = stack.sql("SELECT count(*) FROM purchase WHERE state = 'sold'")[0][0]
    verdict.captured = sum(payment["amount_received"] for payment in stack.payments(sale.event))
    expect(verdict.sold == 50, f"{verdict.sold} purchases of 50")
    expect_alive(*stack.roles.values())
    return verdict


@row(31, cost=45)
def a_line_with_200000_seats_held_is_lost(bench, rng):
    """Redis comes back with an older copy of it: it ends at once, and its seats are let go of in steps."""
    stack = bench.new_stack().up()
    sale = large_sale(stack, rng, hold_seconds=600)
    sale.open()
    sale.await_open()
    sale.act("pause")
    parties = SEATS // 4
    fill(sale, 0, parties, "4")
    sale.act("resume")
    await_head(sale, parties)
    client = stack.redis.client
    locked = list(range(1, SEATS, SEATS // 500))
    expect(all(client.mget([f"{sale.prefix}l:{ticket}" for ticket in locked])), "not every seat is locked")
    request = ask_again(sale, [rng.randrange(parties - 10)], 4)
    favour(stack.roles["worker-b"])
    watch = Watch(stack)
    generation = client.hget(sale.prefix + "m", "generation")
    # Places that its owner knows of are to be given out again.
    client.hset(sale.prefix + "m", "tail", parties - 5)
    client.publish(f"{{p{sale.event % 16}}}:w", str(sale.event))
    until(
        lambda: client.hget(sale.prefix + "m", "generation") not in (None, generation),
        60, "the line's next life", pause=0.1,
    )  # fmt: skip
    until(lambda: not any(client.mget([f"{sale.prefix}l:{ticket}" for ticket in locked])), 60, "the locks' end")
    until(lambda: sale.queue().get("available", 0) >= SEATS - 1, 60, "the seats of the new line", pause=0.3)
    answer = get(sale, f"/api/request/{list(request.values())[0]}")
    verdict = Verdict(requests=parties, accepted=parties)
    if (answer["state"], answer.get("reason")) != ("rejected", "queue_lost"):
        verdict.violations.append(f"I4 of a lost line is told {answer}")
    watch.step("losing the line")
    verdict.violations += run_audit(stack, "--event", sale.event)[1]
    verdict.violations += watch.violations()
    expect_alive(*stack.roles.values())
    return verdict
