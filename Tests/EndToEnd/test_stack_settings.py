"""What the user of a stack writes into its env file stays, and reaches the processes."""

import shlex
import socket
import subprocess
from pathlib import Path

from conftest import new_buyer, new_organizer
from stack import free_port, until


def write(stack, *lines):
    """At the end of the env file, as a person would."""
    with (stack.state / "env").open("a") as file:
        file.write("".join(f"{line}\n" for line in lines))


def given(stack, process):
    """The settings that a process was started with."""
    pairs = Path(f"/proc/{stack.pid(process)}/environ").read_bytes().decode().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if pair.startswith("ONSALE_"))


def provider_of(stack):
    """Lines that lead to the payment provider of another stack."""
    names = ("ONSALE_PAYMENT_URL", "ONSALE_PAYMENT_KEY", "ONSALE_PAYMENT_WEBHOOK_SECRET")
    return [f"{name}={stack.settings[name]}" for name in names]


def test_settings_of_the_user_stay_and_are_handed_on(own_stack):
    before = own_stack.pids()
    lines = ["# Ours:", "ONSALE_TRUSTED_PROXIES='127.0.0.1, 10.0.0.0/8' # the proxy", "export ONSALE_UNHEARD_OF=7"]
    write(own_stack, *lines, "ONSALE_DECLINES_PER_EVENT=9")
    said = own_stack.up().stderr
    env = (own_stack.state / "env").read_text()
    assert all(f"{line}\n" in env for line in lines)
    for process in ("serve-1", "worker-1", "indexer-1"):
        settings = given(own_stack, process)
        assert settings["ONSALE_TRUSTED_PROXIES"] == "127.0.0.1, 10.0.0.0/8"
        assert (settings["ONSALE_UNHEARD_OF"], settings["ONSALE_DECLINES_PER_EVENT"]) == ("7", "9")
        assert f"{process} runs with other settings: replacing it" in said
    # The servers of the data have no use for them.
    after = own_stack.pids()
    assert {name for name in after if after[name] == before[name]} == {"postgres-1", "redis-1"}
    assert "nothing was changed" in own_stack.up().stderr
    assert (own_stack.state / "env").read_text() == env
    # A shell reads the same.
    sourced = ["bash", "-c", f"set -eu; . {own_stack.state}/env; printf %s \"$ONSALE_TRUSTED_PROXIES\""]
    assert subprocess.run(sourced, capture_output=True, text=True, check=True).stdout == "127.0.0.1, 10.0.0.0/8"

    # A value that a shell would read as a command is refused before anything is stopped.
    write(own_stack, "ONSALE_SITE_NAME=My hall")
    refused = own_stack.run("up", check=False)
    assert refused.returncode == 1 and "ONSALE_SITE_NAME needs quotes" in refused.stderr
    assert own_stack.pids() == after
    own_stack.down()
    assert not own_stack.pids()


def test_with_another_payment_provider_no_stub_is_started(stack, own_stack, ledger):
    own = own_stack.settings
    write(own_stack, *provider_of(stack))
    own_stack.up()
    assert own_stack.settings["ONSALE_PAYMENT_URL"] == stack.settings["ONSALE_PAYMENT_URL"]
    assert "payments-1" not in own_stack.pids()
    # The stub's is not patience enough for anybody else.
    assert "ONSALE_PAYMENT_SEARCH_SECONDS" not in given(own_stack, "worker-1")
    assert "is ready" in own_stack.run("status").stdout
    # Who pays here is in the other provider's books: by the name that this stack gave the request.
    event = new_organizer(own_stack).create_event(sections=[{"name": "Lawn", "price": 4321, "capacity": 5}])
    assert new_buyer(own_stack).buy(event)["amount"] == 4321
    until(lambda: [p for p in ledger(event) if p["amount_received"] == 4321], what="the capture at the other provider")

    # Taken out again, the stub comes back, at its own address.
    path = own_stack.state / "env"
    theirs = provider_of(stack)
    path.write_text("".join(f"{line}\n" for line in path.read_text().splitlines() if line not in theirs))
    write(own_stack, f"ONSALE_PAYMENT_KEY={own['ONSALE_PAYMENT_KEY']}")
    own_stack.up()
    assert "payments-1" in own_stack.pids()
    assert own_stack.settings["ONSALE_PAYMENT_URL"] == own["ONSALE_PAYMENT_URL"]
    for name in ("ONSALE_PAYMENT_URL", "ONSALE_PAYMENT_SEARCH_SECONDS"):
        assert given(own_stack, "worker-1")[name] == own[name]
    new_buyer(own_stack).buy(event)


def test_settings_that_are_there_before_the_first_start_are_kept(stack, tmp_path):
    first = type(stack)(tmp_path / "state", workers=1)
    first.state.mkdir()
    lines = [*provider_of(stack), "ONSALE_JWT_SECRET=" + "5" * 64, "ONSALE_URL=https://tickets.example"]
    (first.state / "env").write_text("\n".join(lines))
    try:
        said = first.up().stdout
        assert "Onsale runs at https://tickets.example" in said
        assert all(line in (first.state / "env").read_text().splitlines() for line in lines)
        # Others could read it as it was.
        assert (first.state / "env").stat().st_mode & 0o077 == 0
        assert "payments-1" not in first.pids() and "ONSALE_PAYMENT_PORT" not in first.settings
        assert given(first, "serve-1")["ONSALE_URL"] == "https://tickets.example"
        # A person's address is no reason to look for the server there.
        assert "is ready" in first.run("status").stdout
    finally:
        first.remove()


def test_what_follows_from_a_setting_follows_it(own_stack):
    """An address that nobody has written is no decision of the user's, whatever its port was."""
    before = own_stack.settings
    port = free_port()
    write(own_stack, f"ONSALE_PORT={port}")
    own_stack.up(PORT="")
    assert own_stack.settings["ONSALE_URL"] == f"http://127.0.0.1:{port}"
    assert f"127.0.0.1:{port} is ready" in own_stack.run("status").stdout

    # Somebody takes the ports of a stack that is down.
    own_stack.down()
    with socket.create_server(("127.0.0.1", int(before["ONSALE_PAYMENT_PORT"]))):
        with socket.create_server(("127.0.0.1", int(before["ONSALE_REDIS_PORT"]))):
            own_stack.up(PORT="")
    after = own_stack.settings
    for name in ("PAYMENT", "REDIS"):
        assert after[f"ONSALE_{name}_PORT"] != before[f"ONSALE_{name}_PORT"]
        assert after[f"ONSALE_{name}_URL"] == before[f"ONSALE_{name}_URL"].replace(
            before[f"ONSALE_{name}_PORT"], after[f"ONSALE_{name}_PORT"]
        )
    assert after["ONSALE_DATABASE_URL"] == before["ONSALE_DATABASE_URL"]
    event = new_organizer(own_stack).create_event()
    assert new_buyer(own_stack).buy(event)["state"] == "purchased"


def test_a_stack_of_an_older_version_is_taken_over(own_stack):
    """One that has written down neither what follows from what, nor with which settings its processes were started."""
    (own_stack.state / "derived").unlink()
    for path in (own_stack.state / "run").glob("*.start"):
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    env, before = (own_stack.state / "env").read_text(), own_stack.pids()
    assert "nothing was changed" in own_stack.up().stderr
    assert own_stack.pids() == before and (own_stack.state / "env").read_text() == env


def test_an_address_of_the_users_stays_when_the_stack_gets_a_replica(own_stack):
    address = "postgres://a:b@127.0.0.1:1/onsale?sslmode=disable&application_name=mine"
    write(own_stack, f"ONSALE_SEARCH_DATABASE_URL={shlex.quote(address)}")
    own_stack.down()
    own_stack.up(REPLICA="yes")
    assert own_stack.settings["ONSALE_SEARCH_DATABASE_URL"] == address
    assert "postgres-2" in own_stack.pids()


def test_no_port_is_given_out_twice(monkeypatch, tmp_path):
    """Of what was chosen a moment ago nobody listens yet."""
    from local import ports, settings

    env = settings.EnvFile(tmp_path / "env")
    env.set("ONSALE_METRICS_PORT_SERVE_1", 20_001)
    env.set("ONSALE_REDIS_PORT", 20_002)
    env.set("ONSALE_PAYMENT_PORT", "")
    assert env.ports() == {20_001, 20_002}
    drawn = iter([20_001, 20_002, 20_003])
    monkeypatch.setattr(ports.random, "choice", lambda _: next(drawn))
    monkeypatch.setattr(ports, "is_taken", lambda _: False)
    assert ports.free(env.ports()) == 20_003
