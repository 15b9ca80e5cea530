"""What organizers give back: over HTTP and at a terminal, as buyers, the provider and the books see it."""

import re

from playwright.sync_api import expect

from client import VISA, ok, problem
from conftest import make_token, new_buyer
from stack import assert_books_agree, until


def refund(organizer, event, request, key=None, **fields):
    path = f"/api/admin/events/{event}/refunds"
    return organizer.post(path, {"request_id": request, **fields}, headers={"Idempotency-Key": key} if key else None)


def await_end(organizer, event, made):
    path = f"/api/admin/events/{event}/refunds/{made['id']}"
    return until(lambda: (r := ok(organizer.get(path)))["state"] != "requested" and r, what="the refund's end")


def bought(buyer, event, quantity):
    request = buyer.hold(event, quantity)["request_id"]
    ok(buyer.confirm(request), 202)
    return buyer.await_state(request, "purchased")


def given_back(stack, organizer, payment):
    provider = type(organizer)(stack.settings["ONSALE_PAYMENT_URL"], stack.settings["ONSALE_PAYMENT_KEY"])
    return ok(provider.get("/v1/refunds", payment_intent=payment["id"]))["data"]


def test_one_ticket_is_given_back_once_and_sold_again(stack, organizer, buyer, other_buyer, ledger):
    event = organizer.create_event([{"name": "Floor", "price": 2500, "capacity": 2}], per_user_limit=2)
    purchase = bought(buyer, event, 2)
    request, tickets = purchase["request_id"], [ticket["id"] for ticket in purchase["tickets"]]
    # A repetition with the same key is the same, also while it is carried out.
    made = ok(refund(organizer, event, request, "one", ticket_ids=tickets[:1]), 202)
    assert made["amount"] == 2500 and made["ticket_ids"] == tickets[:1] and made["seats"] == "release"
    assert ok(refund(organizer, event, request, "one", ticket_ids=tickets[:1]))["id"] == made["id"]
    problem(refund(organizer, event, request, "one", ticket_ids=tickets[1:]), 422)
    assert await_end(organizer, event, made)["state"] == "succeeded"
    problem(refund(organizer, event, request, ticket_ids=tickets[:1]), 409)
    # The provider gave back this much, under this name, once.
    [payment] = ledger(event)
    [back] = given_back(stack, organizer, payment)
    assert (back["amount"], back["metadata"]["onsale_refund"]) == (2500, made["id"])
    # The buyer sees it, wherever they look.
    told = until(lambda: (a := buyer.poll(request)).get("reason") and a, what="the word to the buyer")
    assert (told["state"], told["reason"], told["amount"]) == ("purchased", "partly_refunded", 2500)
    [mine] = ok(buyer.get("/api/me/tickets"))["purchases"]
    assert [ticket["id"] for ticket in mine["tickets"]] == tickets[1:] and mine["amount"] == 2500
    [seen] = mine["refunds"]
    assert (seen["state"], seen["amount"]) == ("succeeded", 2500)
    assert [ticket["id"] for ticket in seen["tickets"]] == tickets[:1]
    # Its seat is for sale again, to its former owner as well: the limit counts what they have.
    again = until(
        lambda: (a := buyer.reserve(event, payment_method=VISA)).status_code == 202 and a.json(), what="a place in line"
    )
    assert [t["id"] for t in buyer.await_state(again["request_id"], "purchased")["tickets"]] == tickets[:1]
    stats = ok(organizer.get(f"/api/admin/events/{event}/stats"))["sales"]
    assert (stats["amount"], stats["refunded_amount"]) == (5000, 2500)
    assert_books_agree(stack)


def test_a_blocked_seat_is_nobodys(stack, organizer, buyer):
    event = organizer.create_event([{"name": "Floor", "price": 2500, "capacity": 1}])
    request = bought(buyer, event, 1)["request_id"]
    made = ok(refund(organizer, event, request, seats="block"), 202)
    assert await_end(organizer, event, made)["state"] == "succeeded"
    # Neither is it as it was before it was bought, which is told for a moment.
    until(lambda: (q := organizer.queue(event))["sold"] == q["available"] == 0, what="the seat's return")
    ok(organizer.post(f"/api/admin/events/{event}/tickets/release", {"ticket_ids": made["ticket_ids"]}))
    until(lambda: organizer.queue(event)["available"] == 1, what="the seat's release")
    assert_books_agree(stack)


def test_the_command_line_gives_back_too(stack, organizer, buyer):
    event = organizer.create_event([{"name": "Floor", "price": 2500, "capacity": 3}])
    request = bought(buyer, event, 2)["request_id"]
    listed = stack.admin("purchases", str(event), "--user", buyer.user)
    place = re.search(rf"^({event}-\d+-\d+)\t", listed, re.MULTILINE)[1]
    assert "50.00 USD" in listed
    told = stack.admin("refund", place, "--block")
    assert "2 tickets, 50.00 USD, blocked" in told
    until(lambda: "\tsucceeded\t" in stack.admin("refunds", str(event)), what="the refund's end")
    until(lambda: buyer.poll(request).get("reason") == "refunded", what="the word to the buyer")
    assert "Nothing was bought" in stack.onsale("admin", "refund", f"{event}-1-999", check=False).stderr
    assert stack.onsale("admin", "refund", place, check=False).returncode == 1
    assert "5000 given back" in stack.admin("payment", place)


def test_who_may_give_back_what(stack, organizer, buyer, other_buyer):
    event = organizer.create_event()
    other_event = organizer.create_event()
    request = bought(buyer, event, 1)["request_id"]
    problem(refund(buyer, event, request), 403)
    problem(refund(organizer, other_event, request), 404, "unknown_request")
    problem(refund(organizer, event, "nonsense"), 404, "unknown_request")
    problem(refund(organizer, event, request, seats="burn"), 400)
    problem(refund(organizer, event, request, ticket_ids=[999]), 409)
    held = other_buyer.hold(event, 1)["request_id"]
    problem(refund(organizer, event, held), 409)
    owned = type(organizer)(stack.url, make_token(stack, "somebody-else", "organizer"))
    mine = ok(owned.post("/api/admin/events", {
        "name": "Mine", "location": "Hall", "date": "2031-05-20T19:30:00Z", "currency": "USD",
        "sections": [{"name": "Floor", "price": 2500, "capacity": 1}],
    }), 201)["id"]  # fmt: skip
    problem(organizer.get(f"/api/admin/events/{mine}/refunds"), 404)
    problem(organizer.get(f"/api/admin/events/{mine}/purchases"), 404)
    [purchase] = ok(organizer.get(f"/api/admin/events/{event}/purchases"))["purchases"]
    assert purchase["request_id"] == request and purchase["user"] == buyer.user


def test_a_refund_waits_for_a_worker_and_is_carried_out_once(own_stack):
    organizer = type(new_buyer(own_stack))(own_stack.url, make_token(own_stack, "organizer", "organizer"))
    buyer = new_buyer(own_stack)
    event = organizer.create_event()
    request = bought(buyer, event, 1)["request_id"]
    for name in ("worker-1", "worker-2"):
        own_stack.kill(name)
    made = ok(refund(organizer, event, request), 202)
    [seen] = ok(buyer.get("/api/me/tickets"))["purchases"][0]["refunds"]
    assert seen["state"] == "requested"
    own_stack.up()
    assert await_end(organizer, event, made)["state"] == "succeeded"
    assert_books_agree(own_stack)


def test_the_buyer_sees_it_on_their_page(visit, hall, organizer):
    event = hall(name="Serenade")
    visitor = visit().register()
    request = bought(visitor.client, event.id, 2)["request_id"]
    purchase = ok(visitor.client.get("/api/me/tickets"))["purchases"][0]
    first = purchase["tickets"][0]
    made = ok(refund(organizer, event.id, request, ticket_ids=[first["id"]]), 202)
    await_end(organizer, event.id, made)
    page = visitor.goto("/tickets")
    notice = page.get_by_role("note")
    expect(notice).to_contain_text("Refunded: €80.00")
    expect(notice).to_contain_text(f"Not valid any more: Stalls row {first['row']} seat {first['seat']}")
    expect(page.get_by_text("1 ticket · €80.00")).to_be_visible()
    rest = ok(refund(organizer, event.id, request), 202)
    await_end(organizer, event.id, rest)
    page = visitor.goto("/tickets")
    expect(page.get_by_text("No tickets left")).to_be_visible()
