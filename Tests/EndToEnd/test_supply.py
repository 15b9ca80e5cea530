"""What the program runs with, and what others on its machine can read of it."""

import json
import os
import re
import socket
import subprocess
import zlib
from pathlib import Path

import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from stack import ROOT


def run(*command, **more):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, **more)


@pytest.fixture(scope="module")
def bill():
    return run("deploy/sbom").stdout


def test_the_bill_of_materials_is_cyclonedx(bill):
    error = JsonStrictValidator(SchemaVersion.V1_5).validate_str(bill)
    assert error is None, error


def test_every_library_that_the_program_loads_is_in_the_bill(bill):
    versions = {each["name"]: each["version"] for each in json.loads(bill)["components"]}
    loaded = re.findall(r"=> (/\S+)", run("ldd", ".build/release/onsale").stdout)
    assert len(loaded) > 20
    assert "swift-runtime" in versions or not any("/swift/" in path for path in loaded)
    # Under each name that dpkg may know it by.
    names = {}
    for path in loaded:
        for name in {path, str(Path(path).resolve())}:
            names.setdefault(name, path)
            names.setdefault(name.removeprefix("/usr"), path)
    owners = dict(
        (names[file], package.split(":")[0])
        for package, file in (
            line.split(": ", 1) for line in run("dpkg-query", "--search", *names).stdout.splitlines()
        )
        if file in names
    )
    assert {path for path in loaded if path not in owners} <= {path for path in loaded if "/swift/" in path}
    for package in set(owners.values()):
        installed = run("dpkg-query", "--show", "--showformat=${Version}", package).stdout
        assert versions.get(package) == installed, package


def test_an_advisory_that_an_update_fixes_is_told_and_fails(tmp_path):
    suite = re.search(r"VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text()).group(1)

    def advisories(*lines):
        """With data in the form of Debian's tracker: vulnerabilities, what they concern, and packages of a source."""
        text = "VERSION 1\nCVE-2099-0001,,a made one\n\n" + "".join(line + "\n" for line in lines) + "\n\n"
        (tmp_path / suite).write_bytes(zlib.compress(text.encode()))
        return run("deploy/advisories", env={**os.environ, "SOURCE": tmp_path.as_uri()})

    # One of a package of ours that is fixed, one that is not, and one of a package that is not ours.
    found = advisories("libsodium,0, HRF,999,")
    assert found.returncode == 1 and "CVE-2099-0001 libsodium23" in found.stdout, found
    assert advisories("libsodium,0, HR ,999,").returncode == 0
    assert advisories("coreutils,0, HRF,999:1,").returncode == 0
    assert advisories("libsodium,0, HRF,0,").returncode == 0
    (tmp_path / suite).unlink()
    without_data = run("deploy/advisories", env={**os.environ, "SOURCE": tmp_path.as_uri()})
    assert without_data.returncode != 0 and "no known vulnerability" not in without_data.stdout


@pytest.mark.parametrize("unit", sorted(ROOT.glob("deploy/systemd/*.service")), ids=lambda path: path.name)
def test_units_give_up_what_they_need_not(unit):
    words = run("systemd-analyze", "security", "--offline=true", str(unit)).stdout.splitlines()[-1]
    assert float(re.search(r"level for .*: ([\d.]+)", words).group(1)) <= 2.5, words


def test_containers_give_up_what_they_need_not():
    services = yaml.safe_load((ROOT / "deploy/container/compose.yaml").read_text())["services"]
    image = (ROOT / "deploy/container/Containerfile").read_text()
    assert len(services) >= 7 and re.findall(r"^USER (.*)$", image, re.MULTILINE)[-1] == "onsale"
    for name, service in services.items():
        assert service["image"] == "onsale" or service["user"] not in ("root", "0"), name
        assert service["read_only"] is True and service["cap_drop"] == ["ALL"] and "cap_add" not in service, name
        assert service["security_opt"] == ["no-new-privileges:true"] and service["ulimits"]["core"] == 0, name
        assert "privileged" not in service, name
        # Secrets come by the environment, which nobody but its owner reads.
        assert not re.search(r"(?<!\$)\$\{?\w*(PASSWORD|SECRET|KEY)", str(service.get("command", ""))), name


def test_no_secret_in_arguments_logs_or_metrics(stack, organizer, buyer):
    event = organizer.create_event()
    buyer.buy(event, 1)
    secrets = {
        value
        for name, value in stack.settings.items()
        if re.search(r"SECRET|KEY|PASSWORD", name) or name.endswith("TOKEN")
    }
    secrets |= set(re.findall(r"://[^:/@]*:([^@]+)@", " ".join(stack.settings.values())))
    assert len(secrets) >= 2
    told = [stack.metrics(process) for process in ("serve-1", "worker-1", "payments-1", "indexer-1")]
    told += [path.read_text(errors="replace") for path in stack.state.glob("log/*")]
    for path in stack.state.glob("run/*.pid"):
        told.append(Path(f"/proc/{path.read_text().strip()}/cmdline").read_text())
    assert len(told) > 5
    for secret in secrets:
        assert not any(secret in text for text in told)


def test_an_id_of_a_request_leaves_no_trace(stack, organizer, buyer):
    event = organizer.create_event()
    held = buyer.hold(event, 1)
    request, hold = held["request_id"], held["hold"]
    answers = [
        buyer.confirm(request, "pm_card_visa_chargeDeclined"),
        *(buyer.get(path) for path in (
            f"/queue/{request}", f"/queue/{request}/", f"/queue/{request}?x=%", f"/api/request/{request}",
            f"/api/request/{request}?wait=x", f"/api/request/{request}x", f"/api/request/{request}/nothing",
            f"/nothing/{request}", f"/api/nothing?id={request}",
        )),
        buyer.post(f"/api/request/{request}"),
        buyer.post("/api/ticket/confirm", {"request_id": request, "hold": hold, "payment_method": 7}),
        buyer.post("/api/ticket/confirm", {"request_id": request + "x", "payment_method": "pm_card_visa"}),
        buyer.get("/"),
    ]
    assert {answer.status_code for answer in answers} >= {200, 400, 404, 405}
    for answer in answers:
        # Neither to other sites nor to our own.
        assert answer.headers["Referrer-Policy"] == "no-referrer", answer.url
        assert request not in answer.headers.get("Location", "")
    for line in (f"GET /queue/{request} HTTP/9.9", f"BREW /queue/{request} HTTP/1.1", f"GET /{request}\x01 HTTP/1.1"):
        with socket.create_connection(("127.0.0.1", stack.port), timeout=20) as connection:
            connection.sendall(f"{line}\r\nHost: x\r\n\r\n".encode())
            assert b"referrer-policy: no-referrer" in connection.recv(65536).lower()
    buyer.await_state(request, "reserved", "declined")
    assert buyer.cancel(request).status_code in (200, 202, 204)
    told = [stack.metrics("serve-1"), stack.metrics("worker-1")]
    told += [path.read_text(errors="replace") for path in stack.state.glob("log/*")]
    # Nor a part of either that says as much.
    for secret in (request, request[-24:], hold, hold[-24:]):
        assert not any(secret in text for text in told)
