"""Row 36: nodes of the search cluster die, say nothing, and come back."""

import contextlib
import datetime
import signal
import threading
import time
import urllib.parse

import cases
from buyers import Caller, Sale, token
from judge import judge
from scenes import expect
from servers import until

from local.opensearch import MISSING, OpenSearch, is_available

# A node that says nothing is found out by whoever asks it first; their search waits for that, and is asked again elsewhere.
LONGEST_SEARCH = 4.0
# Of those some come too late for it, and are told to come again.
MOST_LATE = 3


def row(number, cost):
    """Registers a case where there is an OpenSearch to start."""
    if not is_available():
        print(f"row {number} is left out: {MISSING}", flush=True)
        return lambda function: function
    return cases.row(number, cost)


@contextlib.contextmanager
def cluster(bench):
    stack = bench.new_stack()
    directory = stack.directory / "search"
    directory.mkdir()
    nodes = OpenSearch(directory, nodes=3)
    try:
        nodes.start()
        stack.settings["ONSALE_SEARCH_URL"] = nodes.url
        yield stack.up(), nodes
    finally:
        nodes.kill()


class Searcher:
    """Searches again and again for what nobody has searched for before, so that no answer is an old one."""

    def __init__(self, sale, word):
        self.sale, self.word = sale, word
        self.caller = Caller([sale.stack.url], token(sale.stack, "searcher"), timeout=15)
        self.answers, self.problems, self.slowest = 0, [], 0.0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def look(self, number):
        since = datetime.datetime(2020, 1, 1) + datetime.timedelta(minutes=number)
        query = {"terms": self.word, "include_sold_out": "true", "from": since.isoformat() + "Z"}
        return self.caller.once("GET", "/api/search?" + urllib.parse.urlencode(query))

    def run(self):
        number = 0
        while not self.done.wait(0.05):
            number += 1
            began = time.monotonic()
            status, answer = self.look(number)
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.answers += 1
            if status != 200 or [each["id"] for each in answer["events"]] != [self.sale.event]:
                self.problems.append((round(began, 1), status, answer))

    def end(self, late=0):
        """- late: how many may have been told to come again."""
        self.done.set()
        self.thread.join(30)
        expect(self.answers >= 10, f"only {self.answers} searches were answered")
        told = [status for _, status, _ in self.problems if status == 503]
        failed = f"{len(self.problems)} of {self.answers} searches failed: {self.problems[:3]}"
        expect(len(told) == len(self.problems) <= late, failed)
        expect(self.slowest < LONGEST_SEARCH, f"a search took {self.slowest:.1f} s")


def sell_through(bench, rng, trouble, late=0):
    """Sells while `trouble(nodes)` happens and everybody searches; afterwards the index is what the queue says."""
    with cluster(bench) as (stack, nodes):
        word = f"concert{rng.randrange(10**9)}"
        sale = Sale(stack, rng, seats=14, name=word)
        sale.await_open()
        until(lambda: found(sale, word), 60, "the event in search")
        searcher = Searcher(sale, word)
        sale.crowd(24)
        arrivals = threading.Thread(target=sale.start, kwargs={"spread": 3.0}, daemon=True)
        arrivals.start()
        trouble(nodes)
        arrivals.join()
        sale.finish()
        nodes.await_whole()
        time.sleep(1)
        searcher.end(late)
        until(lambda: is_right(sale, word), 60, "the index as it should be")
        return judge(sale)


def look(sale, path):
    """On a connection that may have been closed meanwhile."""
    return sale.organizer.until_answered("GET", path, deadline=time.monotonic() + 20)


def found(sale, word):
    status, answer = look(sale, f"/api/search?terms={word}&include_sold_out=true")
    return answer["events"][0] if status == 200 and answer["events"] else None


def is_right(sale, word):
    event = found(sale, word)
    status, queue = look(sale, f"/api/event/{sale.event}/queue")
    return event and status == 200 and all(event[name] == queue[name] for name in ("available", "held"))


@row(36, cost=120)
def a_search_node_dies_and_comes_back(bench, rng):
    """Also the one that leads the others, if it is that: nobody's search fails."""

    def trouble(nodes):
        node = rng.randrange(3)
        nodes.kill(node)
        time.sleep(rng.uniform(4, 8))
        nodes.start(node)

    return sell_through(bench, rng, trouble)


@row(36, cost=120)
def a_search_node_says_nothing_for_a_while(bench, rng):
    """It takes connections and answers none, which nothing but time tells from a slow one."""

    def trouble(nodes):
        node = rng.randrange(3)
        nodes.send(node, signal.SIGSTOP)
        time.sleep(rng.uniform(4, 8))
        nodes.send(node, signal.SIGCONT)

    return sell_through(bench, rng, trouble, MOST_LATE)


@row(36, cost=150)
def one_search_node_after_the_other_is_replaced(bench, rng):
    """As an upgrade does it."""

    def trouble(nodes):
        for node in rng.sample(range(3), 3):
            nodes.kill(node)
            nodes.start(node)

    return sell_through(bench, rng, trouble)
