"""Row 15: the network between a worker, or a server, and each of what it needs: cut each way, slow, reset."""

import time

from cases import ROWS, Case
from proxy import DOWN, UP, Proxy
from scenes import expect_alive, troubled_sale

TARGETS = ("redis", "postgres", "provider")


def harm(proxy, kind, rng):
    """Does it for some seconds, then heals."""
    if kind == "cut towards":
        proxy.hold(UP)
        time.sleep(rng.uniform(1, 4))
    elif kind == "cut back":
        proxy.hold(DOWN)
        time.sleep(rng.uniform(1, 4))
    elif kind == "cut":
        proxy.hold(UP, DOWN)
        time.sleep(rng.uniform(1, 7))
        # What was under way when a cable was pulled never arrives.
        proxy.cut()
    elif kind == "reset":
        for _ in range(8):
            proxy.cut()
            time.sleep(rng.uniform(0.05, 0.5))
    elif kind == "refused":
        proxy.refuse()
        time.sleep(rng.uniform(1, 4))
    elif kind == "slow":
        proxy.slow(rng.uniform(0.05, 0.3), 200_000)
        time.sleep(4)
    proxy.heal()


KINDS = ("cut towards", "cut back", "cut", "reset", "refused", "slow")


def addresses(stack, target):
    """The proxy in front of a server, and the setting that leads there."""
    if target == "redis":
        proxy = Proxy(stack.redis.port)
        return proxy, {"redis_url": f"redis://127.0.0.1:{proxy.port}/0"}
    if target == "postgres":
        proxy = Proxy(stack.postgres.port)
        return proxy, {"database_url": stack.postgres.url(database=stack.database, port=proxy.port)}
    proxy = Proxy(stack.payment_port)
    return proxy, {"payment_url": f"http://127.0.0.1:{proxy.port}"}


def worker_case(target, kind):
    def run(bench, rng):
        stack = bench.shared_stack()
        proxy, settings = addresses(stack, target)
        # Alone, it must recover by itself; with another one, that one goes on meanwhile.
        is_alone = rng.random() < 0.6
        if is_alone:
            stack.end("worker-b")
        worker = stack.start("far-worker", "worker", **settings)
        try:
            verdict = troubled_sale(stack, rng, lambda sale: harm(proxy, kind, rng), spread=3.0, hold_seconds=4)
            expect_alive(worker)
            return verdict
        finally:
            proxy.heal()
            if is_alone:
                stack.start("worker-b", "worker")
            stack.end("far-worker")
            proxy.close()

    return run


def server_case(target, kind):
    def run(bench, rng):
        stack = bench.shared_stack()
        proxy, settings = addresses(stack, target)
        server = stack.start_serve("far-serve", stack.sick_port, **settings)
        try:
            urls = [f"http://127.0.0.1:{stack.sick_port}", stack.url]
            verdict = troubled_sale(
                stack, rng, lambda sale: harm(proxy, kind, rng), spread=3.0, hold_seconds=4, urls=urls
            )
            expect_alive(server)
            return verdict
        finally:
            proxy.heal()
            stack.end("far-serve")
            proxy.close()

    return run


for target in TARGETS:
    for kind in KINDS:
        title = f"worker to {target}: {kind}"
        ROWS.setdefault(15, []).append(Case(15, title, worker_case(target, kind), 12))
for kind in KINDS:
    ROWS[15].append(Case(15, f"server to redis: {kind}", server_case("redis", kind), 12))
