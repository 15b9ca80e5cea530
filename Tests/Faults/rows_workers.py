"""Rows about processes: killed, stopped, told to end, or two where one should be."""

import os
import re
import shutil
import time

from buyers import VISA, Sale
from cases import row
from judge import judge
from proxy import DOWN, Proxy
from scenes import expect, repeatedly, troubled_sale
from servers import BINARY, TAKEOVER_PERCENT, until

def library_code(client):
    """The text of the functions, as Redis has it."""
    library = client.execute_command("FUNCTION", "LIST", "WITHCODE")[0]
    if isinstance(library, dict):
        return library["library_code"]
    return library[library.index("library_code") + 1]


LEASE_SECONDS = 4 * TAKEOVER_PERCENT / 100


@row(1)
def answers_of_intake_are_lost(bench, rng):
    """Requests reach the server, and its answers do not reach the buyers, who ask again: one place each."""
    stack = bench.shared_stack()
    proxy = Proxy(stack.serve_port)
    try:
        proxy.watch = lambda way, data: None if way == DOWN and b"202 " in data[:16] and rng.random() < 0.5 else data
        verdict = troubled_sale(stack, rng, lambda sale: None, urls=[f"http://127.0.0.1:{proxy.port}"])
        expect(proxy.broken > 0, "no answer was lost")
        return verdict
    finally:
        proxy.close()


@row(1)
def intake_is_killed_again_and_again(bench, rng):
    """kill -9 of the server that buyers talk to, at random moments; another one is there."""
    stack = bench.shared_stack()
    second = f"http://127.0.0.1:{stack.sick_port}"
    stack.start_serve("serve-2", stack.sick_port)

    def strike():
        stack.roles["serve-2"].kill()
        stack.start_serve("serve-2", stack.sick_port, fault="")

    def trouble(sale):
        with repeatedly(strike, lambda: rng.uniform(0.1, 0.5)):
            time.sleep(4)

    try:
        return troubled_sale(stack, rng, trouble, spread=3.0, urls=[second, stack.url])
    finally:
        stack.end("serve-2")


@row(2)
def workers_are_killed_at_random_moments(bench, rng):
    """kill -9 of one of two workers, again and again, wherever it may be in its work; a supervisor restarts it."""
    stack = bench.shared_stack()
    stack.start("worker-a", "worker")

    def strike():
        name = rng.choice(["worker-a", "worker-b"])
        stack.roles[name].kill()
        stack.start(name, "worker", ready=False)

    def trouble(sale):
        with repeatedly(strike, lambda: rng.uniform(0.2, 1.2)):
            time.sleep(5)

    try:
        return troubled_sale(stack, rng, trouble, spread=3.0)
    finally:
        stack.end("worker-a")


@row(5)
def a_stopped_owner_comes_back_mid_batch(bench, rng):
    """SIGSTOP of the loop's owner with a decided batch in its hands, past its lease; then SIGCONT.

    The zombie's write must be refused: everything was decided by its successor meanwhile.
    """
    verdict, sale = zombie_scene(bench.shared_stack(), rng)
    expect(len(sale.purchases) == 6, f"{len(sale.purchases)} of 6 seats were sold")
    return verdict


def zombie_scene(stack, rng, must_be_refused=True):
    stack.end("worker-b")
    zombie = stack.start("zombie", "worker", fault="reserve.commit:before:stop:1")
    until(lambda: len(stack.partitions_of(zombie)) == 16, what="the worker's partitions")
    sale = Sale(stack, rng, seats=6, hold_seconds=20)
    # The first write of a loop may be that it is idle; a batch or that, the epoch is what counts.
    sale.crowd(16, ("buy", "pay"), (1,)).start(seconds=60)
    until(lambda: zombie.is_stopped, what="the stop")
    successor = stack.start("worker-b", "worker")
    until(lambda: sale.event % 16 in stack.partitions_of(successor), what="the successor's lease")
    sale.finish(70)
    zombie.resume()
    if must_be_refused:
        until(
            lambda: "replaced by a newer owner" in zombie.log or "lease lost" in zombie.log, 20,
            "the zombie to learn that it was replaced",
        )  # fmt: skip
    time.sleep(1)
    verdict = judge(sale)
    stack.end("zombie")
    return verdict, sale


@row(5)
def owners_are_stopped_at_random_moments(bench, rng):
    """SIGSTOP of workers at random moments for longer than their leases, while another one is there."""
    stack = bench.shared_stack()
    stack.start("worker-a", "worker")

    def trouble(sale):
        for _ in range(3):
            process = stack.roles[rng.choice(["worker-a", "worker-b"])]
            time.sleep(rng.uniform(0.1, 0.6))
            process.pause()
            time.sleep(LEASE_SECONDS * rng.uniform(1.1, 2.5))
            process.resume()

    try:
        return troubled_sale(stack, rng, trouble, spread=4.0)
    finally:
        stack.end("worker-a")


@row(6)
def a_worker_is_stopped_during_the_provider_call(bench, rng):
    """SIGSTOP while the provider is asked, for longer than the hold: the seat stays its buyer's, charged once."""
    stack = bench.shared_stack()
    stack.end("worker-b")
    side = rng.choice(["before", "after"])
    sick = stack.start("sick-worker", "worker", fault=f"confirm.authorise:{side}:stop:1")
    until(lambda: len(stack.partitions_of(sick)) == 16, what="the worker's partitions")
    sale = Sale(stack, rng, seats=1, hold_seconds=2)
    sale.add("pay")
    sale.start()
    until(lambda: sick.is_stopped, what="the stop")
    for _ in range(4):
        sale.add("buy")
    sale.start()
    if rng.random() < 0.5:
        stack.start("worker-b", "worker")
    time.sleep(4)
    if "worker-b" not in stack.roles:
        stack.start("worker-b", "worker")
    # Half of the time the other worker has sold the seat before this one wakes up.
    if rng.random() < 0.5:
        until(lambda: sale.purchases, 40, "the purchase")
    sick.resume()
    sale.finish()
    verdict = judge(sale)
    stack.end("sick-worker")
    expect([buyer.number for buyer in sale.purchases] == [0], f"sold to {sale.purchases}")
    return verdict


def entry(sale, **fields):
    """An entry of the confirmation stream as it is written for a hold."""
    generation = sale.stack.redis.client.hget(f"{sale.prefix}m", "generation")
    return {
        "e": sale.event, "g": generation, "p": 4_000_000, "t": 1, "k": "1", "a": sale.price, "m": VISA, "u": "nobody",
        **fields,
    }  # fmt: skip


@row(16)
def a_confirmation_that_no_database_accepts(bench, rng):
    """It fails every time: after some tries it is a dead letter, which the operator sees; the others go on."""
    stack = bench.shared_stack()
    client = stack.redis.client

    def trouble(sale):
        stream = f"{{p{sale.event % 16}}}:c"
        client.xadd(stream, entry(sale, k=str(1 << 40)))
        client.publish(f"{{p{sale.event % 16}}}:k", "")
        until(lambda: f"event {sale.event}" in letters() or f'"{sale.event}"' in letters(), 60, "the dead letter")

    def letters():
        return stack.onsale("admin", "dead-letters").stdout

    return troubled_sale(stack, rng, trouble)


@row(16)
def a_confirmation_that_kills_whoever_takes_it(bench, rng):
    """Its workers died of it again and again: it is buried instead of being tried once more."""
    stack = bench.shared_stack()
    client = stack.redis.client

    def trouble(sale):
        stream = f"{{p{sale.event % 16}}}:c"
        pipeline = client.pipeline(transaction=True)
        pipeline.xadd(stream, entry(sale, p=4_000_001, k="2"))
        pipeline.xreadgroup("workers", "victim", {stream: ">"}, count=100)
        found = pipeline.execute()[1]
        for identifier, fields in found[0][1]:
            if fields["p"] == "4000001":
                # As if the sixth worker had it now.
                client.xclaim(stream, "workers", "victim", 0, [identifier], retrycount=6)
            else:
                # A buyer's own entry that came along; it is taken over from the victim.
                client.xclaim(stream, "workers", "victim", 0, [identifier], retrycount=1)
        dead = f"{{p{sale.event % 16}}}:dead"
        until(
            lambda: any(fields["p"] == "4000001" for _, fields in client.xrange(dead)), 60, "the dead letter"
        )

    return troubled_sale(stack, rng, trouble)


@row(16)
def a_place_in_line_that_cannot_be_read(bench, rng):
    """An entry of the line that this version does not understand waits; everyone behind it is served."""
    stack = bench.shared_stack()
    client = stack.redis.client
    sale = Sale(stack, rng, seats=6, hold_seconds=3)
    sale.await_open()
    sale.add("pay")
    sale.start().finish()
    # As a later version might write it: a wish that this one does not know has a line, too.
    meta, wish = f"{sale.prefix}m", "z9:unheard-of"
    tail, line = client.hincrby(meta, "tail", 1), client.hincrby(meta, "lines", 1)
    client.hset(f"{sale.prefix}k", wish, line * 2**32 + 1)
    client.hset(f"{sale.prefix}kn", line, wish)
    client.xadd(f"{sale.prefix}q:{line}", {"u": "from-the-future"}, id=f"{tail}-1")
    client.sadd(f"{sale.prefix}ka", line)
    client.hincrby(meta, "waiting", 1)
    sale.crowd(5, ("buy", "pay"), (1,)).start()
    sale.finish()
    verdict = judge(sale)
    expect(len(sale.purchases) == 6, f"{len(sale.purchases)} of 6 seats were sold behind the unknown entry")
    # Nobody was told of that place, so it is one more than the buyers know; its user is in no record of ours.
    verdict.violations = [
        text for text in verdict.violations if "I8" not in text and "place_not_linked" not in text
    ]
    return verdict


@row(17)
def workers_are_told_to_end_mid_batch(bench, rng):
    """SIGTERM, again and again: nothing is lost, the lease is handed over at once, and the exit code is 0."""
    stack = bench.shared_stack()
    stack.start("worker-a", "worker")
    codes = []

    def strike():
        name = rng.choice(["worker-a", "worker-b"])
        codes.extend(stack.end(name))
        stack.start(name, "worker")

    def trouble(sale):
        with repeatedly(strike, lambda: rng.uniform(0.1, 0.5)):
            time.sleep(4)

    try:
        verdict = troubled_sale(stack, rng, trouble, spread=3.0)
    finally:
        stack.end("worker-a")
    expect(codes and not any(codes), f"exit codes {codes}")
    return verdict


@row(17)
def a_lease_is_handed_over_at_once(bench, rng):
    """After SIGTERM of the owner somebody else owns its partitions before its leases would have run out."""
    stack = bench.shared_stack()
    # Leases of the usual length, so that a handover cannot be mistaken for one that ran out.
    stack.end("worker-b")
    first = stack.start("slow-a", "worker", takeover_percent=1000)
    until(lambda: len(stack.partitions_of(first)) == 16, what="the first owner")
    second = stack.start("slow-b", "worker", takeover_percent=1000)
    time.sleep(0.5)
    sale = Sale(stack, rng, seats=10)
    sale.await_open()
    sale.crowd(16).start()
    time.sleep(0.3)
    asked = time.monotonic()
    codes = stack.end("slow-a")
    until(lambda: len(stack.partitions_of(second)) == 16, 30, "the handover", pause=0.01)
    seconds = time.monotonic() - asked
    sale.finish()
    verdict = judge(sale)
    stack.end("slow-b")
    stack.start("worker-b", "worker")
    expect(codes == [0], f"exit codes {codes}")
    # Leases here last 40 s.
    expect(seconds < 15, f"the handover took {seconds:.1f} s")
    return verdict


@row(17, cost=35)
def the_drain_takes_too_long(bench, rng):
    """SIGTERM while the provider takes longer than a worker may drain: it ends, and another one finishes."""
    stack = bench.shared_stack()
    stack.end("worker-b")
    stack.start("worker-a", "worker")
    sale = Sale(stack, rng, seats=4, hold_seconds=3)
    sale.await_open()
    stack.set_provider(latency=18_000)
    try:
        sale.crowd(4, ("buy",), (1,)).start(seconds=120)
        until(lambda: len(stack.payments(sale.event)) or "confirming" in str([b.states for b in sale.buyers]), 20)
        time.sleep(1)
        codes = stack.end("worker-a", seconds=30)
        expect(codes == [75], f"exit codes {codes}, not 75 for a drain that was cut short")
    finally:
        stack.set_provider()
        stack.start("worker-b", "worker")
    sale.finish()
    return judge(sale)


@row(18)
def every_worker_is_dead_for_longer_than_the_hold(bench, rng):
    """Holds end by their own TTL; whoever comes first afterwards gives the seats to those next in line."""
    stack = bench.shared_stack()
    client = stack.redis.client
    sale = Sale(stack, rng, seats=3, hold_seconds=2)
    sale.await_open()
    for _ in range(3):
        sale.add("leave")
    sale.start()
    until(lambda: all(buyer.was_granted for buyer in sale.buyers), what="the holds")
    locks = [f"{sale.prefix}l:{ticket}" for buyer in sale.buyers for ticket in buyer.tickets]
    expect(client.exists(*locks) == 3, "held seats are locked")
    stack.roles["worker-b"].kill()
    for _ in range(4):
        sale.add("pay")
    sale.start()
    # The deadline and a second of grace.
    until(lambda: client.exists(*locks) == 0, 3.5, "the locks to end by themselves")
    time.sleep(rng.uniform(0, 1))
    stack.start("worker-b", "worker")
    sale.finish()
    verdict = judge(sale)
    expect(len(sale.purchases) == 3, f"{len(sale.purchases)} of 3 seats were sold to those next in line")
    return verdict


@row(20)
def two_owners_of_one_partition(bench, rng):
    """The lease is taken away again and again, so that two workers believe they own the partition."""
    stack = bench.shared_stack()
    stack.start("worker-a", "worker")
    client = stack.redis.client

    def trouble(sale):
        partition = sale.event % 16
        before = int(client.get(f"{{p{partition}}}:epoch") or 0)

        def steal():
            owner = client.get(f"{{p{partition}}}:lease")
            others = [name for name in client.zrange("{workers}", 0, -1) if name != owner]
            # The other one holds the lease now, and makes itself the owner when it looks next.
            client.set(f"{{p{partition}}}:lease", rng.choice(others or ["nobody"]), px=400)

        with repeatedly(steal, lambda: rng.uniform(0.05, 0.4)):
            time.sleep(5)
        after = int(client.get(f"{{p{partition}}}:epoch"))
        expect(after > before, f"the epoch stayed {before}: there never was a second owner")

    try:
        return troubled_sale(stack, rng, trouble, spread=4.0)
    finally:
        stack.end("worker-a")


@row(22)
def a_rolling_deploy(bench, rng):
    """Old and new processes side by side, replaced one by one during a sale: nobody is dropped.

    `ONSALE_OLD_BINARY` names the version before; without it the same version is old and new.
    """
    stack = bench.shared_stack()
    old = os.environ.get("ONSALE_OLD_BINARY", BINARY)
    new = stack.directory / "onsale-new"
    shutil.copy2(BINARY, new)
    stack.end("worker-b", "indexer")
    # Servers share the port, as they do in a deploy.
    stack.start("worker-b", "worker", binary=old)
    stack.start("indexer", "indexer", binary=old)
    codes = []

    def trouble(sale):
        time.sleep(0.5)
        stack.start("worker-new", "worker", binary=new)
        codes.extend(stack.end("worker-b"))
        stack.start("serve-new", "serve", binary=new, port=stack.serve_port)
        codes.extend(stack.end("serve"))
        stack.start("indexer-new", "indexer", binary=new)
        codes.extend(stack.end("indexer"))
        time.sleep(1)

    try:
        verdict = troubled_sale(stack, rng, trouble, spread=4.0)
    finally:
        stack.start_serve()
        stack.start("worker-b", "worker")
        stack.start("indexer", "indexer")
        stack.end("worker-new", "serve-new", "indexer-new")
    expect(not any(codes), f"exit codes {codes}")
    return verdict


@row(22)
def a_newer_function_library_is_left_alone(bench, rng):
    """A newer version has loaded its functions: this one uses them, and does not put its own in their place."""
    stack = bench.new_stack().up()
    client = stack.redis.client
    newer, count = re.subn(
        r"local VERSION = \d+", "local VERSION = 99", library_code(client)
    )
    expect(count == 1, "the library's version was not found")
    client.execute_command("FUNCTION", "LOAD", "REPLACE", newer)

    def trouble(sale):
        stack.end("worker-b")
        stack.start("worker-b", "worker")

    verdict = troubled_sale(stack, rng, trouble)
    version = client.execute_command("FCALL_RO", "onsale_version", 0)
    expect(version == 99, f"the library has version {version} now")
    return verdict


@row(22)
def fields_of_a_later_version(bench, rng):
    """Entries of the confirmation stream with fields that this version does not know are carried out all the same."""
    stack = bench.shared_stack()
    client = stack.redis.client
    sale = Sale(stack, rng, seats=3, hold_seconds=6)
    sale.await_open()
    for _ in range(3):
        sale.add("pay")
    stream = f"{{p{sale.event % 16}}}:c"
    # An entry nobody can name: without an event. It must not stand in anybody's way.
    client.xadd(stream, {"version": 99, "what": "unheard of"})
    client.publish(f"{{p{sale.event % 16}}}:k", "")
    sale.start().finish()
    verdict = judge(sale)
    expect(len(sale.purchases) == 3, f"{len(sale.purchases)} of 3 seats were sold")
    client.xtrim(stream, maxlen=0)
    return verdict
