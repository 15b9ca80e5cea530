"""What the measurements share: a stack of their own, load, floors, and the table of results."""

import base64
import hashlib
import hmac
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

from local import BINARY, ROOT, processes, say
from local.handle import Handle
from local.ports import free as free_port
from local.ports import is_taken
from local.postgres import programs

__all__ = [
    "BINARY", "CONNECTIONS", "ROOT", "ROUNDS", "SECONDS_EACH", "Load", "Nginx", "Redis", "Stack", "Table", "free_port",
    "in_turn", "machine", "pgbench", "processes", "programs", "say", "wrk",
]  # fmt: skip
SECONDS_EACH = int(os.environ.get("SECONDS_EACH", 4))
ROUNDS = int(os.environ.get("ROUNDS", 3))
CONNECTIONS = 64


class Stack(Handle):
    failure = SystemExit
    # A measurement of a million takes what it takes.
    action_seconds = tool_seconds = None

    def __init__(self, directory, workers):
        super().__init__(directory / "state", workers=workers, REDIS_FSYNC="always", SYNCHRONOUS_COMMIT="on")

    def output(self, process, input=None):
        """What it printed; it must have succeeded."""
        out, errors = process.communicate(input)
        if process.returncode != 0:
            raise SystemExit(f"{' '.join(map(str, process.args))}: {out}{errors}")
        return out

    def onsale(self, *arguments, **options):
        """What the tool printed; it must have succeeded."""
        return super().onsale(*arguments, **options).stdout

    def remove(self):
        """Also at the end of a measurement that failed, whose reason is not to be hidden."""
        self.run("remove", check=False)

    def roles(self):
        """The name of each process of the stack, by pid, without its number."""
        return {pid: name.rpartition("-")[0] for name, pid in self.pids().items()}

    def processor_seconds(self):
        """What all processes of the stack have used, by name; PostgreSQL's with its sessions."""
        used = {}
        for pid, name in self.roles().items():
            used[name] = used.get(name, 0) + sum(map(processes.processor_seconds, [pid, *processes.children(pid)]))
        return used

    def event(self, seats, limit=10_000_000, hold_seconds=7_200):
        draft = {
            "name": "Bench", "location": "Nowhere", "date": "2032-01-01T20:00:00Z", "currency": "EUR",
            "hold_seconds": hold_seconds, "queue_limit": limit, "sections": [{"name": "Floor", "price": 2500, "capacity": seats}],
        }  # fmt: skip
        return int(self.onsale("admin", "create-event", "-", "--open", input=json.dumps(draft)))

    def call(self, path, body=None, token=None, base=None):
        request = urllib.request.Request((base or self.url) + path)
        if token:
            request.add_header("Authorization", "Bearer " + token)
        if body is not None:
            request.add_header("Content-Type", "application/json")
            request.data = json.dumps(body).encode()
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def redis(self):
        return Redis(self.settings["ONSALE_REDIS_URL"])

    def token(self, user):
        def text(data):
            return base64.urlsafe_b64encode(data).rstrip(b"=")

        claims = {"sub": user, "role": "customer", "iat": int(time.time()), "exp": int(time.time()) + 36_000}
        signed = text(b'{"alg":"HS256","typ":"JWT"}') + b"." + text(json.dumps(claims).encode())
        mac = hmac.new(self.settings["ONSALE_JWT_SECRET"].encode(), signed, hashlib.sha256).digest()
        return (signed + b"." + text(mac)).decode()

    def audit(self):
        said = self.onsale("audit", "--settle", "60")
        if "clean" not in said:
            raise SystemExit(said)


class Redis:
    """Just enough of the protocol to fill a line quickly and to read a figure."""

    def __init__(self, url):
        found = re.fullmatch(r"redis://(?::([^@]*)@)?([^:/]+):(\d+)(?:/\d+)?", url)
        self.socket = socket.create_connection((found[2], int(found[3])))
        self.reader = self.socket.makefile("rb")
        if found[1]:
            self.pipeline([["AUTH", found[1]]])

    def pipeline(self, commands):
        out = []
        for command in commands:
            out.append(b"*%d\r\n" % len(command))
            for part in command:
                part = str(part).encode()
                out.append(b"$%d\r\n%s\r\n" % (len(part), part))
        self.socket.sendall(b"".join(out))
        return [self.answer() for _ in commands]

    def answer(self):
        line = self.reader.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise SystemExit("Redis: " + rest.decode())
        if kind == b"$":
            return None if rest == b"-1" else self.reader.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.answer() for _ in range(max(0, int(rest)))]
        return rest

    def memory(self):
        return int(re.search(rb"used_memory:(\d+)", self.pipeline([["INFO", "memory"]])[0])[1])


class Load(NamedTuple):
    rate: float
    count: int
    p50: float
    p99: float


def wrk(url, script=None, environment=None, connections=CONNECTIONS):
    """Rate and number of requests, and what half of them and 99 of 100 did not exceed, in milliseconds."""
    command = ["wrk", "-t", "1", "-c", str(connections), "-d", f"{SECONDS_EACH}s", "--latency", url]
    if script:
        command[1:1] = ["-s", str(script)]
    said = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(environment or {})}).stdout
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    if refused:
        raise SystemExit(f"{url}: {refused[1]} answers were refusals\n{said}")

    def latency(share):
        value, unit = re.search(rf"^ +{share}%\s+([\d.]+)(us|ms|s)$", said, re.MULTILINE).groups()
        return float(value) * {"us": 0.001, "ms": 1, "s": 1_000}[unit]

    return Load(
        float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1]), int(re.search(r"(\d+) requests in", said)[1]),
        latency(50), latency(99),
    )  # fmt: skip


def pgbench(url, clients, seconds, *scripts, variables=()):
    """Transactions a second of these scripts, each as often as the others. `variables` are pairs of name and text."""
    files = [word for script in scripts for word in ("-f", script)]
    files += [word for name, text in variables for word in ("-D", f"{name}={text}")]
    done = subprocess.run(
        [programs() / "pgbench", "-n", "-M", "prepared", "-c", str(clients), "-T", str(seconds), *files, url],
        capture_output=True, text=True,
    )  # fmt: skip
    rate = re.search(r"tps = ([\d.]+)", done.stdout)
    if not rate:
        raise SystemExit(done.stdout + done.stderr)
    return float(rate[1])


class Nginx:
    """A server that answers each request with the same body: what HTTP alone costs."""

    def __init__(self, directory):
        self.directory = directory
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        body = json.dumps({"request_id": "x" * 40, "event_id": 1, "state": "queued", "position": 1, "ahead": 0})
        (directory / "nginx.conf").write_text(
            f"worker_processes 1; daemon off; pid {directory}/nginx.pid; error_log /dev/null;\n"
            "events { worker_connections 1024; }\n"
            "http { access_log off; keepalive_requests 1000000000; default_type application/json;\n"
            f"server {{ listen 127.0.0.1:{self.port}; location / {{ return 200 '{body}'; }}\n"
            f"location /file/ {{ alias {directory}/; open_file_cache max=10; open_file_cache_valid 1h; }} }} }}\n"
        )
        self.process = subprocess.Popen(["nginx", "-c", directory / "nginx.conf", "-p", directory])
        for _ in range(100):
            if is_taken(self.port):
                return
            time.sleep(0.05)
        raise SystemExit("nginx did not start")

    def serving(self, name, body):
        """Where these bytes are served, from a file that stays open."""
        file = self.directory / name
        file.write_bytes(body)
        # The worker is another user.
        file.chmod(0o644)
        return f"{self.url}file/{name}"

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


class Table:
    def __init__(self):
        self.rows = []

    def add(self, what, figure, floor, ratio, goal, met):
        """`goal` is – where none is set; then `met` says nothing."""
        self.rows.append((what, figure, floor, ratio, goal, "–" if goal == "–" else "yes" if met else "**no**"))
        said = "" if goal == "–" else f" (goal {goal}: {'met' if met else 'not met'})"
        say(f"  {what}: {figure}; floor {floor}; {ratio}{said}")

    def print(self):
        print("| what | here | floor in the same run | ratio | goal | met |")
        print("|---|---|---|---|---|---|")
        for row in self.rows:
            print("| " + " | ".join(row) + " |")


def in_turn(floor, figure):
    """Middle figure, middle floor and middle ratio of as many pairs as there are rounds."""
    pairs = [(figure(), floor()) for _ in range(ROUNDS)]
    return (
        statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs),
        statistics.median(a / b for a, b in pairs),
    )  # fmt: skip


def machine():
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = int(re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())[1]) / 2**20
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    return (
        f"{os.cpu_count()} cores ({model[1] if model else 'unknown'}), {memory:.0f} GiB, load {os.getloadavg()[0]:.1f} before;"
        f" {os.environ.get('WORKERS', 2)} workers, fsync and appendfsync always on; commit {commit or 'unknown'}."
    )
