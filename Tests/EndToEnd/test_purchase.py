"""What a buyer does, from the first search to the ticket, and what may come between."""

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from client import DECLINED, VISA, Client, ok, problem
from conftest import new_buyer, new_organizer
from stack import until

# Seconds: the least that an event may give its buyers to pay.
SHORTEST_HOLD = 10


def test_the_whole_way_of_a_buyer(stack, organizer, anyone, ledger):
    word = f"zephyr{uuid.uuid4().hex[:8]}"
    event = organizer.create_event(
        name=f"An evening of {word}",
        sections=[{"name": "Stalls", "price": 4500, "rows": [{"row": "A", "seats": 4}]}],
    )

    # Registers, and logs in.
    email = f"{uuid.uuid4().hex}@example.org"
    account = {"name": "Ada", "email": email, "password": "correct horse battery staple"}
    user = ok(anyone.post("/api/users", account), 201)["user_id"]
    problem(anyone.post("/api/users", account), 409, "email_taken")
    problem(anyone.post("/api/sessions", {"email": email, "password": "something else"}), 401)
    session = ok(anyone.post("/api/sessions", {"email": email, "password": account["password"]}))
    assert session["user_id"] == user
    ada = Client(stack.url, session["token"], user)

    # Finds the event: the indexer gets to it within seconds.
    found = until(lambda: ok(ada.get("/api/search", terms=word))["events"], what="the event in search")
    assert [hit["id"] for hit in found] == [event]
    assert found[0]["available"] == 4
    assert (found[0]["min_price"], found[0]["max_price"], found[0]["currency"]) == (4500, 4500, "USD")

    # Also with a slip of the finger.
    assert event in [hit["id"] for hit in ok(ada.get("/api/search", terms="x" + word[1:]))["events"]]

    page = ok(ada.get(f"/api/event/{event}"))
    assert page["name"] == f"An evening of {word}"
    section = page["sections"][0]
    assert (section["name"], section["price"], section["total"], section["available"]) == ("Stalls", 4500, 4, 4)
    seats = ok(ada.get(f"/api/event/{event}/tickets"))["tickets"]
    assert len(seats) == 4 and all(seat["available"] and seat["row"] == "A" for seat in seats)

    # Reserves all four, sees the hold, pays.
    response = ada.reserve(event, 4)
    request = ok(response, 202)
    assert response.headers["Location"].endswith(f"/api/request/{request['request_id']}")
    assert request["position"] == 1 and request["ahead"] == 0 and request["poll_after_ms"] > 0
    held = ada.await_state(request["request_id"], "reserved")
    assert held["amount"] == 4 * 4500 and held["currency"] == "USD" and len(held["tickets"]) == 4
    assert held["expires_at"].endswith("Z")
    assert held["expires_in_seconds"] > 0
    until(
        lambda: not any(seat["available"] for seat in ok(ada.get(f"/api/event/{event}/tickets"))["tickets"]),
        what="the held seats as not available",
    )
    ok(ada.confirm(request["request_id"]), 202)
    bought = ada.await_state(request["request_id"], "purchased")
    assert sorted(map(str, bought["tickets"])) == sorted(map(str, held["tickets"]))

    # Owns them; the provider has exactly this one payment, captured.
    purchases = ok(ada.get("/api/me/tickets"))["purchases"]
    assert [p["request_id"] for p in purchases] == [request["request_id"]]
    assert purchases[0]["amount"] == 18000 and len(purchases[0]["tickets"]) == 4
    captured = until(
        lambda: [p for p in ledger(event) if p["status"] == "succeeded"], what="the captured payment"
    )
    assert [p["amount_received"] for p in captured] == [18000]
    assert captured[0]["id"] == purchases[0]["payment_id"]
    assert len(ledger(event)) == 1

    # Sold out: gone from search unless asked for, and nobody else gets a seat.
    until(lambda: not ok(ada.get("/api/search", terms=word))["events"], what="the sold-out event out of search")
    assert ok(ada.get("/api/search", terms=word, include_sold_out="true"))["events"][0]["available"] == 0
    late = new_buyer(stack).reserve(event, 1)
    if late.status_code == 202:
        new_buyer(stack).await_state(late.json()["request_id"], "sold_out")
    else:
        problem(late, 410, "sold_out")


def test_buying_in_one_call(buyer, organizer, ledger):
    event = organizer.create_event()
    bought = buyer.buy(event, 2)
    assert bought["amount"] == 5000 and len(bought["tickets"]) == 2
    payment = until(lambda: [p for p in ledger(event) if p["status"] == "succeeded"], what="the capture")
    assert [p["amount_received"] for p in payment] == [5000]


def test_asking_again_returns_the_same_place(buyer, other_buyer, organizer):
    event = organizer.create_event()
    first = ok(buyer.reserve(event, 1), 202)
    ok(other_buyer.reserve(event, 1), 202)
    again = ok(buyer.reserve(event, 1), 200)
    assert (again["request_id"], again["position"]) == (first["request_id"], first["position"])


def test_a_request_has_one_id_in_every_state(buyer, organizer):
    event = organizer.create_event()
    key = {"Idempotency-Key": uuid.uuid4().hex}
    request = ok(buyer.reserve(event, 2, headers=key), 202)["request_id"]

    def ids():
        answers = [buyer.reserve(event, 2), buyer.reserve(event, 2, headers=key)]
        return {ok(answer)["request_id"] for answer in answers}

    assert ids() == {request}
    buyer.await_state(request, "reserved")
    assert ids() == {request}
    ok(buyer.confirm(request, DECLINED), 202)
    buyer.await_state(request, "declined")
    assert ids() == {request}
    ok(buyer.confirm(request, VISA), 202)
    buyer.await_state(request, "purchased")
    assert buyer.reserve(event, 2, headers=key).json()["request_id"] == request
    assert [p["request_id"] for p in ok(buyer.get("/api/me/tickets"))["purchases"]] == [request]


def test_what_is_bought_in_one_call_has_one_id(buyer, organizer):
    event = organizer.create_event()
    request = ok(buyer.reserve(event, 1, payment_method=VISA), 202)["request_id"]
    buyer.await_state(request, "purchased")
    assert [p["request_id"] for p in ok(buyer.get("/api/me/tickets"))["purchases"]] == [request]


def test_many_at_once_of_one_user_are_one_request(stack, organizer):
    event = organizer.create_event()
    user = f"user-{uuid.uuid4().hex}"

    def ask(_):
        return new_buyer(stack, user).reserve(event, 1)

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(ask, range(10)))
    assert sorted(a.status_code for a in answers) == [200] * 9 + [202]
    assert len({a.json()["request_id"] for a in answers}) == 1


def test_confirming_many_times_charges_once(stack, organizer, ledger):
    event = organizer.create_event()
    user = f"user-{uuid.uuid4().hex}"
    request = new_buyer(stack, user).hold(event, 2)["request_id"]

    def pay(_):
        return new_buyer(stack, user).confirm(request)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(pay, range(8)))
    assert {a.status_code for a in answers} == {202}
    buyer = new_buyer(stack, user)
    buyer.await_state(request, "purchased")
    assert buyer.confirm(request).status_code == 202
    until(lambda: [p["status"] for p in ledger(event)] == ["succeeded"], what="exactly one captured payment")


def test_an_idempotency_key_repeats_the_answer(buyer, organizer):
    event = organizer.create_event()
    key = {"Idempotency-Key": uuid.uuid4().hex}
    first = buyer.reserve(event, 1, headers=key)
    second = buyer.reserve(event, 1, headers=key)
    assert first.status_code == 202 and second.status_code in (200, 202)
    assert first.json()["request_id"] == second.json()["request_id"]


def test_a_declined_card_leaves_the_hold_for_another_card(buyer, organizer, ledger):
    event = organizer.create_event()
    held = buyer.hold(event, 1)
    ok(buyer.confirm(held["request_id"], DECLINED), 202)
    declined = buyer.await_state(held["request_id"], "declined")
    assert declined["reason"]
    ok(buyer.confirm(held["request_id"], VISA), 202)
    bought = buyer.await_state(held["request_id"], "purchased")
    assert bought["tickets"] == held["tickets"]
    until(
        lambda: sorted(p["amount_received"] for p in ledger(event)) in ([0, 2500], [2500]), what="one captured payment"
    )


def test_a_declined_last_ticket_goes_to_the_next_in_line(stack, organizer):
    event = organizer.create_event([{"name": "Floor", "price": 2500, "capacity": 1}], hold_seconds=SHORTEST_HOLD)
    first, second = new_buyer(stack), new_buyer(stack)
    request = ok(first.reserve(event, 1, payment_method=DECLINED), 202)["request_id"]
    first.await_state(request, "declined")
    second.buy(event, 1)
    # The hold has ended, and with it the chance of another card.
    problem(first.confirm(request), 410, "expired")


def test_a_hold_ends_in_time_and_its_seats_come_back(stack, organizer):
    event = organizer.create_event([{"name": "Floor", "price": 2500, "capacity": 1}], hold_seconds=SHORTEST_HOLD)
    first, second = new_buyer(stack), new_buyer(stack)
    held = first.hold(event, 1)
    # Nothing is free, but the hold may come back.
    waiting = ok(second.reserve(event, 1), 202)["request_id"]
    second.await_state(waiting, "standby")
    granted = second.await_state(waiting, "reserved", seconds=SHORTEST_HOLD + 5)
    assert granted["tickets"] == held["tickets"]
    first.await_state(held["request_id"], "expired")
    problem(first.confirm(held["request_id"]), 410, "expired")
    # Afterwards the same person may ask again, at the back.
    again = first.reserve(event, 1)
    assert again.status_code in (202, 410)
    if again.status_code == 202:
        assert again.json()["position"] > held["position"]


def test_cancelling_gives_the_seats_to_the_next(stack, organizer):
    event = organizer.create_event([{"name": "Floor", "price": 2500, "capacity": 1}])
    first, second = new_buyer(stack), new_buyer(stack)
    held = first.hold(event, 1)
    waiting = ok(second.reserve(event, 1), 202)["request_id"]
    second.await_state(waiting, "standby")
    assert ok(first.cancel(held["request_id"]))["state"] == "cancelled"
    second.await_state(waiting, "reserved", seconds=5)
    assert first.poll(held["request_id"])["state"] == "cancelled"
    # A cancelled request stays cancelled; a purchase cannot be.
    ok(second.confirm(waiting), 202)
    second.await_state(waiting, "purchased")
    problem(second.cancel(waiting), 409)


def test_the_limit_per_user_holds_over_all_requests(buyer, organizer):
    event = organizer.create_event(per_user_limit=2)
    problem(buyer.reserve(event, 3), 422, "limit_exceeded")
    buyer.buy(event, 2)
    more = buyer.reserve(event, 1)
    if more.status_code == 202:
        assert buyer.await_state(more.json()["request_id"], "rejected")["reason"]
    else:
        problem(more, 422, "limit_exceeded")


def test_exact_seats_and_the_one_who_comes_second(buyer, other_buyer, organizer):
    event = organizer.create_event(
        [{"name": "Stalls", "price": 3000, "rows": [{"row": "A", "seats": 6}, {"row": "B", "seats": 6}]}]
    )
    seats = ok(buyer.get(f"/api/event/{event}/tickets"))["tickets"]
    wanted = [seat["id"] for seat in seats if seat["row"] == "B"][2:4]
    held = buyer.hold(event, None, ticket_ids=wanted)
    assert sorted(ticket if isinstance(ticket, int) else ticket["id"] for ticket in held["tickets"]) == sorted(wanted)
    late = ok(other_buyer.reserve(event, None, ticket_ids=wanted[:1]), 202)["request_id"]
    assert other_buyer.await_state(late, "rejected")["reason"] == "seats_taken"


def test_seats_come_side_by_side(buyer, organizer):
    event = organizer.create_event(
        [{"name": "Stalls", "price": 3000, "rows": [{"row": "A", "seats": 3}, {"row": "B", "seats": 5}]}]
    )
    held = buyer.hold(event, 4, adjacent=True)
    seats = {seat["id"]: seat for seat in ok(buyer.get(f"/api/event/{event}/tickets"))["tickets"]}
    mine = [seats[ticket if isinstance(ticket, int) else ticket["id"]] for ticket in held["tickets"]]
    assert {seat["row"] for seat in mine} == {"B"}
    numbers = sorted(int(seat["seat"]) for seat in mine)
    assert numbers == list(range(numbers[0], numbers[0] + 4))


def test_a_section_can_be_chosen(buyer, organizer):
    event = organizer.create_event(
        [{"name": "Near", "price": 9000, "capacity": 5}, {"name": "Far", "price": 2000, "capacity": 5}]
    )
    assert buyer.hold(event, 2, section="Far")["amount"] == 4000


def test_first_come_first_served(stack, organizer):
    event = organizer.create_event([{"name": "Floor", "price": 2500, "capacity": 6}])
    buyers = [new_buyer(stack) for _ in range(10)]
    requests = [ok(b.reserve(event, 1, payment_method=VISA), 202) for b in buyers]
    assert [r["position"] for r in requests] == list(range(1, 11))
    ends = [b.await_state(r["request_id"], "purchased", "sold_out") for b, r in zip(buyers, requests, strict=True)]
    assert [e["state"] for e in ends] == ["purchased"] * 6 + ["sold_out"] * 4


def test_no_sale_before_it_opens_or_after_it_closes(buyer, other_buyer, organizer):
    event = organizer.create_event(open=False, onsale_at="2031-01-01T09:00:00Z")
    problem(buyer.reserve(event, 1), 409, "not_open")
    organizer.open_event(event)
    ok(buyer.reserve(event, 1), 202)
    ok(organizer.post(f"/api/admin/events/{event}/close"))
    # A server may take a second to hear of all that an event went through within one.
    until(lambda: other_buyer.reserve(event, 1).json()["code"] == "closed", what="the end of the sale")
    problem(other_buyer.reserve(event, 1), 409, "closed")


def test_polling_can_wait_for_the_change(stack, organizer):
    event = organizer.create_event([{"name": "Floor", "price": 2500, "capacity": 1}])
    first, second = new_buyer(stack), new_buyer(stack)
    held = first.hold(event, 1)
    waiting = ok(second.reserve(event, 1), 202)["request_id"]
    second.await_state(waiting, "standby")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(lambda: second.poll(waiting, wait=20))
        ok(first.cancel(held["request_id"]))
        assert answer.result(15)["state"] == "reserved"


def test_only_the_owner_may_confirm_or_cancel(buyer, other_buyer, organizer):
    event = organizer.create_event()
    request = buyer.hold(event, 1)["request_id"]
    problem(other_buyer.confirm(request), 403)
    problem(other_buyer.cancel(request), 403)
    assert buyer.poll(request)["state"] == "reserved"


def test_confirming_before_there_are_seats(stack, organizer):
    event = organizer.create_event([{"name": "Floor", "price": 2500, "capacity": 1}])
    first, second = new_buyer(stack), new_buyer(stack)
    first.hold(event, 1)
    waiting = ok(second.reserve(event, 1), 202)["request_id"]
    second.await_state(waiting, "standby")
    problem(second.confirm(waiting), 409, "not_reserved")


def test_everyone_sees_the_same_queue(anyone, buyer, organizer):
    event = organizer.create_event()
    buyer.buy(event, 3)
    until(lambda: anyone.queue(event)["sold"] == 3, what="the sale in the queue's document")
    answer = anyone.get(f"/api/event/{event}/queue")
    assert answer.headers["Cache-Control"] == "public, max-age=1"
    body = answer.json()
    assert (body["available"], body["held"], body["sold"]) == (7, 0, 3)
    assert body["head"] == body["tail"] == 1
    assert body["poll_after_ms"] > 0


def test_the_event_page_can_be_revalidated(buyer, organizer):
    event = organizer.create_event()
    tag = until(lambda: buyer.get(f"/api/event/{event}").headers.get("ETag"), what="an ETag")
    answer = buyer.call("GET", f"/api/event/{event}", headers={"If-None-Match": tag})
    assert answer.status_code in (200, 304)
    if answer.status_code == 304:
        assert not answer.content
    problem(buyer.get("/api/event/999999999"), 404)


@pytest.mark.parametrize("path", ["/api/search", "/api/event/1", "/api/event/1/tickets", "/api/me/tickets"])
def test_a_token_is_needed(anyone, path):
    answer = anyone.get(path)
    problem(answer, 401)
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_search_by_place_date_and_price(buyer, organizer):
    word = f"vesper{uuid.uuid4().hex[:8]}"
    cheap = organizer.create_event(
        name=f"Early {word}", location="Usher Hall, Edinburgh", date="2031-01-10T19:00:00Z",
        sections=[{"name": "Floor", "price": 1000, "capacity": 5}],
    )  # fmt: skip
    dear = organizer.create_event(
        name=f"Late {word}", location="Carnegie Hall, Manhattan, NY", date="2031-09-10T19:00:00Z",
        sections=[{"name": "Floor", "price": 9000, "capacity": 5}],
    )  # fmt: skip

    def hits(**query):
        return {hit["id"] for hit in ok(buyer.get("/api/search", terms=word, **query))["events"]}

    until(lambda: hits() == {cheap, dear}, what="both events in search")
    assert hits(location="Edinburgh") == {cheap}
    assert hits(max_price=5000, currency="USD") == {cheap}
    assert hits(**{"from": "2031-06-01T00:00:00Z"}) == {dear}
    assert hits(to="2031-06-01T00:00:00Z") == {cheap}
    first = ok(buyer.get("/api/search", terms=word, limit=1))
    assert first["total"] == 2 and len(first["events"]) == 1
    second = ok(buyer.get("/api/search", terms=word, limit=1, cursor=first["next_cursor"]))
    assert {first["events"][0]["id"], second["events"][0]["id"]} == {cheap, dear}
    assert not second.get("next_cursor")


def test_positions_outlive_a_restart_of_the_workers(own_stack):
    """Not a fault, an everyday restart: what was accepted is served by the workers that come next."""
    organizer = new_organizer(own_stack)
    event = organizer.create_event()
    for worker in ("worker-1", "worker-2"):
        own_stack.kill(worker)
    buyers = [new_buyer(own_stack) for _ in range(5)]
    requests = [ok(b.reserve(event, 1, payment_method=VISA), 202)["request_id"] for b in buyers]
    own_stack.up()
    for b, request in zip(buyers, requests, strict=True):
        b.await_state(request, "purchased", seconds=40)


def test_the_first_sale_of_a_new_database_reads_tickets_by_their_keys(own_stack):
    """No table has been analysed yet: the planner knows nothing, and must not read an event for each purchase."""
    seats, buyers = 20_000, 2_000
    own_stack.onsale("rush", "--create", seats, "--buyers", buyers, "--quantity", "1..1", "--buy", "--no-freshness")
    read = own_stack.sql("SELECT idx_tup_fetch + seq_tup_read FROM pg_stat_user_tables WHERE relname = 'ticket'")[0][0]
    # What loads the seat map and counts for search reads them whole, a few times a second.
    assert buyers <= read < buyers * seats / 10, read
