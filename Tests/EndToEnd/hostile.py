"""Hostile requests by seed: what nobody wrote a test for, in every place where what a client says is decoded.

A kind makes one request at random. What comes back must be one answer that is no fault of the server's, and an error must
be a problem. Every case can be made again from its seed and its number.
"""

import base64
import contextlib
import json
import random
import socket
import string
import urllib.parse

# Characters that mean something somewhere, that join others or turn text around.
ODD = (
    "\0\x01\x07\x08\t\n\r\x1b\x7f\x85\xa0\u0300\u034f\u061c\u0600\u06dd\u200b\u200d\u200e\u202e\u2028\u2066\ufeff\ufffe"
    "\U000110bd\U000e0061<>&\"'`=+-@;,%#?/\\{}[]()|$*!~^:._"
)
# Of these, those that names may have: they join what stands beside them, or mean something elsewhere.
JOINING = "\u0300\u034f\u0600\u06dd\u200b\u200d\U000110bd\U000e0061<>&\"'`=+-@;,%#?/\\{}[]()|$*!~^:._"
PATHS = (
    "/api/users", "/api/sessions", "/api/ticket/reserve", "/api/ticket/confirm", "/api/admin/events",
    "/api/admin/events/1", "/api/admin/events/1/tickets", "/api/admin/events/1/message", "/api/admin/events/1/rate",
)
NUMBERS = (0, 1, 2, 7, 63, 64, 65, 99, 100, 101, 126, 127, 128, 129, 250, 255, 256, 257, 1_000, 4_000, 9_000)


class Maker:
    """Makes the requests of one run. `tokens` are valid ones; some requests have one, most of those of the wrong role."""

    def __init__(self, seed, tokens, places):
        self.seed = seed
        self.tokens = tokens
        # Real ids, cursors and the like, to be changed.
        self.places = places

    def make(self, number):
        """The case of that number: its kind and its bytes."""
        self.random = random.Random(f"{self.seed}/{number}")
        kind = self.random.choice(KINDS)
        return kind.__name__, kind(self)

    # --- Pieces ---

    def text(self, most=40, odd=ODD):
        choose = self.random
        letters = [choose.choice(odd) if choose.random() < 0.4 else choose.choice(string.ascii_letters + "éжשع漢👩")
                   for _ in range(choose.randint(0, most))]
        return "".join(letters)

    def raw(self, most=40):
        return bytes(self.random.randrange(256) for _ in range(self.random.randint(0, most)))

    def changed(self, data):
        """The same with some bytes replaced, inserted, repeated or left out."""
        data = bytearray(data)
        for _ in range(self.random.randint(1, 5)):
            place = self.random.randint(0, len(data))
            match self.random.randrange(5):
                case 0: data[place:place + 1] = self.raw(2)
                case 1: data[place:place] = self.random.choice((b"\0", b"\r", b"\n", b" ", b":", b"\t", b"%", b"\xff"))
                case 2: data[place:place] = data[place:place + 12]
                case 3: del data[place:place + self.random.randint(1, 4)]
                case 4: data[place:place] = self.text(3).encode("utf-8", "surrogatepass")
        return bytes(data)

    def value(self, depth=0):
        choose = self.random
        kinds = [
            lambda: self.text(), lambda: choose.randint(-2**70, 2**70), lambda: choose.choice([True, False, None]),
            lambda: choose.uniform(-1e30, 1e30), lambda: choose.choice(self.places), lambda: "a" * choose.choice(NUMBERS),
        ]
        if depth < 3:
            kinds += [
                lambda: [self.value(depth + 1) for _ in range(choose.randint(0, 4))],
                lambda: {self.text(8): self.value(depth + 1) for _ in range(choose.randint(0, 4))},
            ]
        return choose.choice(kinds)()

    def request(self, method, target, headers=(), body=b""):
        lines = [method.encode() + b" " + target.encode() + b" HTTP/1.1",
                 b"Host: x", b"Connection: close", *headers]
        if self.random.random() < 0.7:
            lines.append(b"Authorization: Bearer " + self.random.choice(self.tokens).encode())
        if body:
            lines.append(b"Content-Length: %d" % len(body))
        return b"\r\n".join(lines) + b"\r\n\r\n" + body


# --- Kinds ---


def search(maker):
    names = ("terms", "from", "to", "location", "max_price", "section", "include_sold_out", "limit", "cursor", "currency")
    items = [(name, maker.random.choice((maker.text(), maker.random.choice(maker.places), "1")))
             for name in maker.random.sample(names, maker.random.randint(1, 4))]
    return maker.request("GET", "/api/search?" + urllib.parse.urlencode(items, errors="replace"))


def cursor(maker):
    data = maker.random.choice((maker.raw(30), maker.changed(maker.random.choice(maker.places).encode())))
    return maker.request("GET", "/api/search?cursor=" + urllib.parse.quote(data))


def request_id(maker):
    data = maker.changed(maker.random.choice(maker.places).encode())
    path = "/api/request/" + urllib.parse.quote(data, safe="")
    if maker.random.random() < 0.5:
        path += f"?wait=0&state={urllib.parse.quote(maker.text(5))}"
    return maker.request(maker.random.choice(("GET", "DELETE")), path)


def token(maker):
    good = maker.random.choice(maker.tokens)
    parts = good.split(".")
    place = maker.random.randrange(3)
    piece = base64.urlsafe_b64decode(parts[place] + "==")
    parts[place] = base64.urlsafe_b64encode(maker.changed(piece)).rstrip(b"=").decode()
    forged = maker.random.choice((".".join(parts), maker.changed(good.encode()).decode("latin-1"), maker.text()))
    return (b"GET /api/me/tickets HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer "
            + bytes(byte for byte in forged.encode("utf-8", "replace") if byte >= 0x20) + b"\r\n\r\n")


def body(maker):
    """JSON with members that are known, of whatever type."""
    names = (
        "event_id", "quantity", "section", "ticket_ids", "adjacent", "payment_method", "rejoin", "request_id", "name",
        "email", "password", "date", "location", "currency", "sections", "zones", "categories", "prices", "rate",
        "message", "description", "onsale_at", "per_user_limit", "hold_seconds", "key", "despite",
    )
    members = {name: maker.value() for name in maker.random.sample(names, maker.random.randint(0, 6))}
    text = json.dumps(members, ensure_ascii=maker.random.random() < 0.5).encode("utf-8", "replace")
    if maker.random.random() < 0.3:
        text = maker.changed(text)
    path = maker.random.choice(PATHS)
    return maker.request(maker.random.choice(("POST", "PUT")), path, [b"Content-Type: application/json"], text)


def upload(maker):
    """A table of seats, or a plan, almost right."""
    table = b"section,row,seat,price\r\n" + b"".join(b'"S",A,%d,2500\r\n' % seat for seat in range(5))
    plan = json.dumps({
        "categories": [{"name": "A", "color": "#fff"}], "prices": {"A": 100},
        "zones": [{"name": "Z", "rows": [{"row_number": "1", "seats": [
            {"seat_number": str(seat), "category": "A", "position": {"x": seat, "y": 1}} for seat in range(3)]}]}],
    }).encode()
    kind, text = maker.random.choice(((b"text/csv", table), (b"application/json", plan)))
    event = maker.random.choice(("1", "x", "999999999"))
    return maker.request(
        "POST", f"/api/admin/events/{event}/tickets", [b"Content-Type: " + kind], maker.changed(text))


def wire(maker):
    """A request whose lines are a little wrong, or many in one."""
    extra = (
        b"Host: y", b"Host : x", b": x", b" x", b"X-A: b\r\n c", b"X-A: b\rc", b"X-A: b\nX-B: c", b"X-A: \0",
        b"Transfer-Encoding: chunked", b"Transfer-Encoding: x", b"Content-Length: 0", b"Content-Length: 5",
        b"Expect: 100-continue",
        b"Connection: Upgrade\r\nUpgrade: h2c", b"Connection: keep-alive", b"TE: trailers", b"X-A: " + maker.raw(20),
    )
    method = maker.random.choice(("GET", "POST", "HEAD", "OPTIONS", "TRACE", "CONNECT", "BREW", "PUT", "get", "PRI"))
    target = maker.random.choice(("/healthz", "/", "*", "http://x/healthz", "/api/search?terms=x", "x:80", "//", "/%", "/?%00"))
    request = maker.request(method, target, maker.random.sample(extra, maker.random.randint(0, 2)))
    if maker.random.random() < 0.5:
        request = maker.changed(request)
    return request + maker.random.choice((b"", b"\r\n\r\n", b"0\r\n\r\n", request))


def many(maker):
    """Much of one thing, around each limit."""
    count = maker.random.choice(NUMBERS)
    target, headers = "/healthz", []
    match maker.random.randrange(5):
        case 0: target += "?" + "a=b&" * count
        case 1: target += "?" + "&" * count
        case 2: target += "/a" * count
        case 3: headers = [b"A%d: b" % number for number in range(count)]
        case 4: headers = [b"Cookie: " + b"a=b; " * count + b"c=d"]
    return maker.request("GET", target, headers)


KINDS = (search, cursor, request_id, token, body, upload, wire, many)


# --- Judging ---


def ask(port, data, timeout=20):
    """Sends the bytes; returns everything that comes back, or what has in time."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        # The server may have closed before it has read everything.
        with contextlib.suppress(OSError):
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionError, TimeoutError):
            while chunk := connection.recv(65536):
                answer += chunk
        return answer


def finding(answer, several=False):
    """What is wrong with an answer; `None` if nothing is.

    With `several`, what was sent may have been several requests, or one to which nobody gets a body.
    """
    head, separator, text = answer.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    if not separator or not lines[0].startswith(b"HTTP/1.1 "):
        return f"no answer of HTTP: {answer[:80]!r}"
    status = int(lines[0].split()[1])
    if several and status == 100:
        return finding(text, several)
    headers = dict(line.lower().split(b": ", 1) for line in lines[1:] if b": " in line)
    if status >= 500 and status not in (501, 503, 505):
        return f"status {status}: {text[:200]!r}"
    length = int(headers.get(b"content-length", b"0"))
    if several and text.startswith(b"HTTP/1.1 "):
        return finding(text, several)
    if several and len(text) > length and text[length:].startswith(b"HTTP/1.1 "):
        return finding(answer[: len(answer) - len(text) + length], several) or finding(text[length:], several)
    if several and not text:
        return None
    if length != len(text):
        return f"status {status}: more or less than one answer: {text[:200]!r}"
    if status >= 400:
        with contextlib.suppress(ValueError):
            problem = json.loads(text)
            if problem.get("status") == status and problem.get("code") and b"problem+json" in headers[b"content-type"]:
                return None
        return f"status {status} is no problem: {text[:200]!r}"
    return None
