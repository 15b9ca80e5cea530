"""The document at /openapi.json and the server say the same."""

import json
import os
import re

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from client import Client, ok
from conftest import make_token
from stack import ROOT

METHODS = {"get", "post", "put", "patch", "delete"}
FILE = ROOT / "Sources/Service/HTTPCommon/Resources/openapi.json"
OPERATIONS = [result.ok() for result in schemathesis.openapi.from_path(str(FILE)).get_all_operations()]


@pytest.fixture(scope="session")
def document(stack):
    return ok(Client(stack.url).get("/openapi.json"))


def test_what_is_served_is_the_file(document):
    assert document == json.loads(FILE.read_text())


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_generated_requests_are_answered_as_documented(stack, operation):
    role = "organizer" if "/admin/" in operation.path else "customer"
    headers = {"Authorization": f"Bearer {make_token(stack, f'openapi-{role}', role)}"}

    @given(case=operation.as_strategy())
    @settings(
        max_examples=int(os.environ.get("OPENAPI_EXAMPLES", "20")), deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck)
    )
    def check(case):
        # Long polls are documented; waiting for each of them is not what is tested here.
        if case.query and "wait" in case.query:
            case.query["wait"] = 0
        case.call_and_validate(
            base_url=stack.url,
            headers=headers,
            timeout=20,
            # A schema cannot say which sections there are, what a table must look like inside, or that JSON's
            # numbers end somewhere: what it allows may still be refused, as documented.
            excluded_checks=[positive_data_acceptance],
        )

    check()


def test_the_document_is_openapi_3_1_and_names_what_there_is(document):
    assert document["openapi"].startswith("3.1")
    operations = {(method, path) for path, item in document["paths"].items() for method in item if method in METHODS}
    assert {
        ("post", "/api/users"),
        ("post", "/api/sessions"),
        ("get", "/api/search"),
        ("get", "/api/event/{id}"),
        ("get", "/api/event/{id}/tickets"),
        ("get", "/api/event/{id}/queue"),
        ("post", "/api/ticket/reserve"),
        ("get", "/api/request/{request_id}"),
        ("delete", "/api/request/{request_id}"),
        ("post", "/api/ticket/confirm"),
        ("get", "/api/me/tickets"),
        ("post", "/api/admin/events"),
        ("put", "/api/admin/events/{id}"),
        ("post", "/api/admin/events/{id}/open"),
        ("post", "/api/admin/events/{id}/pause"),
        ("post", "/api/admin/events/{id}/resume"),
        ("post", "/api/admin/events/{id}/close"),
        ("put", "/api/admin/events/{id}/message"),
        ("put", "/api/admin/events/{id}/rate"),
        ("post", "/api/admin/events/{id}/tickets"),
        ("get", "/api/admin/events/{id}/stats"),
        ("get", "/healthz"),
        ("get", "/readyz"),
        ("get", "/openapi.json"),
    } <= operations


def test_every_documented_path_is_served(document, organizer):
    event = organizer.create_event()
    request = ok(organizer.reserve(event, 1), 202)["request_id"]
    for path, item in document["paths"].items():
        filled = path.replace("{request_id}", request)
        filled = re.sub(r"\{[^}]+\}", str(event), filled)
        for method in METHODS & item.keys():
            # An empty body is refused for what it says, not for where it was sent.
            answer = organizer.call(method.upper(), filled, {} if method in ("post", "put") else None)
            assert answer.status_code not in (405, 500, 501), f"{method} {path}: {answer.status_code}"
            assert str(answer.status_code) in item[method]["responses"] or "default" in item[method]["responses"], (
                f"{method} {path} answered {answer.status_code}, which is not documented"
            )
            if answer.status_code == 404:
                assert answer.json().get("code") != "no_such_path", path


def test_a_guest_may_do_what_the_document_says_and_nothing_else(document, anyone, organizer):
    """Every operation, with a guest's token: what names `guest`, or asks for no token, is answered; all else is 403."""
    event = organizer.create_event()
    guest = Client(anyone.url, ok(anyone.post("/api/sessions/guest"))["token"])
    seen = {"open": [], "guest": [], "refused": []}
    for path, item in document["paths"].items():
        filled = path.replace("{request_id}", "x").replace("{id}", str(event))
        filled = re.sub(r"\{[^}]+\}", "1", filled)
        for method in METHODS & item.keys():
            label, security = f"{method} {path}", item[method]["security"]
            roles = {role for each in security for names in each.values() for role in names}
            assert not security or roles, f"{label} does not say for whom it is"
            answer = guest.call(method.upper(), filled, {} if method in ("post", "put", "patch") else None)
            code = answer.json().get("code") if answer.status_code >= 400 else None
            if not security:
                seen["open"].append(label)
                assert answer.status_code != 401 and code != "account_required", f"{label}: {answer.text}"
            elif "guest" in roles:
                seen["guest"].append(label)
                assert method == "get", f"{label}: guests look, and change nothing"
                assert answer.status_code in (200, 404) and code in (None, "no_plan"), f"{label}: {answer.text}"
            else:
                seen["refused"].append(label)
                assert answer.status_code == 403 and code == "account_required", f"{label}: {answer.text}"
    assert sorted(seen["guest"]) == [
        "get /api/event/{id}", "get /api/event/{id}/plan", "get /api/event/{id}/tickets", "get /api/search",
    ]  # fmt: skip
    assert len(seen["refused"]) > 30 and "post /api/ticket/reserve" in seen["refused"]
    # Nothing of anybody is in what a guest gets to see.
    assert not ok(guest.get(f"/api/event/{event}/queue")).keys() & {"request_id", "user_id", "position"}
