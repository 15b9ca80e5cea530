"""Every test here talks to a real stack: real PostgreSQL, real Redis, the payment stub over HTTP."""

import time
import uuid

import jwt
import pytest

from client import Client, ok
from page_fixtures import chromium, hall, pictures, site, visit  # noqa: F401  (fixtures)
from stack import Stack


def _started(directory, **options):
    stack = Stack(directory, **options)
    try:
        stack.up()
        yield stack
    finally:
        stack.remove()


@pytest.fixture(scope="session")
def stack(tmp_path_factory):
    """One stack for all tests that leave it as they found it, apart from rows."""
    yield from _started(tmp_path_factory.mktemp("stack") / "state")


@pytest.fixture
def own_stack(tmp_path):
    """A stack for one test, which may break it."""
    yield from _started(tmp_path / "state")


def make_token(stack, user=None, role="customer", lifetime=3600, secret=None, **claims):
    now = int(time.time())
    payload = {"sub": user or f"user-{uuid.uuid4().hex}", "role": role, "iat": now, "exp": now + lifetime}
    return jwt.encode({**payload, **claims}, secret or stack.settings["ONSALE_JWT_SECRET"], algorithm="HS256")


def new_buyer(stack, user=None):
    """Somebody who never was here; a valid token is enough, no row in `users` is needed."""
    user = user or f"user-{uuid.uuid4().hex}"
    return Client(stack.url, make_token(stack, user), user)


def new_organizer(stack):
    return Client(stack.url, make_token(stack, "organizer", "organizer"), "organizer")


@pytest.fixture
def buyer(stack):
    return new_buyer(stack)


@pytest.fixture
def other_buyer(stack):
    return new_buyer(stack)


@pytest.fixture
def organizer(stack):
    return new_organizer(stack)


@pytest.fixture
def anyone(stack):
    return Client(stack.url)


@pytest.fixture
def ledger(stack):
    """Reads the payment provider's books: all payments of one event."""
    key = stack.settings["ONSALE_PAYMENT_KEY"]
    provider = Client(stack.settings["ONSALE_PAYMENT_URL"], key)

    def payments(event):
        found, after = [], {}
        while True:
            page = ok(provider.get("/v1/payment_intents", limit=100, **after))
            found += page["data"]
            if not page["has_more"]:
                break
            after = {"starting_after": page["data"][-1]["id"]}
        return [p for p in found if p["metadata"].get("onsale_event") == str(event)]

    return payments
