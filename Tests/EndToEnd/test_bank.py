"""Payments that wait for their buyer, whose bank wants to hear from them, and what the provider tells of it meanwhile."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import requests
import stripe
from playwright.sync_api import expect

from client import Client, ok, problem
from page_fixtures import PHONE
from stack import until
from test_page import heading, pay

ASKS_ITS_BANK = "Visa that asks its bank"


@pytest.fixture
def closed(ledger):
    """Waits until nothing of an event is open at the provider; returns how its payments ended."""

    def wait(event):
        def statuses():
            found = sorted(payment["status"] for payment in ledger(event))
            return found if set(found) <= {"succeeded", "canceled"} else None

        return until(statuses, 40, "everything at the provider to be closed")

    return wait


def hold(visit, hall):
    event = hall()
    page = visit(viewport=PHONE).register().goto(event.path)
    page.get_by_role("button", name="Get tickets").click()
    expect(heading(page, "Your 2 tickets are held")).to_be_visible()
    pay(page, ASKS_ITS_BANK)
    expect(heading(page, "Your bank wants to hear from you")).to_be_visible()
    page.get_by_role("link", name="Continue to your bank").click()
    expect(heading(page, "Is this you?")).to_be_visible()
    return event, page


def test_who_confirms_it_with_their_bank_has_paid(visit, hall, closed):
    event, page = hold(visit, hall)
    page.get_by_role("button", name="Yes, pay").click()
    expect(heading(page, "They are yours")).to_be_visible()
    assert closed(event.id) == ["succeeded"]


def test_who_is_refused_by_their_bank_may_pay_otherwise(visit, hall, closed):
    event, page = hold(visit, hall)
    page.get_by_role("button", name="No").click()
    expect(heading(page, "Your 2 tickets are held")).to_be_visible()
    expect(page.get_by_text("Your bank was not convinced that it is you. Nothing was charged.")).to_be_visible()
    pay(page)
    expect(heading(page, "They are yours")).to_be_visible()
    assert closed(event.id) == ["canceled", "succeeded"]


def test_who_comes_back_without_an_answer_finds_the_way_to_their_bank(visit, hall, closed):
    event, page = hold(visit, hall)
    page.go_back()
    expect(heading(page, "Your bank wants to hear from you")).to_be_visible()
    page.reload()
    page.get_by_role("link", name="Continue to your bank").click()
    page.get_by_role("button", name="Yes, pay").click()
    expect(heading(page, "They are yours")).to_be_visible()
    assert closed(event.id) == ["succeeded"]


def test_who_never_answers_their_bank_loses_the_seats_and_is_not_charged(own_stack):
    from conftest import new_buyer, new_organizer

    environment = own_stack.state / "env"
    environment.write_text(environment.read_text() + "ONSALE_PAYMENT_ACTION_SECONDS=2\n")
    own_stack.down()
    own_stack.up()
    organizer, buyer = new_organizer(own_stack), new_buyer(own_stack)
    event = organizer.create_event(hold_seconds=10)
    request = buyer.hold(event, 2)["request_id"]
    ok(buyer.confirm(request, "pm_card_threeDSecure2Required"), 202)
    waiting = buyer.await_state(request, "action_required")
    assert waiting["action"]["redirect_url"].startswith("http://") and len(waiting["tickets"]) == 2
    told = buyer.await_state(request, "declined", seconds=30)
    assert told["reason"] == "authentication_required"
    # The bank's page comes too late, once the provider has been told to let go: nothing is taken.
    provider = Client(own_stack.settings["ONSALE_PAYMENT_URL"], own_stack.settings["ONSALE_PAYMENT_KEY"])
    until(
        lambda: [p["status"] for p in ok(provider.get("/v1/payment_intents", limit=10))["data"]] == ["canceled"],
        20, "the payment to be let go of",
    )  # fmt: skip
    assert requests.post(waiting["action"]["redirect_url"] + "/approve", allow_redirects=False, timeout=10).status_code == 303

    def is_over():
        answer = buyer.poll(request)
        return "expires_at" not in answer and organizer.queue(event)["available"] == 10

    until(is_over, 30, "the seats to come back")


# --- What the provider tells ---


def send(stack, body, secret=None, at=None):
    at = at or int(time.time())
    secret = secret or stack.settings["ONSALE_PAYMENT_WEBHOOK_SECRET"]
    # As the official library computes it.
    signature = stripe.WebhookSignature._compute_signature(f"{at}.{body}", secret)
    return requests.post(
        f"{stack.url}/api/payment/webhook", data=body.encode(), timeout=10,
        headers={"Stripe-Signature": f"t={at},v1={signature}", "Content-Type": "application/json"},
    )  # fmt: skip


def test_messages_are_heard_if_they_are_signed_as_stripe_signs_them(stack):
    body = json.dumps({"type": "payment_intent.succeeded", "data": {"object": {"metadata": {"onsale_event": "1"}}}})
    assert ok(send(stack, body)) == {"received": True}
    assert ok(send(stack, json.dumps({"type": "charge.refunded"}))) == {"received": True}
    problem(send(stack, body, secret="whsec_of_somebody_else"), 400, "invalid_signature")
    problem(send(stack, body, at=int(time.time()) - 600), 400, "invalid_signature")
    problem(send(stack, body, at=int(time.time()) + 600), 400, "invalid_signature")
    unsigned = requests.post(f"{stack.url}/api/payment/webhook", data=body, timeout=10)
    problem(unsigned, 400, "invalid_signature")
    # A forged or repeated message decides nothing: what is there is asked for.
    for _ in range(3):
        ok(send(stack, body))


def test_the_stub_signs_as_stripe_does(own_stack):
    heard = []

    class Ear(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard.append((body, self.headers["Stripe-Signature"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Ear)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        provider = own_stack.settings["ONSALE_PAYMENT_URL"]
        key = {"Authorization": f"Bearer {own_stack.settings['ONSALE_PAYMENT_KEY']}"}
        target = {"url": f"http://127.0.0.1:{server.server_port}/", "secret": "whsec_0123456789abcdef"}
        ok(requests.post(f"{provider}/stub/webhook", json=target, headers=key, timeout=10))
        form = {
            "amount": 2500, "currency": "usd", "payment_method": "pm_card_threeDSecure2Required", "confirm": "true",
            "capture_method": "manual", "return_url": "http://127.0.0.1/back",
        }  # fmt: skip
        payment = ok(requests.post(f"{provider}/v1/payment_intents", data=form, headers=key, timeout=10))
        page = payment["next_action"]["redirect_to_url"]["url"]
        requests.post(f"{page}/approve", allow_redirects=False, timeout=10)
        until(lambda: heard, what="a webhook")
        event = stripe.Webhook.construct_event(heard[0][0], heard[0][1], "whsec_0123456789abcdef")
        assert event.type == "payment_intent.amount_capturable_updated"
        assert event.data.object.id == payment["id"]
        with pytest.raises(stripe.SignatureVerificationError):
            stripe.Webhook.construct_event(heard[0][0], heard[0][1], "whsec_of_somebody_else")
    finally:
        server.shutdown()
