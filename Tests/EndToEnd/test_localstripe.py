"""Against `localstripe`, a small Stripe that nobody here wrote: what it can do of what is needed here, it must."""

import os
import signal
import subprocess
import sys

import pytest
import requests

from client import ok
from conftest import new_buyer, new_organizer
from stack import BINARY, free_port, until


@pytest.fixture
def localstripe():
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    provider = subprocess.Popen(
        [sys.executable, "-m", "localstripe", "--port", str(port), "--from-scratch"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until(lambda: answers(url), 20, "localstripe")
        yield url
    finally:
        provider.send_signal(signal.SIGTERM)
        provider.wait(20)


@pytest.fixture
def stripe_stack(own_stack, localstripe):
    """A stack whose only worker speaks to localstripe."""
    for name in ("worker-1", "worker-2"):
        own_stack.kill(name)
    environment = {
        **os.environ, **own_stack.settings, "ONSALE_PAYMENT_URL": localstripe, "ONSALE_PAYMENT_KEY": "sk_test_12345",
        # It knows nothing of buyers who are sent to their bank.
        "ONSALE_URL": "",
    }  # fmt: skip
    worker = subprocess.Popen([BINARY, "worker"], env=environment, stdin=subprocess.DEVNULL)
    try:
        yield own_stack, localstripe
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(20)


def answers(url):
    try:
        return requests.get(f"{url}/v1/payment_intents", auth=("sk_test_12345", ""), timeout=5).ok
    except requests.RequestException:
        return False


def test_purchases_go_through_and_refusals_end(stripe_stack):
    stack, url = stripe_stack
    organizer, buyer = new_organizer(stack), new_buyer(stack)
    event = organizer.create_event()

    def payments():
        found = ok(requests.get(f"{url}/v1/payment_intents?limit=100", auth=("sk_test_12345", ""), timeout=10))["data"]
        return sorted((p["status"], p["amount"]) for p in found)

    request = buyer.hold(event, 2)["request_id"]
    # A card that it does not know is asked for once, not for ever.
    ok(buyer.confirm(request, "pm_nobody_knows"), 202)
    buyer.await_state(request, "declined")
    ok(buyer.confirm(request), 202)
    buyer.await_state(request, "purchased", seconds=30)
    until(lambda: ("succeeded", 5000) in payments(), what="the capture")
    assert [status for status, _ in payments()].count("succeeded") == 1


def test_it_does_what_is_asked_of_the_stub(localstripe):
    tests = BINARY.with_name("onsalePackageTests.xctest")
    if not tests.exists():
        pytest.skip(f"{tests} is not built")
    said = subprocess.run(
        [tests, "--testing-library", "swift-testing", "--no-parallel", "--filter", r"PaymentsTests\.ConformanceTests"],
        env={**os.environ, "ONSALE_TEST_PROVIDER_URL": localstripe},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert said.returncode == 0 and "Test run with 5 tests" in said.stdout + said.stderr, said.stdout + said.stderr
