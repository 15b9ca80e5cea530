"""Row 38: systems outside are told of sales, whatever dies."""

import contextlib
import time

from buyers import Sale
from cases import row
from hooks import Shop
from judge import judge
from rows_redis import judge_after_loss
from scenes import expect, troubled_sale
from servers import until

# A worker looks for endpoints once a second.
LOOK_SECONDS = 2


@contextlib.contextmanager
def listening(stack, types=""):
    shop = Shop(stack, types)
    time.sleep(LOOK_SECONDS)
    try:
        yield shop
    finally:
        shop.close()


@row(38, cost=45)
def a_worker_dies_between_a_message_and_its_note(bench, rng):
    """The lease of what it had ends, and another worker sends the same again."""
    stack = bench.shared_stack()
    with listening(stack, "purchase.completed") as shop:
        stack.end("worker-b")
        dying = stack.start("worker-a", "worker", fault="webhooks.sent:before:kill:1")
        sale = Sale(stack, rng, seats=6)
        sale.await_open()
        sale.crowd(4, ("buy",), (1,)).start()
        until(lambda: not dying.alive, what="the worker's death")
        taken = [identity for identity, _ in shop.of(sale)]
        expect(taken, "it died before it had told anything")
        stack.end("worker-a")
        stack.start("worker-b", "worker")
        sale.finish()
        shop.expect_all(sale)
        until(lambda: all(shop.attempts(identity) > 1 for identity in taken), 60, "the same messages again")
        waiting = "SELECT count(*) FROM webhook_message WHERE endpoint_id = %s"
        until(lambda: stack.sql(waiting, shop.number)[0][0] == 0, 60, "an empty outbox")
        return judge(sale)


@row(38, cost=40)
def an_endpoint_is_away_for_a_whole_sale(bench, rng):
    """The sale goes on as ever, and everything is told afterwards; the endpoint is not stormed meanwhile."""
    stack = bench.shared_stack()
    with listening(stack) as shop:
        shop.is_open = False
        sales = []
        verdict = troubled_sale(stack, rng, sales.append)
        sale = sales[0]
        tries = len(shop.heard)
        expect(sale.purchases, "nothing was sold")
        expect(tries < 200, f"{tries} tries of an endpoint that is away")
        expect(not shop.of(sale), "something was taken")
        shop.is_open = True
        shop.expect_all(sale, 120)
        return verdict


@row(38, cost=60)
def redis_is_lost_while_systems_outside_are_told(bench, rng):
    """Purchases are told all the same; of holds only what was carried over before."""
    stack = bench.new_stack().up()
    with listening(stack) as shop:
        sale = Sale(stack, rng, seats=10, hold_seconds=3)
        sale.await_open()
        sale.crowd(16, ("buy", "pay", "leave"), (1,)).start(seconds=15, spread=1.0)
        until(lambda: sale.purchases, what="a purchase")
        stack.redis.client.flushall()
        sale.await_open(40)
        verdict = judge_after_loss(sale)
        shop.expect_all(sale, is_lost=True)
        later = Sale(stack, rng, seats=4)
        later.await_open()
        later.crowd(4, ("buy",), (1,)).start().finish()
        shop.expect_all(later)
        until(lambda: len(shop.of(later, "hold.granted")) >= 4, what="holds of after the loss")
        verdict.add(judge(later))
        return verdict
