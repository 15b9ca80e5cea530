"""What several rows have in common: a sale during which something goes wrong."""

import contextlib
import threading
import time

from buyers import Sale
from judge import judge
from servers import Failure, Process, until

# A hold of these scenes: long enough for something to go wrong before it ends.
HOLD_SECONDS = 4
# What a look at Redis, and a loaded machine, add to a second.
SLACK = 0.4
# Lines of warnings that one process may write during one outage of some ten seconds.
OUTAGE_LINES = 40


def troubled_sale(stack, rng, trouble, buyers=24, seats=14, spread=2.0, plans=None, lost=False, **options):
    """Sells while `trouble(sale)` happens, and judges. Buyers come within `spread` seconds."""
    sale = Sale(stack, rng, seats=seats, **options)
    sale.await_open()
    sale.crowd(buyers, plans)
    arrivals = threading.Thread(target=sale.start, kwargs={"spread": spread}, daemon=True)
    arrivals.start()
    time.sleep(rng.uniform(0, spread / 2))
    trouble(sale)
    arrivals.join()
    sale.finish()
    return judge(sale, lost=lost)


def expect(condition, words):
    if not condition:
        raise Failure(words)


def expect_alive(*processes: Process):
    """Nothing that a fault of somebody else may do to a process ends it."""
    for process in processes:
        expect(process.alive, f"{process.name} ended with {process.code}: {process.log[-800:]}")


@contextlib.contextmanager
def repeatedly(action, pause):
    """Does `action` again and again beside the block."""
    done = threading.Event()
    problems = []

    def loop():
        while not done.wait(pause()):
            try:
                action()
            except Exception as problem:
                problems.append(problem)
                return

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(60)
    if problems:
        raise problems[0]


def hold_to_the_end(stack, rng, seats=6, hold_seconds=HOLD_SECONDS):
    """A sale with holds that nobody pays for, one of them with a card that was declined."""
    sale = Sale(stack, rng, seats=seats, hold_seconds=hold_seconds)
    sale.await_open()
    for plan in ("leave", "leave", "leave", "refuse"):
        sale.add(plan)
    sale.start()
    until(lambda: all(b.states[-1:] in (["reserved"], ["declined"]) for b in sale.buyers), what="the holds")
    until(lambda: sale.buyers[3].states[-1] == "declined", what="a declined card")
    return sale


def records(sale):
    """State and deadline, in seconds, of the first four places, as Redis has them."""
    texts = sale.stack.redis.client.hmget(f"{sale.prefix}r:0", *"1234")
    return [(text.split("|")[0], int(text.split("|")[2]) / 1000) for text in texts if text]


def ended(sale):
    """Whether all of the four holds are over."""
    try:
        return [state for state, _ in records(sale)].count("X") == 3 and "d" in dict(records(sale))
    except OSError:
        return False


def end_in_time(sale, clock=time.time):
    """Waits until each of the four holds is over, which it must be within a second of its deadline, not before."""
    over, last, deadlines = {}, {}, [deadline for _, deadline in records(sale)]
    end = time.monotonic() + 3 * HOLD_SECONDS + 10
    # Deadlines are on Redis's clock, which was the machine's own.
    while len(over) < 4:
        before, found, after = clock(), records(sale), clock()
        for place, (state, _) in enumerate(found):
            if state in "Xd" and place not in over:
                # A look may take long. It was over when the look came back, and lasted when the one before began.
                over[place] = (last.get(place, before), after)
            elif state not in "Xd":
                last[place] = before
        expect(time.monotonic() < end, f"holds did not end: {records(sale)}")
        time.sleep(0.02)
    for place, (began, gone) in over.items():
        early, late = gone - deadlines[place], began - deadlines[place]
        expect(early > -0.05, f"hold {place + 1} ended {-early:.2f} s before its deadline")
        expect(late < 1 + SLACK, f"hold {place + 1} ended {late:.2f} s after its deadline")


def sell_what_came_back(sale):
    """What nobody paid for is sold to those who come now, and all is as it should be."""
    for _ in range(4):
        sale.add("pay")
    sale.start().finish()
    verdict = judge(sale)
    late = [buyer for buyer in sale.buyers if buyer.plan == "pay"]
    expect(all(buyer.final == "purchased" for buyer in late), f"seats that came back: {[str(b) for b in late]}")
    return verdict


def expect_short_logs(stack):
    """However long an outage is, and whoever meets it, it is some lines."""
    for process in stack.roles.values():
        lines = process.log_lines()
        expect(lines <= OUTAGE_LINES, f"{process.name} wrote {lines} warnings: {process.log[-1500:]}")
