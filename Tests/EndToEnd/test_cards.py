"""Whoever tests stolen cards finds a slower place; whose own card is refused two or three times buys with another."""


import pytest

from client import DECLINED, VISA, ok, problem
from conftest import new_buyer, new_organizer
from stack import Stack, until


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    stack = Stack(tmp_path_factory.mktemp("strict") / "state")
    try:
        stack.up(ONSALE_DECLINES_PER_USER="4", ONSALE_DECLINES_PER_ADDRESS="12")
        yield stack
    finally:
        stack.remove()


def try_card(stack, buyer, request):
    """Pays with a card that is refused; gives the answer if that may not be tried."""
    before = refusals(stack)
    answer = buyer.confirm(request, DECLINED)
    if answer.status_code == 202:
        # For a moment the state may still be that of the card before, and another confirmation be the same one.
        until(lambda: refusals(stack) > before, what="the refusal")
        buyer.await_state(request, "declined")
    return answer


def refusals(stack):
    return stack.sql("SELECT count(*) FROM decline")[0][0]


def known(stack, count):
    """Waits until the server knows of as many refused cards: it reads them each second."""
    until(lambda: refusals(stack) >= count, what="the rows")


def test_a_limited_number_of_cards_is_tried_by_an_account_and_from_an_address(strict):
    organizer = new_organizer(strict)
    first, second = (organizer.create_event(hold_seconds=600) for _ in range(2))
    honest, tester = new_buyer(strict), new_buyer(strict)

    # Three times in vain, and the fourth card is taken.
    request = honest.hold(first)["request_id"]
    for _ in range(3):
        ok(try_card(strict, honest, request), 202)
    ok(honest.confirm(request, VISA), 202)
    honest.await_state(request, "purchased")

    # Over all events; and what is held stays held.
    requests = [tester.hold(event)["request_id"] for event in (first, second)]
    for request in requests:
        for _ in range(2):
            ok(try_card(strict, tester, request), 202)
    known(strict, 7)
    # An answer that refuses counts as false.
    refused = until(lambda: [a for r in requests if (a := try_card(strict, tester, r)).status_code == 429], what="the limit")
    problem(refused[0], 429, "too_many_declines")
    assert int(refused[0].headers["Retry-After"]) <= 900
    states = {tester.poll(request)["state"] for request in requests}
    assert states <= {"declined"}, states

    # Many accounts of one address, none of which tries much.
    def one_more():
        buyer = new_buyer(strict)
        answer = try_card(strict, buyer, buyer.hold(organizer.create_event())["request_id"])
        return [answer] if answer.status_code == 429 else None

    problem(until(one_more, 60, "the address's limit")[0], 429, "too_many_declines")
    # Whoever needs no card is not concerned.
    free = organizer.create_event(sections=[{"name": "Lawn", "price": 0, "capacity": 5}])
    request = tester.hold(free)["request_id"]
    ok(tester.post("/api/ticket/confirm", {"request_id": request}), 202)
    tester.await_state(request, "purchased")
    assert "onsale_cards_refused_total" in strict.metrics("worker-1")
    assert "onsale_card_tries_refused_total" in strict.metrics()
