"""A store that is away: what needs it says so and when to come back; the rest stays up; it heals by itself."""

import signal
import uuid

import pytest

from client import VISA, ok, problem
from conftest import new_buyer, new_organizer
from stack import until

OUTAGE = (503, 504)


@pytest.fixture
def sale(own_stack):
    """An event on sale that search and the event page have been asked for."""
    organizer = new_organizer(own_stack)
    word = f"outage{uuid.uuid4().hex[:8]}"
    event = organizer.create_event([{"name": "Floor", "price": 2500, "capacity": 50}], name=f"Concert {word}")
    buyer = new_buyer(own_stack)
    until(lambda: ok(buyer.get("/api/search", terms=word))["events"], what="the event in search")
    ok(buyer.get(f"/api/event/{event}"))
    ok(buyer.get(f"/api/event/{event}/tickets"))
    return own_stack, event, word


def assert_pages_stay_up(stack, event, word):
    reader = new_buyer(stack)
    for _ in range(5):
        page = ok(reader.get(f"/api/event/{event}"))
        assert page["id"] == event
        assert [hit["id"] for hit in ok(reader.get("/api/search", terms=word))["events"]] == [event]


def assert_age_is_told(stack, path, **query):
    """What is shown is older than it should be, and says so."""
    reader = new_buyer(stack)

    def is_told():
        answer = reader.get(path, **query)
        ok(answer)
        return int(answer.headers.get("Age", 0)) >= 1

    until(is_told, what=f"the age of {path}")


def assert_is_fresh(stack, path, **query):
    reader = new_buyer(stack)
    until(lambda: "Age" not in reader.get(path, **query).headers, 40, f"{path} without an age")


def assert_sells_again(stack, event):
    def attempt():
        buyer = new_buyer(stack)
        answer = buyer.reserve(event, 1, payment_method=VISA)
        return (buyer, answer.json()["request_id"]) if answer.status_code == 202 else None

    buyer, request = until(attempt, 40, "an accepted request after the outage")
    buyer.await_state(request, "purchased", seconds=40)


def test_without_redis_nothing_is_accepted_and_pages_stay_up(sale):
    stack, event, word = sale
    before = new_buyer(stack)
    held = before.hold(event, 1)["request_id"]
    stack.kill("redis-1")
    answer = new_buyer(stack).reserve(event, 1)
    assert answer.status_code in OUTAGE
    problem(answer, answer.status_code)
    assert int(answer.headers["Retry-After"]) >= 1
    assert_pages_stay_up(stack, event, word)
    # Search needs no Redis; the page's seats are those of before.
    assert_age_is_told(stack, f"/api/event/{event}")
    assert_age_is_told(stack, f"/api/event/{event}/tickets")
    assert new_buyer(stack).get("/healthz").status_code == 200

    stack.up()
    assert_is_fresh(stack, f"/api/event/{event}")
    # With `appendfsync always` the hold of before is still there.
    until(lambda: before.get(f"/api/request/{held}").status_code == 200, 40, "polls after the outage")
    until(lambda: before.confirm(held).status_code == 202, 40, "confirming after the outage")
    before.await_state(held, "purchased", seconds=40)
    assert_sells_again(stack, event)


def test_without_redis_a_page_that_nobody_asked_for_says_that_holds_are_not_known(own_stack):
    organizer, buyer = new_organizer(own_stack), new_buyer(own_stack)
    event = organizer.create_event([{"name": "Floor", "price": 2500, "capacity": 10}])
    buyer.hold(event, 4)
    own_stack.kill("redis-1")
    reader = new_buyer(own_stack)
    for path in (f"/api/event/{event}", f"/api/event/{event}/tickets"):
        until(lambda path=path: reader.get(path).status_code == 200, what=path)
        assert ok(reader.get(path))["holds_known"] is False
    own_stack.up()

    def known():
        page = ok(reader.get(f"/api/event/{event}"))
        return page["holds_known"] and page["held"] == 4

    until(known, 40, "what is held")
    assert ok(reader.get(f"/api/event/{event}/tickets"))["holds_known"] is True


def test_without_postgres_the_line_grows_and_pages_stay_up(sale):
    stack, event, word = sale
    waiting = new_buyer(stack)
    stack.signal("postgres-1", signal.SIGQUIT)
    until(lambda: "postgres-1   died" in stack.run("status", check=False).stdout, what="the end of PostgreSQL")

    # The line lives in Redis: a place in it can still be had, and polled.
    answer = waiting.reserve(event, 1, payment_method=VISA)
    assert answer.status_code in (202, *OUTAGE)
    assert_pages_stay_up(stack, event, word)
    assert_age_is_told(stack, f"/api/event/{event}")
    assert_age_is_told(stack, "/api/search", terms=word)
    # What only PostgreSQL knows is not made up.
    problem(new_buyer(stack).get("/api/me/tickets"), 503)

    stack.up()
    assert_is_fresh(stack, f"/api/event/{event}")
    assert_is_fresh(stack, "/api/search", terms=word)
    if answer.status_code == 202:
        waiting.await_state(answer.json()["request_id"], "purchased", seconds=40)
    assert_sells_again(stack, event)


def test_without_the_payment_provider_the_hold_waits(sale):
    stack, event, word = sale
    stack.kill("payments-1")
    buyer = new_buyer(stack)
    held = buyer.hold(event, 1)["request_id"]
    assert buyer.confirm(held).status_code in (202, *OUTAGE)
    assert_pages_stay_up(stack, event, word)
    stack.up()
    until(lambda: buyer.confirm(held).status_code == 202, 40, "confirming after the outage")
    buyer.await_state(held, "purchased", seconds=60)


def test_a_server_that_dies_comes_back_with_everything(sale):
    stack, event, _ = sale
    buyer = new_buyer(stack)
    held = buyer.hold(event, 1)["request_id"]
    stack.kill("serve-1")
    stack.up()
    assert buyer.poll(held)["state"] == "reserved"
    ok(buyer.confirm(held), 202)
    buyer.await_state(held, "purchased")


def test_the_books_agree_after_outages(sale):
    stack, event, _ = sale
    for process in ("worker-1", "redis-1", "worker-2"):
        buyers = [new_buyer(stack) for _ in range(4)]
        requests = [ok(b.reserve(event, 1, payment_method=VISA), 202)["request_id"] for b in buyers]
        stack.kill(process)
        stack.up()
        for b, request in zip(buyers, requests, strict=True):
            b.await_state(request, "purchased", seconds=60)
    until(lambda: stack.onsale("audit", check=False).returncode == 0, 40, "an audit without findings")
