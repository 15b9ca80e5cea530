"""A system outside that is told of sales, and remembers every attempt."""

import base64
import hashlib
import hmac
import http.server
import json
import threading

from servers import Failure, until


class Shop:
    """An endpoint in this process, known to the stack until `close`. It may refuse for a while."""

    def __init__(self, stack, types=""):
        self.stack = stack
        self.heard = []
        self.is_open = True
        self.lock = threading.Lock()
        shop = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = shop.hear(self.headers, body)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{self.server.server_port}/"
        # Those of a run that failed before are gone.
        stack.sql("UPDATE webhook_endpoint SET removed_at = now() WHERE removed_at IS NULL")
        options = ["--types", types] if types else []
        answer = stack.onsale("admin", "webhooks", "add", url, *options)
        if answer.returncode:
            raise Failure(f"no endpoint: {answer.stderr}")
        lines = answer.stdout.splitlines()
        self.number, self.secret = int(lines[0].split()[1]), lines[1]

    def hear(self, headers, body):
        identity, time, signatures = (headers[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
        key = base64.b64decode(self.secret.removeprefix("whsec_"))
        right = base64.b64encode(hmac.new(key, f"{identity}.{time}.".encode() + body, hashlib.sha256).digest()).decode()
        is_taken = self.is_open and f"v1,{right}" in signatures.split()
        with self.lock:
            self.heard.append((identity, json.loads(body), is_taken))
        return 204 if is_taken else 503

    def of(self, sale, *types):
        """What was taken of a sale, in the order in which it came: pairs of id and message."""
        with self.lock:
            return [
                (identity, message) for identity, message, is_taken in self.heard
                if is_taken and message["data"].get("event_id") == sale.event and (not types or message["type"] in types)
            ]  # fmt: skip

    def attempts(self, identity):
        with self.lock:
            return sum(1 for known, _, _ in self.heard if known == identity)

    def expect_all(self, sale, seconds=60, is_lost=False):
        """Every purchase was told under one id, and after its hold."""
        bought = {buyer.request for buyer in sale.buyers if buyer.final == "purchased"}

        def told():
            return {message["data"].get("request_id") for _, message in self.of(sale, "purchase.completed")}

        until(lambda: bought <= told(), seconds, "every purchase to be told")
        first = {}
        for place, (identity, message) in enumerate(self.of(sale)):
            request, kind = message["data"].get("request_id"), message["type"]
            known = first.setdefault((request, kind), (place, identity))
            if known[1] != identity and kind == "purchase.completed":
                raise Failure(f"one purchase under two ids: {known[1]}, {identity}")
        for request in () if is_lost else bought:
            hold = first.get((request, "hold.granted"))
            if hold and hold[0] > first[request, "purchase.completed"][0]:
                raise Failure(f"{request} was told before its hold")
        strangers = told() - {buyer.request for buyer in sale.buyers}
        # Whoever came back after a loss has another request than the one that was told.
        if strangers and not is_lost:
            raise Failure(f"purchases of nobody were told: {strangers}")

    def close(self):
        self.stack.onsale("admin", "webhooks", "remove", self.number)
        self.server.shutdown()
        self.server.server_close()
