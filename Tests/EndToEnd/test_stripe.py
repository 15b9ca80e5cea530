"""The payment stub, driven by Stripe's own library: pointing Onsale at the real thing is configuration."""

import uuid

import pytest
import stripe


@pytest.fixture
def provider(stack):
    return stripe.StripeClient(
        stack.settings["ONSALE_PAYMENT_KEY"],
        base_addresses={"api": stack.settings["ONSALE_PAYMENT_URL"]},
        max_network_retries=0,
    ).v1


def authorise(provider, amount=2500, method="pm_card_visa", key=None, **fields):
    return provider.payment_intents.create(
        {
            "amount": amount,
            "currency": "usd",
            "capture_method": "manual",
            "confirm": True,
            "payment_method": method,
            "metadata": {"onsale_reference": uuid.uuid4().hex},
            **fields,
        },
        options={"idempotency_key": key or uuid.uuid4().hex},
    )


def test_authorise_then_capture(provider):
    payment = authorise(provider)
    assert payment.object == "payment_intent" and payment.id.startswith("pi_")
    assert (payment.status, payment.amount, payment.amount_capturable) == ("requires_capture", 2500, 2500)
    assert payment.currency == "usd" and payment.livemode is False
    captured = provider.payment_intents.capture(payment.id)
    assert (captured.status, captured.amount_received, captured.amount_capturable) == ("succeeded", 2500, 0)
    again = provider.payment_intents.retrieve(payment.id)
    assert again.status == "succeeded" and again.metadata == payment.metadata


def test_authorise_then_cancel(provider):
    payment = authorise(provider)
    assert provider.payment_intents.cancel(payment.id).status == "canceled"
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        provider.payment_intents.capture(payment.id)
    assert refusal.value.code == "payment_intent_unexpected_state"


def test_a_captured_payment_cannot_be_canceled(provider):
    payment = authorise(provider)
    provider.payment_intents.capture(payment.id)
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        provider.payment_intents.cancel(payment.id)
    assert refusal.value.code == "payment_intent_unexpected_state"


@pytest.mark.parametrize(
    "method, decline_code",
    [
        ("pm_card_visa_chargeDeclined", "generic_decline"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "insufficient_funds"),
    ],
)
def test_a_declined_card(provider, method, decline_code):
    with pytest.raises(stripe.CardError) as refusal:
        authorise(provider, method=method)
    assert refusal.value.http_status == 402
    assert refusal.value.code == "card_declined"
    assert refusal.value.error.decline_code == decline_code
    assert refusal.value.error.payment_intent["status"] == "requires_payment_method"


def test_one_key_is_one_payment(provider):
    key, fields = uuid.uuid4().hex, {"metadata": {"onsale_reference": "same"}}
    first = authorise(provider, key=key, **fields)
    second = authorise(provider, key=key, **fields)
    assert first.id == second.id
    with pytest.raises(stripe.IdempotencyError):
        authorise(provider, amount=9999, key=key, **fields)


def test_a_declined_card_is_declined_again_under_its_key(provider):
    key, fields = uuid.uuid4().hex, {"metadata": {"onsale_reference": "same"}}
    for _ in range(2):
        with pytest.raises(stripe.CardError):
            authorise(provider, method="pm_card_visa_chargeDeclined", key=key, **fields)


def test_listing_goes_through_all_payments(provider):
    made = {authorise(provider).id for _ in range(5)}
    seen = set()
    for payment in provider.payment_intents.list({"limit": 2}).auto_paging_iter():
        seen.add(payment.id)
        if made <= seen:
            break
    assert made <= seen


def test_refunds(provider):
    payment = authorise(provider)
    provider.payment_intents.capture(payment.id)
    refund = provider.refunds.create({"payment_intent": payment.id})
    assert (refund.object, refund.status, refund.amount) == ("refund", "succeeded", 2500)
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        provider.refunds.create({"payment_intent": payment.id})
    assert refusal.value.code == "charge_already_refunded"


def test_what_is_not_there_or_not_right(stack, provider):
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        provider.payment_intents.retrieve("pi_nothing")
    assert refusal.value.code == "resource_missing"
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        authorise(provider, amount=0)
    assert refusal.value.param == "amount"
    stranger = stripe.StripeClient("sk_test_wrong", base_addresses={"api": stack.settings["ONSALE_PAYMENT_URL"]})
    with pytest.raises(stripe.AuthenticationError):
        stranger.v1.payment_intents.list()


def test_the_ledger_survives_a_kill(own_stack):
    def client():
        return stripe.StripeClient(
            own_stack.settings["ONSALE_PAYMENT_KEY"],
            base_addresses={"api": own_stack.settings["ONSALE_PAYMENT_URL"]},
        ).v1

    key = uuid.uuid4().hex
    fields = {"metadata": {"onsale_reference": "kept"}}
    payment = authorise(client(), key=key, **fields)
    client().payment_intents.capture(payment.id)
    own_stack.kill("payments-1")
    own_stack.up()
    assert client().payment_intents.retrieve(payment.id).status == "succeeded"
    assert authorise(client(), key=key, **fields).id == payment.id
