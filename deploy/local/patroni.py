"""PostgreSQL with standbys: Patroni, as deploy/postgresql/patroni.yml has it, and an etcd of one node. Several "machines" on
this one, told apart by their ports."""

import base64
import json
import os
import shutil
import subprocess
import urllib.request
from pathlib import Path

from . import ROOT, Failure, postgres, processes

EXAMPLE = ROOT / "deploy/postgresql/patroni.yml"
ANSWER_SECONDS = 5


def program(name="patroni"):
    """Patroni's own, where `make test` has installed it, or the system's."""
    found = ROOT / ".venv/bin" / name
    return str(found) if found.exists() else shutil.which(name)


def missing():
    """What there is not to run it with, in words; empty if all is there."""
    wanted = {"patroni": program(), "etcd": shutil.which("etcd")}
    lacking = [name for name, found in wanted.items() if not found]
    if lacking:
        return f"{' and '.join(lacking)} not installed (Debian: etcd-server; PyPI: patroni)"
    reading = subprocess.run([*processes.as_user(postgres.user()), "cat", EXAMPLE, program()], capture_output=True, cwd="/")
    return "" if reading.returncode == 0 else f"the user that PostgreSQL runs as cannot read {EXAMPLE} or {program()}"


def launch_etcd(directory, client_port, peer_port, log, ending=None):
    """Starts it, on loopback ports, as the user that PostgreSQL runs as; returns its `Popen` at once."""
    directory = Path(directory)
    if not directory.exists():
        postgres.make_directory(directory)
    client, peer = f"http://127.0.0.1:{client_port}", f"http://127.0.0.1:{peer_port}"
    arguments = [
        shutil.which("etcd") or "etcd", "--name", "only", "--data-dir", directory,
        "--listen-client-urls", client, "--advertise-client-urls", client,
        "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"only={peer}",
    ]  # fmt: skip
    return processes.launch(arguments, log, user=postgres.user(), ending=ending)


def etcd_answers(port):
    try:
        return json.loads(_ask(f"http://127.0.0.1:{port}/health"))["health"] == "true"
    except (OSError, ValueError, KeyError):
        return False


def environment(name, directory, port, rest_port, etcd_port, passwords, advertised_port=None):
    """What the example leaves to each machine. `passwords` are by role, of `postgres`, `replicator`, `onsale_owner`,
    `onsale_app` and of the REST API, `rest`. Others reach its PostgreSQL at `advertised_port`, if that is another."""
    own = {key: value for key, value in os.environ.items() if not key.startswith(("PATRONI_", "PG", "ONSALE_"))}
    return {
        **own,
        "PATRONI_NAME": name,
        "PATRONI_POSTGRESQL_LISTEN": f"127.0.0.1:{port}",
        "PATRONI_POSTGRESQL_CONNECT_ADDRESS": f"127.0.0.1:{advertised_port or port}",
        "PATRONI_POSTGRESQL_DATA_DIR": str(directory),
        "PATRONI_POSTGRESQL_PGPASS": f"{directory}.pgpass",
        "PATRONI_POSTGRESQL_BIN_DIR": str(postgres.programs()),
        "PATRONI_RESTAPI_LISTEN": f"127.0.0.1:{rest_port}",
        "PATRONI_RESTAPI_CONNECT_ADDRESS": f"127.0.0.1:{rest_port}",
        "PATRONI_RESTAPI_USERNAME": "operator",
        "PATRONI_RESTAPI_PASSWORD": passwords["rest"],
        "PATRONI_ETCD3_HOSTS": f"127.0.0.1:{etcd_port}",
        "PATRONI_SUPERUSER_USERNAME": "postgres",
        "PATRONI_SUPERUSER_PASSWORD": passwords["postgres"],
        "PATRONI_REPLICATION_USERNAME": "replicator",
        "PATRONI_REPLICATION_PASSWORD": passwords["replicator"],
        "OWNER_PASSWORD": passwords["onsale_owner"],
        "APP_PASSWORD": passwords["onsale_app"],
        # psql, of which only PostgreSQL's own is meant, for roles.sh.
        "PATH": f"{postgres.programs()}:{os.environ.get('PATH', '')}",
        "HOME": str(Path(directory).parent),
    }


def launch(log, surroundings, ending=None, inside=()):
    """Starts Patroni with such an environment; returns its `Popen` at once. What it starts in turn, PostgreSQL, outlives
    it when it is killed. `inside` is a command that becomes it, as whoever we are."""
    if lacking := missing():
        raise Failure(lacking)
    # Both: who becomes another user is no longer what its starter asked the kernel to end.
    become = processes.as_user(postgres.user(), ending)
    around = [*processes.as_user(ending=ending), *inside] if inside else []
    return processes.launch([*around, *become, program(), EXAMPLE], log, surroundings, directory=EXAMPLE.parent)


def ask(rest_port, path, password=None, method="GET", body=None, seconds=ANSWER_SECONDS):
    """What Patroni's REST API says, as JSON; `None` where nobody answers, or not with 2xx."""
    headers = {"Content-Type": "application/json"}
    if password:
        headers["Authorization"] = "Basic " + base64.b64encode(f"operator:{password}".encode()).decode()
    data = None if body is None else json.dumps(body).encode()
    try:
        return json.loads(_ask(f"http://127.0.0.1:{rest_port}{path}", method, data, headers, seconds))
    except (OSError, ValueError):
        return None


def _ask(url, method="GET", data=None, headers=None, seconds=ANSWER_SECONDS):
    request = urllib.request.Request(url, method=method, data=data, headers=headers or {})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=seconds) as answer:
        return answer.read()


def members(rest_ports):
    """Role and state of each, by its name, by whoever answers first; none where nobody does."""
    for port in rest_ports:
        if said := ask(port, "/cluster"):
            return {each["name"]: (each["role"], each["state"]) for each in said.get("members", [])}
    return {}


def leader(rest_ports):
    """The name of the primary, and whether a synchronous standby streams from it."""
    found = members(rest_ports)
    names = [name for name, what in found.items() if what == ("leader", "running")]
    return (names[0] if names else None), ("sync_standby", "streaming") in found.values()
