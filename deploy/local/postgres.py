"""PostgreSQL: clusters of our own, never the system's. It refuses to run as root; then it runs as user `postgres`."""

import os
import pwd
import re
import shutil
import signal
import subprocess
from pathlib import Path

from . import Failure, processes

OLDEST_VERSION = 15
START_SECONDS = 60
NAME = "onsale"


def programs():
    """The directory of the server's programs: Debian's layout first, the newest version of it."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    found = [path for path in found if path.parent.name.isdigit() and int(path.parent.name) >= OLDEST_VERSION]
    if found:
        return max(found, key=lambda path: int(path.parent.name))
    if elsewhere := shutil.which("initdb"):
        return Path(elsewhere).resolve().parent
    raise Failure("PostgreSQL 15 is not installed (Debian: postgresql-15); 'make deps' installs it")


def user():
    """Whom it runs as; `None` if that is whoever we are."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        raise Failure("there is no user 'postgres' for PostgreSQL to run as") from None


def can_enter(directory):
    """True if the user it runs as can reach the directory."""
    return subprocess.run([*processes.as_user(user()), "test", "-x", str(directory)], cwd="/").returncode == 0


def make_directory(directory):
    """An empty directory for a cluster."""
    directory.mkdir(parents=True)
    directory.chmod(0o700)
    if owner := user():
        shutil.chown(directory, owner, owner)


def initialise(directory, password, authentication="scram-sha-256"):
    """Makes a cluster with a superuser `postgres`."""
    make_directory(directory)
    # By a pipe: the password is in no file and in no argument list. It belongs to the user who opens it by this name.
    reading, writing = os.pipe()
    try:
        if owner := user():
            os.fchown(reading, pwd.getpwnam(owner).pw_uid, -1)
        with open(writing, "w") as pipe:
            pipe.write(f"{password}\n")
        done = subprocess.run(
            [
                *processes.as_user(user()), programs() / "initdb", f"--pgdata={directory}", "--username=postgres",
                f"--auth={authentication}", f"--pwfile=/dev/fd/{reading}", "--encoding=UTF8", "--locale=C.UTF-8",
                "--no-instructions", "--no-sync",
            ],
            pass_fds=[reading], cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    finally:
        os.close(reading)
    if done.returncode != 0:
        raise Failure(f"initdb failed in {directory}")


def create_database(directory, passwords):
    """Makes the database and its roles, with these passwords: `onsale_owner` owns the schema and changes it;
    `onsale_app`, which all processes but `migrate` use, may read and write rows and nothing else; `onsale_replica`
    only copies. Without a network: the server takes statements from its standard input."""
    for role, password in passwords.items():
        if not re.fullmatch(r"[a-z_]+", role) or not re.fullmatch(r"[0-9A-Za-z]+", password):
            raise Failure(f"the password of {role} must be letters and digits")
    roles = [
        f"CREATE ROLE {role} LOGIN {'REPLICATION ' if role == 'onsale_replica' else ''}PASSWORD '{password}'"
        for role, password in passwords.items()
    ]
    _alone(directory, "postgres", [*roles, f"CREATE DATABASE {NAME} OWNER onsale_owner"])
    rights = "ALTER DEFAULT PRIVILEGES FOR ROLE onsale_owner GRANT"
    _alone(
        directory,
        NAME,
        [
            f"REVOKE ALL ON DATABASE {NAME} FROM PUBLIC",
            f"GRANT CONNECT, TEMPORARY ON DATABASE {NAME} TO onsale_app",
            f"{rights} SELECT, INSERT, UPDATE, DELETE ON TABLES TO onsale_app",
            f"{rights} USAGE, SELECT ON SEQUENCES TO onsale_app",
        ],
    )


def _alone(directory, database, statements):
    done = subprocess.run(
        [
            *processes.as_user(user()), programs() / "postgres", "--single", "-D", directory,
            "-c", "log_min_messages=error", database,
        ],
        input="".join(f"{statement}\n" for statement in statements),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/",
    )  # fmt: skip
    errors = [line for line in done.stdout.splitlines() if "ERROR" in line or "FATAL" in line]
    if errors or done.returncode != 0:
        raise Failure("the database could not be created: " + ("\n".join(errors) or done.stdout))


def copy(directory, port, role, password, log):
    """Copies the server at that port into a directory, from which a replica can be started that follows it."""
    make_directory(directory)
    with open(log, "ab") as output:
        done = subprocess.run(
            [
                *processes.as_user(user()), programs() / "pg_basebackup", "-h", "127.0.0.1", "-p", str(port), "-U", role,
                "-D", directory, "-R", "-X", "stream", "-c", "fast",
            ],
            env={**os.environ, "PGPASSWORD": password}, cwd="/", stdout=output, stderr=output, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    if done.returncode != 0:
        raise Failure("PostgreSQL could not be copied")


def launch(directory, port, log, environment=None, ending=None, **settings):
    """Starts the cluster in a directory, on a loopback port; returns its `Popen` at once. It has no Unix socket, whose
    path may be no longer than 107 bytes. A lock file of a server that was killed names a dead pid; PostgreSQL sees that
    itself."""
    # Durability is what is sold here: it is on unless a setting says otherwise.
    options = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        **settings,
    }
    arguments = [programs() / "postgres", "-D", directory, "-p", port]
    for name, value in options.items():
        arguments += ["-c", f"{name}={value}"]
    return processes.launch(arguments, log, environment, user(), ending)


def start(directory, port, log, ending=None, **settings):
    """Starts the cluster and waits until it takes connections; returns its pid, or `None` if it does not (its log says
    why)."""
    process = launch(directory, port, log, ending=ending, **settings)
    return process.pid if processes.await_answer(process, lambda: is_ready(directory, process.pid), START_SECONDS) else None


def is_ready(directory, pid):
    """True once this very server takes connections: it says so in its lock file. Somebody else's at the same port would
    answer, too."""
    try:
        lines = (Path(directory) / "postmaster.pid").read_text().splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


# What ends it without waiting for its clients: their transactions are rolled back, and a checkpoint is written.
STOP_SIGNAL = signal.SIGINT
