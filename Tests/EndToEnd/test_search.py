"""Search that people can trust: what they are shown, and what they are shown while a store is away."""

import json
import signal
import threading
import uuid
from collections import Counter

import psycopg
import pytest

from client import ok, problem
from conftest import new_buyer, new_organizer
from local.opensearch import MISSING, OpenSearch, is_available
from stack import Stack, assert_books_agree, until


def found(reader, word, **query):
    return ok(reader.get("/api/search", terms=word, include_sold_out="true", **query))["events"]


def one(reader, word):
    hits = found(reader, word)
    return hits[0] if hits else None


# --- What is shown ---


def test_hits_say_why_they_are_there_and_what_else_may_be_meant(buyer, organizer):
    word = f"theorbo{uuid.uuid4().hex[:8]}"
    event = organizer.create_event(name=f"Consort with {word}", location="Guildhall, York", description="By Purcell.")
    page = until(lambda: (p := ok(buyer.get("/api/search", terms=f"{word} yor")))["total"] and p, what="the event")
    assert page["events"][0]["id"] == event
    assert page["events"][0]["highlights"] == {"name": ["Consort with ", word], "location": ["Guildhall, ", "York"]}
    assert page["suggestions"] == [f"{word} york"]
    mistyped = ok(buyer.get("/api/search", terms="x" + word[1:]))
    assert mistyped["suggestions"] == [word]


def test_held_tickets_and_sections_are_told_as_they_are(buyer, other_buyer, organizer):
    word = f"viol{uuid.uuid4().hex[:8]}"
    event = organizer.create_event(
        [{"name": "Balcony Left", "price": 2000, "capacity": 1}, {"name": "Stalls", "price": 6000, "capacity": 1}],
        name=word,
    )

    def in_section(name, **query):
        return len(ok(buyer.get("/api/search", terms=word, section=name, **query))["events"])

    until(lambda: in_section("balcony"), what="a section with tickets left")
    assert not in_section("balcony", max_price=1999, currency="EUR")
    held = buyer.hold(event, 1, section="Balcony Left")["request_id"]
    until(lambda: not in_section("balcony"), what="the section that is held out of the search")
    assert in_section("stalls")
    assert not ok(buyer.get("/api/search", terms=word, max_price=2000, currency="EUR"))["events"], "only dear ones are left"
    other_buyer.hold(event, 1, section="Stalls")
    hit = until(lambda: (h := one(buyer, word))["held"] == 2 and h, what="both held")
    assert hit["available"] == 0
    # Held ones may come back, so the event is still in the list.
    assert [h["id"] for h in ok(buyer.get("/api/search", terms=word))["events"]] == [event]
    ok(buyer.cancel(held))
    until(lambda: in_section("balcony"), what="the section that came back")
    versions = [one(buyer, word)["version"], ok(buyer.get(f"/api/event/{event}"))["version"], buyer.queue(event)["version"]]
    assert all(version > 0 for version in versions)
    assert max(versions[:2]) <= buyer.queue(event)["version"]


# --- While a store is away ---


@pytest.fixture
def engine(tmp_path):
    if not is_available():
        pytest.skip(MISSING)
    server = OpenSearch(tmp_path)
    yield server
    server.kill()


def test_the_search_engine_is_away_for_the_whole_sale(engine, tmp_path, monkeypatch):
    engine.start()
    monkeypatch.setenv("ONSALE_SEARCH_URL", engine.url)
    stack = Stack(tmp_path / "state")
    try:
        stack.up()
        organizer, reader = new_organizer(stack), new_buyer(stack)
        word = f"engine{uuid.uuid4().hex[:8]}"
        event = organizer.create_event([{"name": "Floor", "price": 2500, "capacity": 12}], name=word, hold_seconds=10)
        until(lambda: reader.get("/api/search", terms=word).status_code == 200, what="an index to search in")
        before = until(lambda: one(reader, word), what="the event in search")
        engine.kill()
        # The sale does not notice.
        for _ in range(5):
            new_buyer(stack).buy(event, 2)
        new_buyer(stack).hold(event, 1)
        cancelled = new_buyer(stack)
        ok(cancelled.cancel(cancelled.hold(event, 1)["request_id"]))
        last = organizer.queue(event)
        assert last["sold"] == 10
        # What was known is still told, with its age.

        def aged():
            answer = reader.get("/api/search", terms=word, include_sold_out="true")
            assert ok(answer)["events"][0]["version"] >= before["version"]
            return int(answer.headers.get("Age", 0)) >= 1

        until(aged, what="an answer that says its age")
        ok(reader.get(f"/api/event/{event}"))

        engine.start()
        versions = [before["version"]]

        def right():
            hit = one(reader, word)
            versions.append(hit["version"])
            queue = organizer.queue(event)
            return all(hit[name] == queue[name] for name in ("available", "held", "version"))

        until(right, 60, "the index as it should be")
        assert versions == sorted(versions), "versions never go back"
        assert_books_agree(stack)
    finally:
        stack.remove()


def test_search_and_event_pages_without_the_primary(tmp_path, monkeypatch):
    monkeypatch.setenv("REPLICA", "yes")
    stack = Stack(tmp_path / "state")
    try:
        stack.up()
        organizer, reader = new_organizer(stack), new_buyer(stack)
        word = f"replica{uuid.uuid4().hex[:8]}"
        event = organizer.create_event(name=word)
        until(lambda: found(reader, word), what="the event in search")
        other = organizer.create_event(name=f"{word} too")
        until(lambda: len(found(reader, word)) == 2, what="both events in search")
        # Nothing is out of date yet, though it is read from the replica.
        assert "Age" not in reader.get("/api/search", terms=f"{word} too").headers

        stack.signal("postgres-1", signal.SIGQUIT)
        until(lambda: "postgres-1   died" in stack.run("status", check=False).stdout, what="the end of the primary")

        # What nobody has asked for before, so that no memory has it.
        def aged(path, **query):
            answer = reader.get(path, **query)
            assert answer.status_code == 200, answer.text
            return "Age" in answer.headers and answer

        answer = until(lambda: aged("/api/search", terms=f"too {word}"), what="an answer that says its age")
        assert [hit["id"] for hit in answer.json()["events"]] == [other]
        answer = until(lambda: aged(f"/api/event/{other}"), what="a page that says its age")
        assert answer.json()["name"] == f"{word} too"
        assert int(answer.headers["Age"]) >= 1
        assert ok(reader.get(f"/api/event/{other}/tickets"))["tickets"]
        assert [h["id"] for h in found(reader, word)] and ok(reader.get(f"/api/event/{event}"))

        stack.up()
        until(lambda: "Age" not in reader.get("/api/search", terms=word).headers, 40, "fresh answers")
        new_buyer(stack).buy(event, 1, seconds=60)
        until(lambda: one(reader, f"{word} ")["available"] < 10, 40, "the purchase in search")
    finally:
        stack.remove()


# --- Search and the sale beside each other ---


class Flood:
    """Readers who search for something else each time, all at once, until told to stop."""

    def __init__(self, stack, readers, **query):
        self.answers = Counter()
        self.stopped = threading.Event()
        self.query = query
        self.threads = [threading.Thread(target=self.search, args=[new_buyer(stack)]) for _ in range(readers)]
        self.lock = threading.Lock()
        for thread in self.threads:
            thread.start()

    def search(self, reader):
        while not self.stopped.is_set():
            try:
                answer = reader.get("/api/search", terms=uuid.uuid4().hex, **self.query)
                # Answered, or told when to come back: nothing else.
                kind = "found" if answer.status_code == 200 else problem(answer, 503)["code"]
            except Exception as failure:  # noqa: BLE001 # for the test's own thread
                kind = repr(failure)
            with self.lock:
                self.answers[kind] += 1

    def stop(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join()
        return self.answers


def test_searches_that_hang_are_shed_and_the_sale_goes_on(own_stack):
    organizer, reader = new_organizer(own_stack), new_buyer(own_stack)
    word = f"flood{uuid.uuid4().hex[:8]}"
    event = organizer.create_event(name=word)
    until(lambda: one(reader, word), what="the event in search")
    with psycopg.connect(own_stack.settings["ONSALE_MIGRATE_DATABASE_URL"]) as connection:
        # Nobody can search now: every search waits as long as it may.
        connection.execute("LOCK TABLE search_document_v5 IN ACCESS EXCLUSIVE MODE")
        # More than are let through to the database at a time.
        flood = Flood(own_stack, 100)
        until(lambda: flood.answers["overloaded"] > 100, what="searches that are turned away")
        for _ in range(5):
            new_buyer(own_stack).buy(event, 1)
        before = flood.answers["overloaded"]
        until(lambda: flood.answers["overloaded"] > before, what="searches that are still turned away")
        assert [hit["id"] for hit in found(reader, word)] == [event], "what was known is told all the same"
        connection.rollback()
    until(lambda: flood.answers["found"], what="searches that are answered again")
    assert set(flood.stop()) <= {"found", "overloaded", "unavailable"}, flood.answers
    until(lambda: one(reader, word)["available"] == 5, what="the sale in search")
    assert_books_agree(own_stack)


def test_a_sale_and_a_flood_of_searches_leave_each_other_alone(own_stack):
    organizer, reader = new_organizer(own_stack), new_buyer(own_stack)
    word = f"both{uuid.uuid4().hex[:8]}"
    organizer.create_event(name=word)
    until(lambda: one(reader, word), what="the event in search")
    flood = Flood(own_stack, 16)
    try:
        said = json.loads(own_stack.onsale("rush", "--buyers", 1500, "--create", 600, "--buy", "--json").stdout)
    finally:
        answers = flood.stop()
    assert said["good"] and said["tickets_bought"] == 600, said
    assert set(answers) <= {"found", "overloaded", "unavailable"} and answers["found"], answers
    assert one(reader, word)
