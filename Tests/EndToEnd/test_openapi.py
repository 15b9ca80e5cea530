"""The document at /openapi.json and the server say the same."""

import re

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from client import ok

METHODS = {"get", "post", "put", "delete"}


@pytest.fixture(scope="session")
def document(stack):
    from client import Client

    return ok(Client(stack.url).get("/openapi.json"))


@pytest.fixture(scope="session")
def api_schema(stack, document):
    return schemathesis.openapi.from_url(stack.url + "/openapi.json")


schema = schemathesis.pytest.from_fixture("api_schema")


@pytest.fixture(scope="session")
def tokens(stack):
    from conftest import make_token

    return {role: make_token(stack, f"openapi-{role}", role) for role in ("customer", "organizer")}


@pytest.mark.timeout(600)
@schema.parametrize()
@settings(
    max_examples=15, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)  # fmt: skip
def test_generated_requests_are_answered_as_documented(case, tokens):
    role = "organizer" if "/admin/" in case.path else "customer"
    # Long polls are documented; waiting for each of them is not what is tested here.
    if case.query and "wait" in case.query:
        case.query["wait"] = 0
    case.call_and_validate(
        headers={"Authorization": f"Bearer {tokens[role]}"},
        timeout=20,
        excluded_checks=[
            # A token is always sent here; test_hostile.py tries all that is wrong with one.
            schemathesis.checks.ignored_auth,
        ]
        if hasattr(schemathesis.checks, "ignored_auth")
        else [],
    )


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
        ("get", "/metrics"),
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
