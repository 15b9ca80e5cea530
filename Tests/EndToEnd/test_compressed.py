"""Answers of the API that many get are sent compressed; what is one person's is not."""

import os

from client import ok
from stack import until

GZIP = {"Accept-Encoding": "gzip, deflate, br"}
PLAIN = {"Accept-Encoding": "identity"}


def compressed(client, path, share, **parameters):
    """Checks that the answer is sent in less than so much of itself, and is the same; returns its ETag, if it has one."""

    def both():
        """Plain and packed, of the same state of the sale."""
        plain = client.call("GET", path, params=parameters, headers=PLAIN)
        packed = client.call("GET", path, params=parameters, headers=GZIP)
        return (plain, packed) if plain.content == packed.content else None

    plain, packed = until(both, what=f"{path} twice")
    assert (plain.status_code, packed.status_code) == (200, 200), path
    assert "Content-Encoding" not in plain.headers and packed.headers["Content-Encoding"] == "gzip", path
    assert plain.headers["Vary"] == packed.headers["Vary"] == "Accept-Encoding", path
    assert int(plain.headers["Content-Length"]) == len(plain.content), path
    assert int(packed.headers["Content-Length"]) < share * len(plain.content), (path, packed.headers, len(plain.content))
    head = client.call("HEAD", path, params=parameters, headers=GZIP)
    assert head.headers["Content-Encoding"] == "gzip" and head.content == b""
    return plain.headers.get("ETag"), packed.headers.get("ETag")


def test_what_many_get_is_sent_compressed_and_known_in_either_form(organizer, buyer, anyone):
    rows = [{"row": row, "seats": 25} for row in "ABCDE"]
    sections = [{"name": f"Block {number}", "price": 2500 + number, "rows": rows} for number in range(24)]
    event = organizer.create_event(sections, name="Compressed Music")
    for path, share in ((f"/api/event/{event}", 0.4), (f"/api/event/{event}/tickets", 0.15), ("/openapi.json", 0.35)):
        plain, packed = compressed(buyer, path, share)
        # Other bytes, another tag, and either is known whatever is asked for.
        assert packed == plain[:-1] + '-gzip"', path
        for tag in (plain, packed, f"W/{packed}"):
            for accepted in (GZIP, PLAIN):
                known = buyer.call("GET", path, headers={**accepted, "If-None-Match": tag})
                if known.status_code != 304:
                    # The sale has changed meanwhile, and so has what is told of it.
                    assert known.headers["ETag"] not in (plain, packed), (path, tag)
                else:
                    assert known.content == b"" and "Content-Encoding" not in known.headers, path
    until(lambda: ok(buyer.get("/api/search", terms="Compressed Music"))["total"] >= 1, what="an event that is found")
    compressed(buyer, "/api/search", 0.6, limit=50)
    # Who takes nothing else gets it as it is.
    for accepted in ("br", "gzip;q=0", "identity", "*;q=0", ""):
        answer = buyer.call("GET", f"/api/event/{event}", headers={"Accept-Encoding": accepted})
        assert answer.status_code == 200 and "Content-Encoding" not in answer.headers, accepted


def test_what_is_one_persons_own_is_sent_as_it_is(organizer, buyer, anyone):
    """Compressed beside what others may choose, such as names, the length of a secret's answer would tell it bit by bit."""
    request = None
    for _ in range(3):
        event = organizer.create_event([{"name": "Long name of a section " * 4, "price": 2500, "capacity": 9}])
        request = buyer.buy(event, 4)["request_id"]
    paths = ["/api/me/tickets", f"/api/request/{request}", f"/api/event/{event}/queue"]
    for path in paths:
        answer = buyer.call("GET", path, headers=GZIP)
        assert answer.status_code == 200 and "Content-Encoding" not in answer.headers, path
    assert len(buyer.get("/api/me/tickets").content) > 2_000
    email = f"{os.urandom(6).hex()}@example.com"
    ok(anyone.post("/api/users", {"name": "N" * 100, "email": email, "password": "correct horse"}), 201)
    session = anyone.post("/api/sessions", {"email": email, "password": "correct horse"}, headers=GZIP)
    assert session.status_code == 200 and "Content-Encoding" not in session.headers
