"""What several rows have in common: a sale during which something goes wrong."""

import contextlib
import threading
import time

from buyers import Sale
from judge import judge
from servers import Failure, Process


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
