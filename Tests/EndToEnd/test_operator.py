"""What an operator does: events over HTTP and by `onsale admin`, and the controls during a sale."""

import contextlib
import json
import os
import pty
import re
import subprocess
import time
import uuid

import jwt
import psycopg
import pytest
import requests

from client import VISA, Client, ok, problem
from conftest import new_buyer
from stack import BINARY, ROOT, assert_books_agree, free_port, until


def test_the_command_line_issues_tokens(stack):
    for role in ("organizer", "customer"):
        token = stack.admin("token", "--role", role).strip()
        claims = jwt.decode(token, stack.settings["ONSALE_JWT_SECRET"], algorithms=["HS256"])
        assert claims["role"] == role and claims["sub"] and claims["exp"] > time.time()
    organizer = Client(stack.url, stack.admin("token", "--role", "organizer").strip())
    organizer.create_event()


def test_a_program_says_which_version_it_is(stack):
    said = stack.onsale("version").stdout
    version = re.fullmatch(r"onsale (\d+\.\d+\.\d+), schema (\d+), functions of Redis (\d+)\n", said)
    assert version, said
    assert version[1] in (ROOT / "CHANGELOG.md").read_text()
    with psycopg.connect(stack.settings["ONSALE_MIGRATE_DATABASE_URL"]) as database:
        assert database.execute("SELECT max(id) FROM schema_step").fetchone()[0] == int(version[2])


def on_a_terminal(stack, *arguments, **settings):
    """What a command shows on a terminal, and how it ends."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, **stack.settings, **settings}
    process = subprocess.Popen(
        [BINARY, *arguments], env=environment, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    # Reading fails once nobody has the other end.
    with contextlib.suppress(OSError):
        while piece := os.read(ours, 65_536):
            shown += piece
    os.close(ours)
    return process.wait(60), shown.decode()


def json_lines(text):
    return [line for line in text.splitlines() if line.lstrip().startswith('{"')]


def test_commands_for_people_show_no_json_on_a_terminal(stack):
    nobody = {"ONSALE_DATABASE_URL": f"postgres://nobody@127.0.0.1:{free_port()}/nowhere"}
    code, shown = on_a_terminal(stack, "migrate", "--wait", "5")
    assert code == 0 and "schema is up to date" in shown and not json_lines(shown), shown
    for command, expected in ((("audit",), (0, 1)), (("admin", "list"), (0,))):
        code, shown = on_a_terminal(stack, *command)
        assert code in expected and shown and not json_lines(shown), shown
        assert "redis: connected" not in shown, shown
    for command in (("audit",), ("admin", "list"), ("migrate",)):
        code, shown = on_a_terminal(stack, *command, **nobody, ONSALE_MIGRATE_DATABASE_URL=nobody["ONSALE_DATABASE_URL"])
        assert code != 0 and shown and not json_lines(shown), shown


def test_commands_for_people_write_for_people_into_a_pipe_too(stack):
    nobody = {"ONSALE_DATABASE_URL": f"postgres://nobody@127.0.0.1:{free_port()}/nowhere"}
    said = subprocess.run([BINARY, "audit"], env={**os.environ, **stack.settings, **nobody}, capture_output=True, text=True)
    assert said.returncode == 2 and "cannot connect" in said.stderr and not json_lines(said.stderr), said.stderr


def test_an_event_is_a_draft_until_opened(organizer, buyer):
    event = organizer.create_event(open=False)
    # Nobody but organizers knows of it.
    problem(buyer.reserve(event, 1), 404, "unknown_event")
    problem(buyer.get(f"/api/event/{event}"), 404, "unknown_event")
    problem(buyer.get(f"/api/event/{event}/queue"), 404, "unknown_event")
    problem(organizer.reserve(event, 1), 409, "not_open")
    assert ok(organizer.get(f"/api/event/{event}"))["onsale_state"] == "draft"
    organizer.open_event(event)
    ok(buyer.reserve(event, 1), 202)


def test_an_event_opens_by_itself_at_its_time(organizer, buyer):
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3))
    event = organizer.create_event(open=False, onsale_at=soon)
    problem(buyer.reserve(event, 1), 409, "not_open")
    until(lambda: buyer.reserve(event, 1).status_code in (200, 202), 20, "the sale's start at its time")


def test_sections_with_rows_and_with_places(organizer, buyer):
    event = organizer.create_event(
        [
            {"name": "Stalls", "price": 9000, "rows": [{"row": "A", "seats": 12}, {"row": "B", "seats": 10}]},
            {"name": "Standing", "price": 1500, "capacity": 30},
        ]
    )
    sections = {s["name"]: s for s in ok(buyer.get(f"/api/event/{event}"))["sections"]}
    assert (sections["Stalls"]["total"], sections["Standing"]["total"]) == (22, 30)
    tickets = ok(buyer.get(f"/api/event/{event}/tickets", section="Stalls"))["tickets"]
    assert len(tickets) == 22 and {t["row"] for t in tickets} == {"A", "B"} and len({t["id"] for t in tickets}) == 22


def test_more_tickets_by_csv(organizer):
    event = organizer.create_event(open=False)
    csv = "section,row,seat,price\nBalcony,A,1,1200\nBalcony,A,2,1200\nBalcony,B,1,1200\n"
    answer = organizer.session.post(
        f"{organizer.url}/api/admin/events/{event}/tickets", data=csv, headers={"Content-Type": "text/csv"}, timeout=20
    )
    assert answer.status_code in (200, 201), answer.text
    sections = {s["name"]: s for s in ok(organizer.get(f"/api/event/{event}"))["sections"]}
    assert sections["Balcony"]["total"] == 3
    broken = organizer.session.post(
        f"{organizer.url}/api/admin/events/{event}/tickets",
        data="section,row,seat,price\nBalcony,A,9,not a price\n",
        headers={"Content-Type": "text/csv"},
        timeout=20,
    )
    assert broken.status_code in (400, 422)


def test_pausing_and_resuming(organizer, stack):
    event = organizer.create_event()
    ok(organizer.post(f"/api/admin/events/{event}/pause"))
    until(lambda: organizer.queue(event)["state"] == "paused", what="the pause")
    # A place in line can be had; nothing is granted.
    buyer = new_buyer(stack)
    answer = buyer.reserve(event, 1, payment_method=VISA)
    if answer.status_code == 202:
        request = answer.json()["request_id"]
        time.sleep(1)
        assert buyer.poll(request)["state"] in ("queued", "lobby")
        ok(organizer.post(f"/api/admin/events/{event}/resume"))
        buyer.await_state(request, "purchased")
    else:
        problem(answer, 409)
        ok(organizer.post(f"/api/admin/events/{event}/resume"))
        until(lambda: organizer.queue(event)["state"] == "open", what="the end of the pause")
        buyer.buy(event, 1)


def test_seats_are_blocked_and_released_while_a_sale_runs(organizer, stack):
    event = organizer.create_event([{"name": "Stalls", "price": 2500, "rows": [{"row": "A", "seats": 3}]}])
    tickets = {t["seat"]: t["id"] for t in ok(organizer.get(f"/api/event/{event}/tickets"))["tickets"]}
    holder, later = new_buyer(stack), new_buyer(stack)
    held = ok(holder.reserve(event, None, ticket_ids=[tickets["1"]]), 202)["request_id"]
    holder.await_state(held, "reserved")
    # What somebody holds is not taken away; nothing else of the same call is either.
    both = {"ticket_ids": [tickets["1"], tickets["2"]]}
    problem(organizer.post(f"/api/admin/events/{event}/tickets/block", both), 409)
    ok(organizer.post(f"/api/admin/events/{event}/tickets/block", {"section": "Stalls", "row": "A", "seats": ["2"]}))
    seen = lambda: ok(holder.get(f"/api/event/{event}"))["sections"][0]  # noqa: E731
    until(lambda: seen()["available"] == 1, what="the blocked seat gone from what is left")
    refused = ok(later.reserve(event, None, ticket_ids=[tickets["2"]]), 202)["request_id"]
    assert later.await_state(refused, "rejected")["reason"] == "unknown_seats"
    got = new_buyer(stack).buy(event, 1)
    assert [t["seat"] for t in got["tickets"]] == ["3"]
    ok(organizer.post(f"/api/admin/events/{event}/tickets/release", {"section": "Stalls", "row": "A", "seats": ["2"]}))
    got = new_buyer(stack).buy(event, 1)
    assert [t["seat"] for t in got["tickets"]] == ["2"]
    ok(holder.confirm(held), 202)
    holder.await_state(held, "purchased")
    assert_books_agree(stack)


def test_a_message_reaches_everyone(organizer, anyone):
    event = organizer.create_event()
    ok(organizer.call("PUT", f"/api/admin/events/{event}/message", {"message": "Doors open at seven"}))
    until(lambda: anyone.queue(event)["message"] == "Doors open at seven", what="the message")


def test_a_rate_meters_the_grants(organizer, stack):
    event = organizer.create_event([{"name": "Floor", "price": 2500, "capacity": 100}])
    ok(organizer.call("PUT", f"/api/admin/events/{event}/rate", {"rate": 2}))
    buyers = [new_buyer(stack) for _ in range(12)]
    requests = [ok(b.reserve(event, 1), 202)["request_id"] for b in buyers]
    time.sleep(1)
    assert organizer.queue(event)["held"] < 12
    ok(organizer.call("PUT", f"/api/admin/events/{event}/rate", {"rate": None}))
    for b, request in zip(buyers, requests, strict=True):
        b.await_state(request, "reserved")


def test_statistics_and_the_end_of_a_sale(organizer, buyer, other_buyer):
    event = organizer.create_event()
    buyer.buy(event, 2)
    other_buyer.hold(event, 1)
    stats = until(lambda: ok(organizer.get(f"/api/admin/events/{event}/stats")), what="statistics")
    text = json.dumps(stats)
    assert "sold" in text and "held" in text
    ok(organizer.post(f"/api/admin/events/{event}/close"))
    until(lambda: organizer.queue(event)["state"] == "closed", what="the end of the sale")
    assert len(ok(buyer.get("/api/me/tickets"))["purchases"]) == 1


def test_an_event_can_be_changed(organizer):
    event = organizer.create_event(open=False)
    ok(organizer.call("PUT", f"/api/admin/events/{event}", {"name": "Renamed", "location": "Usher Hall, Edinburgh"}))
    page = until(
        lambda: (p := ok(organizer.get(f"/api/event/{event}")))["name"] == "Renamed" and p, what="the new name"
    )
    assert page["location"] == "Usher Hall, Edinburgh"


@pytest.mark.parametrize(
    "change, field",
    [
        ({"currency": "dollars"}, "currency"),
        ({"date": "tomorrow"}, "date"),
        ({"sections": []}, "sections"),
        ({"sections": [{"name": "A", "price": -1, "capacity": 1}]}, "price"),
        ({"sections": [{"name": "A", "price": 1, "capacity": 10**9}]}, "capacity"),
        ({"hold_seconds": 0}, "hold_seconds"),
        ({"per_user_limit": "four"}, "per_user_limit"),
        ({"name": ""}, "name"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(organizer, change, field):
    body = {
        "name": "Concert",
        "location": "Hall",
        "date": "2031-05-20T19:30:00Z",
        "currency": "USD",
        "sections": [{"name": "Floor", "price": 2500, "capacity": 10}],
    }
    answer = organizer.post("/api/admin/events", {**body, **change})
    assert answer.status_code in (400, 422), answer.text
    assert field in answer.json()["detail"]


def test_events_come_from_a_file(stack, tmp_path, organizer):
    word = f"imported{uuid.uuid4().hex[:8]}"
    line = (ROOT / "deploy/demo/concerts.jsonl").read_text().splitlines()[0]
    event = {**json.loads(line), "key": word, "name": f"Concert {word}"}
    file = tmp_path / "events.jsonl"
    file.write_text(json.dumps(event) + "\n")
    stack.admin("import", "--events", file)
    hits = until(lambda: ok(organizer.get("/api/search", terms=word))["events"], what="the imported event in search")
    assert len(hits) == 1
    seats = sum(
        section.get("capacity") or sum(row["seats"] for row in section["rows"]) for section in event["sections"]
    )
    assert hits[0]["available"] == seats
    broken = tmp_path / "broken.jsonl"
    broken.write_text("{\n")
    assert stack.onsale("admin", "import", "--events", broken, check=False).returncode != 0


def test_the_books_can_be_audited(stack, organizer, buyer):
    event = organizer.create_event()
    buyer.buy(event, 1)
    assert_books_agree(stack)


def test_what_the_stub_counts_is_for_operators(stack):
    counted = stack.metrics("payments-1")
    assert re.search(r'^onsale_http_requests_total\{[^}]*route="/v1/payment_intents"[^}]*\} \d+$', counted, re.M), counted
    # Neither a key nor what was paid with is in it, and where payments go it is not told.
    assert stack.settings["ONSALE_PAYMENT_KEY"] not in counted and "pm_card" not in counted
    for path in ("/metrics", "/health", "/ready"):
        for headers in ({}, {"Authorization": f"Bearer {stack.settings['ONSALE_PAYMENT_KEY']}"}):
            answer = requests.get(stack.settings["ONSALE_PAYMENT_URL"] + path, headers=headers, timeout=10)
            assert answer.status_code in (401, 404) and "onsale_" not in answer.text, path
