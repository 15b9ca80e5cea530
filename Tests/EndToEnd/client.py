"""Calls to Onsale's HTTP API, as any client would make them."""

import itertools
import uuid

import requests

from stack import until

# As documented: a request that reached one of these never changes again.
TERMINAL = {"purchased", "expired", "sold_out", "cancelled", "rejected"}
VISA = "pm_card_visa"
DECLINED = "pm_card_visa_chargeDeclined"

_numbers = itertools.count(1)


class Client:
    """One person, or nobody in particular if without a token."""

    def __init__(self, url, token=None, user=None):
        self.url = url
        self.user = user
        self.session = requests.Session()
        # A proxy that the environment names is for the world outside, not for loopback.
        self.session.trust_env = False
        if token:
            self.session.headers["Authorization"] = f"Bearer {token}"

    def call(self, method, path, body=None, timeout=35, **options):
        return self.session.request(method, self.url + path, json=body, timeout=timeout, **options)

    def get(self, path, **parameters):
        return self.call("GET", path, params=parameters)

    def post(self, path, body=None, **options):
        return self.call("POST", path, body if body is not None else {}, **options)

    # --- What a buyer does ---

    def reserve(self, event, quantity=1, **fields):
        headers = fields.pop("headers", None)
        body = {"event_id": event, **({"quantity": quantity} if quantity else {}), **fields}
        return self.post("/api/ticket/reserve", body, headers=headers)

    def confirm(self, request, method=VISA):
        return self.post("/api/ticket/confirm", {"request_id": request, "payment_method": method})

    def cancel(self, request):
        return self.call("DELETE", f"/api/request/{request}")

    def poll(self, request, **parameters):
        return ok(self.get(f"/api/request/{request}", **parameters))

    def await_state(self, request, *states, seconds=20):
        """Polls until the request is in one of `states`; fails at once if it ended in another."""

        def look():
            answer = self.poll(request)
            if answer["state"] in TERMINAL and answer["state"] not in states:
                raise AssertionError(f"ended as {answer}, not {states}")
            return answer if answer["state"] in states else None

        return until(look, seconds, f"state {states}")

    def hold(self, event, quantity=1, **fields):
        """Reserves and waits for the seats; returns the request as polled."""
        answer = ok(self.reserve(event, quantity, **fields), 202)
        return self.await_state(answer["request_id"], "reserved")

    def buy(self, event, quantity=1, seconds=30, **fields):
        answer = ok(self.reserve(event, quantity, payment_method=VISA, **fields), 202)
        return self.await_state(answer["request_id"], "purchased", seconds=seconds)

    # --- What an organizer does ---

    def create_event(self, sections=None, open=True, **fields):
        """Makes an event and opens it; returns its id once it can be reserved."""
        body = {
            "name": f"Concert {next(_numbers)} {uuid.uuid4().hex[:8]}",
            "location": "Town Hall, Springfield",
            "date": "2031-05-20T19:30:00Z",
            "currency": "USD",
            "sections": sections or [{"name": "Floor", "price": 2500, "capacity": 10}],
            **fields,
        }
        event = ok(self.post("/api/admin/events", body), 201)["id"]
        if open:
            self.open_event(event)
        return event

    def open_event(self, event):
        ok(self.post(f"/api/admin/events/{event}/open"))
        until(lambda: self.queue(event)["state"] == "open", what="the sale's start")

    def queue(self, event):
        return ok(self.get(f"/api/event/{event}/queue"))


def ok(response, status=200):
    """The answer's JSON, having checked its status."""
    assert response.status_code == status, f"{response.status_code} {response.text[:500]}"
    return response.json()


def problem(response, status, code=None):
    """Checks that the answer is a problem as RFC 9457 has it, and returns it."""
    assert response.status_code == status, f"{response.status_code} {response.text[:500]}"
    assert response.headers["Content-Type"].startswith("application/problem+json")
    body = response.json()
    assert {"type", "title", "status", "detail", "code"} <= body.keys(), body
    assert body["status"] == status
    if code:
        assert body["code"] == code, body
    if status in (429, 503):
        assert int(response.headers["Retry-After"]) >= 1
    return body
