"""Refunds and disputes that somebody makes at the provider's dashboard: on the purchase, with the buyer, in the books."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import requests
import stripe

from client import ok
from stack import assert_books_agree, until


@pytest.fixture
def dashboard(stack):
    def act(path, **form):
        return ok(
            requests.post(
                f"{stack.settings['ONSALE_PAYMENT_URL']}/stub/dashboard/{path}", data=form, timeout=10,
                headers={"Authorization": f"Bearer {stack.settings['ONSALE_PAYMENT_KEY']}"},
            )
        )  # fmt: skip

    return act


def bought(organizer, buyer, ledger, quantity=2):
    event = organizer.create_event()
    request = buyer.hold(event, quantity)["request_id"]
    ok(buyer.confirm(request), 202)
    buyer.await_state(request, "purchased")
    payment = until(lambda: [p for p in ledger(event) if p["status"] == "succeeded"], what="the capture")[0]
    return event, request, payment["id"]


def sold(organizer, event):
    return ok(organizer.get(f"/api/admin/events/{event}/purchases"))["purchases"][0]


def test_a_refund_made_at_the_dashboard_shows_everywhere(stack, organizer, buyer, ledger, dashboard):
    event, request, payment = bought(organizer, buyer, ledger)
    dashboard("refunds", payment_intent=payment, amount=1000)
    until(lambda: sold(organizer, event)["refunded"] == 1000, what="the part that was given back")
    assert len(sold(organizer, event)["ticket_ids"]) == 2
    dashboard("refunds", payment_intent=payment)
    until(lambda: buyer.poll(request).get("reason") == "refunded", what="the word to the buyer")
    purchase = sold(organizer, event)
    assert (purchase["ticket_ids"], purchase["refunded"], purchase["charged"]) == ([], 5000, 5000)
    [mine] = ok(buyer.get("/api/me/tickets"))["purchases"]
    assert [refund["amount"] for refund in mine["refunds"]] == [1000, 4000] and mine["tickets"] == []
    made = ok(organizer.get(f"/api/admin/events/{event}/refunds"))["refunds"]
    assert {refund["requested_by"] for refund in made} == {"provider"}
    assert "refund" in stack.admin("log", str(event))
    assert_books_agree(stack)


def test_a_dispute_names_its_payment_alone_and_shows_everywhere(stack, organizer, buyer, ledger, dashboard):
    event, request, payment = bought(organizer, buyer, ledger)
    dispute = dashboard("disputes", payment_intent=payment, reason="product_not_received")
    assert dispute["metadata"] == {}
    seen = until(lambda: sold(organizer, event)["disputes"], what="the dispute")
    assert (seen[0]["id"], seen[0]["reason"], seen[0]["status"]) == (
        dispute["id"], "product_not_received", "needs_response",
    )  # fmt: skip
    assert ok(buyer.get("/api/me/tickets"))["purchases"][0]["disputes"] == [
        {"amount": 5000, "status": "needs_response"}
    ]
    stats = f"/api/admin/events/{event}/stats"
    assert ok(organizer.get(stats))["sales"]["disputed_amount"] == 5000
    assert dispute["id"] in stack.admin("purchases", str(event))
    dashboard(f"disputes/{dispute['id']}/won")
    until(lambda: sold(organizer, event)["disputes"][0]["status"] == "won", what="the dispute's end")
    assert ok(organizer.get(stats))["sales"]["disputed_amount"] == 0
    assert buyer.poll(request)["state"] == "purchased"
    assert_books_agree(stack)


def test_old_and_repeated_messages_change_nothing(stack, organizer, buyer, ledger, dashboard):
    event, request, payment = bought(organizer, buyer, ledger)
    dispute = dashboard("disputes", payment_intent=payment)
    dashboard(f"disputes/{dispute['id']}/lost")
    until(lambda: [d["status"] for d in sold(organizer, event)["disputes"]] == ["lost"], what="the dispute's end")
    # One of before comes late, twice; and one that was never true. The provider is asked each time.
    for body in [
        {"type": "charge.dispute.created", "data": {"object": dispute}},
        {"type": "charge.dispute.created", "data": {"object": dispute}},
        {"type": "refund.created", "data": {"object": {"object": "refund", "payment_intent": payment, "amount": 5000}}},
    ]:
        text, now = json.dumps(body), int(time.time())
        secret = stack.settings["ONSALE_PAYMENT_WEBHOOK_SECRET"]
        signature = stripe.WebhookSignature._compute_signature(f"{now}.{text}", secret)
        ok(requests.post(
            f"{stack.url}/api/payment/webhook", data=text, headers={"Stripe-Signature": f"t={now},v1={signature}"},
            timeout=10,
        ))  # fmt: skip
    until(lambda: stack.sql("SELECT count(*) FROM payment_news") == [(0,)], what="the news to be looked at")
    purchase = sold(organizer, event)
    assert [d["status"] for d in purchase["disputes"]] == ["lost"] and purchase["refunded"] == 0
    assert len(purchase["ticket_ids"]) == 2
    assert_books_agree(stack)


def test_the_stub_tells_of_them_as_stripe_does(own_stack):
    heard = []

    class Ear(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard.append(stripe.Webhook.construct_event(body, self.headers["Stripe-Signature"], "whsec_0123456789abcdef"))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Ear)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url, key = own_stack.settings["ONSALE_PAYMENT_URL"], own_stack.settings["ONSALE_PAYMENT_KEY"]
        headers = {"Authorization": f"Bearer {key}"}
        target = {"url": f"http://127.0.0.1:{server.server_port}/", "secret": "whsec_0123456789abcdef"}
        ok(requests.post(f"{url}/stub/webhook", json=target, headers=headers, timeout=10))
        provider = stripe.StripeClient(key, base_addresses={"api": url}).v1
        payment = provider.payment_intents.create(
            {"amount": 2500, "currency": "usd", "confirm": True, "payment_method": "pm_card_visa"}
        )
        refund = provider.refunds.create({"payment_intent": payment.id, "amount": 500})
        ok(requests.post(
            f"{url}/stub/dashboard/disputes", data={"payment_intent": payment.id}, headers=headers, timeout=10
        ))  # fmt: skip
        until(lambda: len(heard) == 2, what="two messages")
        by_type = {event.type: event.data.object for event in heard}
        assert by_type["refund.created"].id == refund.id and by_type["refund.created"].payment_intent == payment.id
        [dispute] = provider.disputes.list({"payment_intent": payment.id}).data
        told = by_type["charge.dispute.created"]
        assert (told.id, told.payment_intent, told.charge) == (dispute.id, payment.id, payment.latest_charge)
        assert provider.disputes.retrieve(dispute.id).status == "needs_response"
    finally:
        server.shutdown()
