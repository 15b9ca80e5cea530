"""The proxy examples, run as they are but for addresses and TLS, in front of two servers."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from client import Client, ok
from conftest import new_buyer
from stack import BINARY, ROOT, free_port, until

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Upstreams:
    """Two servers that answer everything, keep connections, and close early where a request asks for it."""

    def __init__(self):
        self.ports = []
        self.seen = []
        self.served = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        for _ in range(2):
            server = asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result(10)
            self.ports.append(server.sockets[0].getsockname()[1])

    async def _serve(self):
        return await asyncio.start_server(self._answer, "127.0.0.1", 0)

    async def _answer(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: (\d+)", head)
                if length:
                    await reader.readexactly(int(length[1]))
                line = head.split(b"\r\n")[0].decode()
                self.seen.append((line, head.decode("latin-1")))
                self.served.append((line, writer.get_extra_info("sockname")[1]))
                if "close-early" in line:
                    break
                writer.write(ANSWER)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    def lines(self, text):
        return [line for line, _ in self.seen if text in line]

    def stop(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


@pytest.fixture
def upstreams():
    servers = Upstreams()
    yield servers
    servers.stop()


def nginx(directory, port, upstreams):
    text = (ROOT / "deploy/proxy/nginx.conf").read_text()
    for address, upstream in zip(("10.0.0.11:8080", "10.0.0.12:8080"), upstreams, strict=True):
        assert address in text
        text = text.replace(address, f"127.0.0.1:{upstream}")
    text = text.replace("listen 443 ssl http2;", f"listen 127.0.0.1:{port};").replace("server_name tickets.example.org;", "")
    text = re.sub(r"ssl_certificate\S* \S+;", "", text).replace("listen 80;", f"listen 127.0.0.1:{free_port()};")
    assert "burst=3000 " in text and "rate=300r/s" in text
    text = text.replace("burst=3000 ", "burst=100 ").replace("rate=300r/s", "rate=20r/s")
    text = text.replace("/var/cache/nginx/onsale", str(directory / "cache"))
    text = text.replace("/var/log/nginx/onsale.log", str(directory / "access.log"))
    assert "error_log /var/log/nginx/onsale-error.log crit;" in text
    text = text.replace("/var/log/nginx/onsale-error.log", str(directory / "error.log"))
    text = text.replace("worker_rlimit_nofile 200000;", "").replace("worker_connections 50000", "worker_connections 256")
    for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"):
        text = text.replace("http {\n", f"http {{\n  {kind}_temp_path {directory}/{kind};\n", 1)
    file = directory / "nginx.conf"
    # Its workers write what they cache into this test's directory.
    user = "user root; " if os.geteuid() == 0 else ""
    file.write_text(f"{user}daemon off; pid {directory}/pid;\n{text}")
    return ["nginx", "-p", str(directory), "-c", str(file), "-e", str(directory / "error.log")]


def haproxy(directory, port, upstreams):
    text = (ROOT / "deploy/proxy/haproxy.cfg").read_text()
    for address, upstream in zip(("10.0.0.11:8080", "10.0.0.12:8080"), upstreams, strict=True):
        assert address in text
        text = text.replace(address, f"127.0.0.1:{upstream}")
    bind = "bind :443 ssl crt /etc/ssl/onsale.pem alpn h2,http/1.1"
    assert bind in text
    text = text.replace(bind, f"bind 127.0.0.1:{port}").replace("maxconn 100000", "maxconn 200")
    assert "sc_gpc0_rate(0) gt 3000" in text
    text = text.replace("sc_gpc0_rate(0) gt 3000", "sc_gpc0_rate(0) gt 200")
    text = text.replace("option redispatch\n", "option redispatch\n  log stdout format raw local0\n")
    file = directory / "haproxy.cfg"
    file.write_text(text)
    return ["haproxy", "-f", str(file), "-db"]


@contextlib.contextmanager
def running(kind, tmp_path, upstreams, path):
    """The proxy in front of two servers, once it answers at `path`; as a session with its address and its logs."""
    name = kind.__name__
    if shutil.which(name) is None and shutil.which(name, path="/usr/sbin") is None:
        pytest.fail(f"{name} is not installed: make deps")
    port = free_port()
    log = open(tmp_path / "log", "w")
    tmp_path.chmod(0o755)
    command = kind(tmp_path, port, upstreams)
    child = subprocess.Popen(
        command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    session = requests.Session()
    session.trust_env = False
    session.port = port
    session.url = f"http://127.0.0.1:{port}"
    session.logs = lambda: "".join(path.read_text() for path in tmp_path.glob("*log"))

    def answers():
        assert child.poll() is None, session.logs()
        try:
            return session.get(session.url + path, timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

    try:
        until(answers, 20, name)
        yield session
    finally:
        child.terminate()
        child.wait(20)
        log.close()
        session.close()


@pytest.fixture(params=[nginx, haproxy], ids=["nginx", "haproxy"])
def proxy(request, tmp_path, upstreams):
    with running(request.param, tmp_path, upstreams.ports, "/up") as session:
        yield session


@contextlib.contextmanager
def server(stack, port, log):
    """One more server of the stack, which believes the proxy."""
    settings = {name: value for name, value in stack.settings.items() if name != "ONSALE_MIGRATE_DATABASE_URL"}
    child = subprocess.Popen(
        [BINARY, "serve"], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT,
        env={
            **os.environ, **settings, "ONSALE_PORT": str(port), "ONSALE_METRICS_PORT": "",
            "ONSALE_TRUSTED_PROXIES": "127.0.0.1", "ONSALE_CONNECTIONS_PER_ADDRESS": "4",
        },
    )  # fmt: skip
    try:

        def answers():
            assert child.poll() is None, "the server ended"
            with contextlib.suppress(requests.ConnectionError):
                return requests.get(f"http://127.0.0.1:{port}/healthz", timeout=5).status_code == 200

        until(answers, 30, "the server")
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
        child.wait(30)


@pytest.fixture(params=[nginx, haproxy], ids=["nginx", "haproxy"])
def house(request, tmp_path, stack):
    """The proxy in front of two servers of Onsale, which are its `servers`."""
    with open(tmp_path / "servers.txt", "w") as log, contextlib.ExitStack() as exits:
        ports, servers = [], []
        for _ in range(2):
            ports.append(free_port())
            servers.append(exits.enter_context(server(stack, ports[-1], log)))
        session = exits.enter_context(running(request.param, tmp_path, ports, "/healthz"))
        session.servers = servers
        yield session


def alone(proxy, method, path, **options):
    """A request on a connection of its own: on one that was used before HAProxy closes where there is no answer."""
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, proxy.url + path, timeout=20, **options)


def test_servers_that_close_early_stay_in_use(proxy, upstreams):
    for number in range(5):
        broken = alone(proxy, "GET", f"/close-early/{number}")
        assert broken.status_code in (502, 503)
        assert "Retry-After" in broken.headers and broken.headers["Content-Type"] == "application/problem+json"
        for other in range(20):
            assert proxy.get(f"{proxy.url}/api/event/1?n={number}.{other}", timeout=20).status_code == 200


def test_only_what_may_be_repeated_is_sent_again(proxy, upstreams):
    for number in range(10):
        for path in ("/api/sessions/close-early", "/api/ticket/confirm?close-early"):
            assert alone(proxy, "POST", f"{path}{number}", data=b"{}").status_code in (502, 503)
            assert len(upstreams.lines(f"POST {path}{number}")) == 1
        alone(proxy, "GET", f"/api/event/7/close-early/{number}")
    # HAProxy does not where it had the answer's connection in use before.
    assert len(upstreams.lines("GET /api/event/7/close-early")) > 10


def test_clients_do_not_say_who_they_are(proxy, upstreams):
    proxy.get(proxy.url + "/whoami", headers={"X-Forwarded-For": "192.0.2.9"}, timeout=20)
    head = next(head for line, head in upstreams.seen if "/whoami" in line)
    assert re.findall(r"(?i)^x-forwarded-for: (.*)\r$", head, re.MULTILINE) == ["127.0.0.1"]


def test_ids_of_requests_stay_out_of_the_log(proxy, upstreams):
    for path in ("/queue/v1.secret", "/api/request/v1.secret?wait=0"):
        proxy.get(proxy.url + path, timeout=20)
    # Also where something went wrong with it.
    for path in ("/queue/v1.secret-close-early", "/api/request/v1.secret-close-early"):
        for _ in range(3):
            alone(proxy, "GET", path, headers={"Referer": "http://x/queue/v1.secret"})
    proxy.get(proxy.url + "/api/event/1?utm=x", timeout=20)
    until(lambda: "/api/event/1" in proxy.logs(), 20, "the log")
    assert "/queue/-" in proxy.logs() and "/api/request/-" in proxy.logs()
    assert "secret" not in proxy.logs()


def test_who_signs_in_comes_again_to_the_server_that_knows_them(proxy, upstreams):
    for number in range(10):
        assert alone(proxy, "POST", "/api/sessions", data=b"{}").status_code == 200
        assert alone(proxy, "GET", f"/api/event/7?n={number}").status_code == 200
    assert len({port for line, port in upstreams.served if line.startswith("POST /api/sessions ")}) == 1
    assert len({port for line, port in upstreams.served if "/api/event/7" in line}) == 2


def test_reserving_is_limited_however_its_path_is_written(proxy, upstreams):
    # What the rule does not see, Onsale does not take for a reserve either: its paths are matched as written.
    statuses = [
        proxy.post(proxy.url + "/api/ticket/reserve", data=b"{}", timeout=20).status_code for _ in range(300)
    ]
    assert statuses[0] == 200 and statuses[-1] == 429


# --- In front of two servers of Onsale ---


# What a server answers and then ends the connection, or cannot be read on behind.
ENDING = {
    "headers that are too long": b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"X-A: " + b"a" * 7000 + b"\r\n" + b"X-B: "
    + b"b" * 7000 + b"\r\n\r\n",
    "many query items": b"GET /api/search?" + b"a=b&" * 1900 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "many cookies": b"GET /api/search HTTP/1.1\r\nHost: x\r\nCookie: " + b"a=b; " * 1500 + b"c=d\r\n\r\n",
    "a body that nobody wants": b"POST /api/admin/events HTTP/1.1\r\nHost: x\r\nContent-Length: 12000\r\n\r\n" + b"a" * 12000,
    "chunks behind a refusal": b"POST /api/ticket/reserve HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    b"0\r\n\r\n",
    "a body that does not come": b"POST /api/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\nabc",
}


def test_whatever_ends_one_connection_ends_no_other(house):
    for bytes_ in ENDING.values():
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", house.port), timeout=20) as connection:
                connection.sendall(bytes_)
                if bytes_.endswith(b"abc"):
                    continue
                first = connection.recv(65536)
                assert re.match(rb"HTTP/1.1 (2|4)\d\d ", first), first[:100]
            for number in range(10):
                assert alone(house, "GET", f"/healthz?n={number}").status_code == 200
                assert house.get(house.url + "/api/search?q=concert", timeout=20).status_code in (200, 401)


def test_a_killed_server_is_passed_by(house, stack, organizer):
    event = organizer.create_event(sections=[{"name": "Floor", "price": 2500, "capacity": 60}])
    assert house.get(f"{house.url}/api/event/{event}/queue", timeout=20).status_code == 200
    os.kill(house.servers[0].pid, signal.SIGKILL)
    house.servers[0].wait(20)
    places = []
    for number in range(20):
        assert house.get(f"{house.url}/healthz?n={number}", timeout=20).status_code == 200
        assert alone(house, "GET", f"/healthz?a={number}").status_code == 200
        somebody = Client(house.url, new_buyer(stack).session.headers["Authorization"].removeprefix("Bearer "))
        # Safe to ask again, and where the proxy does not, it says when to.
        until(lambda who=somebody: who.reserve(event, 1).status_code == 202, 20, "a place")
        places.append(somebody.reserve(event, 1).json()["request_id"])
    assert len(set(places)) == 20, "whoever asked twice has one place"


def test_a_forged_address_makes_nobody_another_client(house, stack, organizer):
    event = organizer.create_event()
    buyer = new_buyer(stack)
    request = buyer.hold(event, 1)["request_id"]
    client = Client(house.url, buyer.session.headers["Authorization"].removeprefix("Bearer "))

    def poll(number):
        """Waits for what does not come; on a connection of its own, as if from somewhere else each time."""
        return requests.get(
            f"{client.url}/api/request/{request}?wait=10&state=reserved", timeout=40,
            headers={"Authorization": client.session.headers["Authorization"], "X-Forwarded-For": f"192.0.2.{number}"},
        ).status_code  # fmt: skip

    with ThreadPoolExecutor(12) as pool:
        # Four for each server are under way at most, whoever they say that they are.
        statuses = list(pool.map(poll, range(12)))
    assert set(statuses) == {200, 429} and statuses.count(429) >= 2, statuses
    assert ok(client.get(f"/api/request/{request}"))["state"] == "reserved"
