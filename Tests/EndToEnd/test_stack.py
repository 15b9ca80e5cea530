"""`make up` and its companions, as a person runs them."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from client import ok
from conftest import new_organizer
from local import ports
from stack import ROOT, Failure, Stack, alive, free_port, until


def pids(stack):
    return {path.stem: int(path.read_text()) for path in (stack.state / "run").glob("*.pid")}


def contents(directory):
    """Every file that a person would look at, with its time of change."""
    names = [directory / "env", *(directory / "run").iterdir()]
    return {str(name): (name.read_text(), name.stat().st_mtime_ns) for name in names}


@pytest.fixture
def demo_stack(tmp_path):
    stack = Stack(tmp_path / "state", demo=True)
    yield stack
    stack.remove()


def test_up_twice_changes_nothing_and_down_leaves_nothing(demo_stack):
    stack = demo_stack
    first = stack.up().stdout
    assert stack.url in first
    event = stack.settings["ONSALE_DEMO_EVENT"]
    organizer = new_organizer(stack)
    assert organizer.queue(event)["available"] == 2000
    assert f"Event {event} is on sale" in first
    # The demo's other events can be found, once the indexer has been through them all.
    until(
        lambda: ok(organizer.get("/api/search", terms="beethoven"))["total"] > 20,
        what="demo events in search",
    )

    before, processes = contents(stack.state), pids(stack)
    assert set(processes) == {
        "postgres-1", "redis-1", "payments-1", "indexer-1", "worker-1", "worker-2", "serve-1",
    }  # fmt: skip
    assert "nothing was changed" in stack.up().stderr
    assert contents(stack.state) == before

    stack.down()
    assert not any(alive(pid) for pid in processes.values())
    assert not list((stack.state / "run").iterdir())
    assert stack.run("status", check=False).returncode != 0

    # The data is kept.
    stack.up()
    assert new_organizer(stack).queue(event)["available"] == 2000
    assert stack.settings["ONSALE_DEMO_EVENT"] == event
    stack.remove()
    assert not stack.state.exists()


def test_a_second_stack_side_by_side(stack, own_stack):
    first, second = stack.settings, own_stack.settings
    for name in ("ONSALE_URL", "ONSALE_DATABASE_URL", "ONSALE_REDIS_URL", "ONSALE_PAYMENT_URL", "ONSALE_JWT_SECRET"):
        assert first[name] != second[name]
    event = new_organizer(own_stack).create_event(name="Only in the second")
    answer = new_organizer(stack).get(f"/api/event/{event}")
    assert answer.status_code == 404 or answer.json()["name"] != "Only in the second"
    own_stack.down()
    assert "is ready" in stack.run("status").stdout


def test_what_died_is_started_again_and_only_that(own_stack):
    before = pids(own_stack)
    own_stack.kill("worker-2")
    assert "worker-2     died" in own_stack.run("status", check=False).stdout
    own_stack.up()
    after = pids(own_stack)
    assert {name for name in after if after[name] != before[name]} == {"worker-2"}


def test_workers_can_be_added_and_taken_away(own_stack):
    own_stack.up(WORKERS="4")
    assert {"worker-1", "worker-2", "worker-3", "worker-4"} <= pids(own_stack).keys()
    own_stack.up(WORKERS="1")
    assert [name for name in sorted(pids(own_stack)) if name.startswith("worker")] == ["worker-1"]
    # The number is kept where none is given.
    own_stack.up(WORKERS="")
    assert own_stack.settings["ONSALE_WORKERS"] == "1"


def test_servers_can_be_added_and_share_the_port(own_stack):
    before = pids(own_stack)
    own_stack.up(SERVERS="2")
    after = pids(own_stack)
    assert {"serve-1", "serve-2"} <= after.keys() and after["serve-1"] == before["serve-1"]
    assert "is ready" in own_stack.run("status").stdout
    # A port that another program has is refused while the servers go on at theirs.
    taken = own_stack.settings["ONSALE_POSTGRES_PORT"]
    assert f"port {taken} is taken" in own_stack.run("up", check=False, PORT=taken).stderr
    assert pids(own_stack) == after


def test_a_pid_file_of_somebody_else_is_left_alone(own_stack):
    with subprocess.Popen(["sleep", "300"]) as stranger:
        try:
            own_stack.kill("indexer-1")
            (own_stack.state / "run/indexer-1.pid").write_text(f"{stranger.pid}\n")
            own_stack.up()
            assert own_stack.pid("indexer-1") != stranger.pid
            own_stack.down()
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_a_port_that_is_taken_is_said(stack, tmp_path):
    second = Stack(tmp_path / "state", port=stack.port)
    try:
        result = second.run("up", check=False)
        assert result.returncode != 0
        assert f"port {stack.port} is taken" in result.stderr
        # Nothing was started that somebody would have to stop.
        assert not pids(second)
    finally:
        second.remove()


def test_a_directory_of_somebody_s_own_is_no_stack_s_and_keeps_what_it_has(tmp_path):
    own = tmp_path / "photographs"
    (own / "2031").mkdir(parents=True)
    (own / "2031/a.jpg").write_text("a")
    stack = Stack(own)
    refused = stack.run("up", check=False)
    assert refused.returncode != 0 and "it has 2031: set STATE to a new one" in refused.stderr
    assert [path.name for path in own.iterdir()] == ["2031"]
    stack.remove()
    # Not even where a stack of a version before was.
    for name in ("run", "log", "payments", "redis"):
        (own / name).mkdir()
        (own / name / "x.log").write_text("x")
    (own / "env").write_text("ONSALE_PORT=1\n")
    (own / "derived").symlink_to(own / "2031")
    assert "what else is there was kept" in stack.remove().stderr
    assert [path.name for path in own.iterdir()] == ["2031"] and (own / "2031/a.jpg").read_text() == "a"


def test_an_up_that_ended_before_it_wrote_its_settings_can_be_done_again(tmp_path, stack):
    second = Stack(tmp_path / "state", port=stack.port)
    for _ in range(2):
        assert f"port {stack.port} is taken" in second.run("up", check=False).stderr


def test_a_range_of_ports_is_locked_in_no_file_of_somebody_else(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    directory, secret = tmp_path / f"onsale-fault-ports-{os.geteuid()}", tmp_path / "secret"
    secret.write_text("kept")
    first, second = ports.Range(), ports.Range()
    assert not set(first._free) & set(second._free)
    assert directory.stat().st_mode & 0o777 == 0o700
    first.release()
    (directory / "0").unlink()
    (directory / "0").symlink_to(secret)
    with pytest.raises(Failure, match="cannot be a lock"):
        ports.Range()
    second.release()
    (directory / "0").unlink()
    # What is in the file of a lock is nobody's business here.
    (directory / "0").write_text("kept")
    ports.Range().release()
    assert secret.read_text() == (directory / "0").read_text() == "kept"
    directory.rename(tmp_path / "elsewhere")
    directory.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Failure, match="somebody else has taken the name"):
        ports.Range()
    directory.unlink()
    directory.mkdir()
    if os.geteuid() == 0:
        os.chown(directory, 65534, -1)
        with pytest.raises(Failure, match="somebody else has taken the name"):
            ports.Range()


def test_the_settings_are_for_the_owner_only_and_a_shell_can_source_them(stack):
    env = stack.state / "env"
    assert env.stat().st_mode & 0o077 == 0
    sourced = subprocess.run(
        ["bash", "-c", f"set -euo pipefail; . {env}; echo $ONSALE_URL $ONSALE_DATABASE_URL"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert sourced == [stack.settings["ONSALE_URL"], stack.settings["ONSALE_DATABASE_URL"]]
    for name in ("DATABASE", "MIGRATE_DATABASE", "REDIS", "PAYMENT"):
        assert stack.settings[f"ONSALE_{name}_URL"]


def test_no_secret_is_in_a_log_or_an_argument_list(stack):
    secrets = [
        value for name, value in stack.settings.items() if re.search("SECRET|PASSWORD|PAYMENT_KEY", name) and value
    ]
    assert len(secrets) >= 5
    for path in (stack.state / "log").iterdir():
        text = path.read_text(errors="replace")
        assert not [s for s in secrets if s in text], path
    for process, pid in pids(stack).items():
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        assert not [s for s in secrets if s in arguments], process


def test_roles_cannot_change_the_schema(stack):
    result = subprocess.run(
        ["psql", "-X", "-v", "ON_ERROR_STOP=1", "-c", "CREATE TABLE mine (id int)"],
        env={**os.environ, **url_environment(stack.settings["ONSALE_DATABASE_URL"])},
        capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode != 0 and "permission denied" in result.stderr
    for pid in (stack.pid("serve-1"), stack.pid("worker-1")):
        environment = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
        assert "ONSALE_MIGRATE_DATABASE_URL" not in environment


def url_environment(url):
    user, password, host, port, database = re.fullmatch(r"postgres://(.*):(.*)@(.*):(.*)/(.*)", url).groups()
    return {"PGUSER": user, "PGPASSWORD": password, "PGHOST": host, "PGPORT": port, "PGDATABASE": database}


def test_work_stays_on_the_event_loop(stack):
    new_organizer(stack).create_event()
    for process in ("serve-1", "worker-1", "indexer-1"):
        names = [task.read_text() for task in Path(f"/proc/{stack.pid(process)}/task").glob("*/comm")]
        # The pool's threads are named after its queues. It has some as soon as one continuation is resumed on it.
        assert names and not [name for name in names if "qos" in name], (process, names)


def test_make_lists_its_targets():
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in "help deps build test lint format bench up down status logs demo clean".split():
        assert re.search(rf"^  {target} ", listed, re.MULTILINE), target


def test_logs_and_status_are_for_people(stack):
    assert "serve-1.log" in stack.run("logs").stdout
    status = stack.run("status").stdout
    assert all(name in status for name in ("postgres-1", "redis-1", "worker-2", "serve-1"))
    free = Stack(stack.state.parent / "nothing-here", port=free_port())
    assert "There is no stack" in free.run("status", check=False).stderr
