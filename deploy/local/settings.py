"""The env file of a stack, `ONSALE_NAME=value`, for a shell to source: what the stack decides, and what its user has
decided. Whatever the user writes into it stays, and is handed to the processes.

Some settings follow from others (an address from a port). Such a one is written anew as long as it is what was last
written; with any other value it is the user's. What was last written is in `derived` beside it.
"""

import hashlib
import json
import os
import re
import secrets
import shlex

from . import Failure

LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)")
# The schema owner's address and the like stay out of the roles' environments: they have no use for them.
SECRETS = {
    "ONSALE_MIGRATE_DATABASE_URL", "ONSALE_REDIS_PASSWORD", "ONSALE_APP_PASSWORD", "ONSALE_OWNER_PASSWORD",
    "ONSALE_REPLICA_PASSWORD", "ONSALE_SUPERUSER_PASSWORD", "ONSALE_PATRONI_PASSWORD",
}  # fmt: skip
# What changes while processes run that need not know of it.
BOOKKEEPING = re.compile(
    r"ONSALE_(WORKERS|SERVERS|ENGINE|REPLICA|REPLICA_PORT|REDIS_FSYNC|SYNCHRONOUS_COMMIT|DEMO_EVENT|METRICS_PORT_\w+)"
)


class EnvFile:
    """A file of settings, read once. It is replaced as a whole, so that a reader never sees half of it; comments and
    the order of its lines stay."""

    def __init__(self, path):
        self.path = path
        # Lines whose value a shell would not read as one word. Whoever only stops the stack need not care.
        self.problems = []
        self._lines = path.read_text().splitlines() if path.exists() else []
        self._saved = list(self._lines)
        self._values = dict(filter(None, map(self._parse, self._lines)))

    def _parse(self, line):
        found = LINE.fullmatch(line.strip())
        if not found:
            return None
        # As a shell reads it, but that nothing is expanded.
        try:
            words = shlex.split("''" + found[2])
        except ValueError:
            words = []
        if len(words) != 1 and not (words and words[1].startswith("#")):
            self.problems.append(f"{self.path}: the value of {found[1]} needs quotes")
            return found[1], found[2]
        return found[1], words[0]

    def __getitem__(self, name):
        """Empty if there is none."""
        return self._values.get(name, "")

    def number(self, name):
        value = self[name]
        if not re.fullmatch(r"[0-9]{1,9}", value):
            raise Failure(f"{self.path}: {name} must be a number, not '{value}'")
        return int(value)

    def ports(self):
        """Those that the stack has for itself, whether anything listens there yet or not."""
        return {int(value) for name, value in self._values.items() if "_PORT" in name and value.isdigit()}

    def __contains__(self, name):
        return name in self._values

    @property
    def values(self):
        return dict(self._values)

    def set(self, name, value):
        value = str(value)
        if name in self._values and self._values[name] == value:
            return
        self._values[name] = value
        mine = [number for number, line in enumerate(self._lines) if (self._parse(line) or ("",))[0] == name]
        written = f"{name}={shlex.quote(value) if value else ''}"
        if mine:
            # The last one counts.
            self._lines[mine[-1]] = written
        else:
            self._lines.append(written)

    def drop(self, name):
        self._values.pop(name, None)
        self._lines = [line for line in self._lines if (self._parse(line) or ("",))[0] != name]

    def save(self):
        if self._lines == self._saved:
            return
        new = self.path.with_name(self.path.name + ".new")
        new.write_text("".join(f"{line}\n" for line in self._lines))
        new.chmod(0o600)
        new.replace(self.path)
        self._saved = list(self._lines)


def address(env):
    """Where the stack's own server answers on this machine, whatever its clients are told."""
    host = env["ONSALE_HOST"]
    if host in ("", "0.0.0.0", "::", "*"):
        host = "127.0.0.1"
    return f"http://{f'[{host}]' if ':' in host else host}:{env['ONSALE_PORT']}"


def stub_address(env):
    """Empty as long as the stub has no port."""
    port = env["ONSALE_PAYMENT_PORT"]
    return f"http://127.0.0.1:{port}" if port else ""


def has_stub(env):
    """False where the user has named another payment provider."""
    return env["ONSALE_PAYMENT_URL"] in ("", stub_address(env))


def is_ha(env):
    """Whether PostgreSQL has a standby that takes over by itself."""
    return env["ONSALE_ENGINE"] == "ha"


def derived(env):
    """What follows from the other settings; empty where nothing does."""

    def database(role, *port_names, options=""):
        password = env[f"ONSALE_{role.upper()}_PASSWORD"]
        hosts = ",".join(f"127.0.0.1:{env[name]}" for name in port_names)
        return f"postgres://onsale_{role}:{password}@{hosts}/onsale{options}"

    def primary(role):
        if is_ha(env):
            options = "?target_session_attrs=read-write&connect_timeout=2"
            return database(role, "ONSALE_POSTGRES_1_PORT", "ONSALE_POSTGRES_2_PORT", options=options)
        return database(role, "ONSALE_POSTGRES_PORT")

    return {
        "ONSALE_DATABASE_URL": primary("app"),
        "ONSALE_MIGRATE_DATABASE_URL": primary("owner"),
        "ONSALE_REDIS_URL": f"redis://:{env['ONSALE_REDIS_PASSWORD']}@127.0.0.1:{env['ONSALE_REDIS_PORT']}/0",
        "ONSALE_PAYMENT_URL": stub_address(env),
        # The stub finds what it made at once, or within two seconds where chaos wants it.
        "ONSALE_PAYMENT_SEARCH_SECONDS": "3",
        "ONSALE_URL": f"http://127.0.0.1:{env['ONSALE_PORT']}",
        "ONSALE_SEARCH_DATABASE_URL": database("app", "ONSALE_REPLICA_PORT") if env["ONSALE_REPLICA"] == "yes" else "",
    }


def theirs(env, recorded):
    """The names of those settings that would follow from others, but have a value that the user gave them."""

    def ours(name, value):
        # Before the first `up`, or where nothing was written, whatever is there is the user's.
        if "ONSALE_STATE" not in env or (name in recorded and not recorded[name]):
            return [""]
        # The last is for a stack that was made when nothing was recorded.
        return ["", recorded[name], value]

    return {name for name, value in derived(env).items() if env[name] not in ours(name, value)}


def defaults(env, state, postgres_directory):
    """What a stack has from its first `up` on. `postgres_directory` is asked only if it is needed."""
    made = {
        "ONSALE_STATE": lambda: state,
        "ONSALE_JWT_SECRET": lambda: secrets.token_hex(32),
        "ONSALE_PAYMENT_KEY": lambda: f"sk_test_{secrets.token_hex(16)}",
        "ONSALE_PAYMENT_WEBHOOK_SECRET": lambda: f"whsec_{secrets.token_hex(16)}",
        "ONSALE_PAYMENT_HOST": lambda: "127.0.0.1",
        "ONSALE_PAYMENT_LEDGER": lambda: state / "payments/ledger",
        "ONSALE_SEARCH_URL": lambda: os.environ.get("ONSALE_SEARCH_URL", ""),
        "ONSALE_LOG_LEVEL": lambda: os.environ.get("ONSALE_LOG_LEVEL") or "info",
        "ONSALE_WEBHOOK_NETWORKS": lambda: "127.0.0.0/8",
        "ONSALE_HOST": lambda: "127.0.0.1",
        "ONSALE_POSTGRES_DIRECTORY": postgres_directory,
        "ONSALE_REDIS_PASSWORD": lambda: secrets.token_hex(16),
        "ONSALE_APP_PASSWORD": lambda: secrets.token_hex(16),
        "ONSALE_OWNER_PASSWORD": lambda: secrets.token_hex(16),
        "ONSALE_REPLICA_PASSWORD": lambda: secrets.token_hex(16),
        **({f"ONSALE_{name}_PASSWORD": lambda: secrets.token_hex(16) for name in ("SUPERUSER", "PATRONI")} if is_ha(env) else {}),
    }
    for name, make in made.items():
        if name not in env:
            env.set(name, make())


def follow(env, recorded, kept):
    """Writes what follows from the other settings, but for those that are the user's; where nothing follows any more,
    what had followed is taken out."""
    values = derived(env)
    if "ONSALE_PAYMENT_URL" in kept:
        # Another provider's search is not the stub's: too little patience would decline what was paid for.
        values["ONSALE_PAYMENT_SEARCH_SECONDS"] = ""
    for name, value in values.items():
        recorded.set(name, value)
        if name in kept:
            continue
        if value:
            env.set(name, value)
        else:
            env.drop(name)


def wish(env, variable, name, default, allowed):
    """Sets what the caller's environment asks for; where it asks for nothing the stack keeps what it has. `allowed` is
    a range of numbers, or the words that may be said."""
    value = os.environ.get(variable) or env[name] or str(default)
    if isinstance(allowed, range):
        check_number(variable, value, allowed)
    elif value not in allowed:
        *first, last = allowed
        raise Failure(f"{variable} is {', '.join(first)} or {last}, not '{value}'")
    env.set(name, value)


def check_number(variable, value, allowed):
    if not re.fullmatch(r"[0-9]{1,6}", value) or int(value) not in allowed:
        raise Failure(f"{variable} must be a number from {allowed.start} to {allowed.stop - 1}, not '{value}'")


def digest(env):
    """The same as long as the processes have to know of no change. It tells nothing of what they are."""
    told = {name: value for name, value in handed_on(env, {}).items() if not BOOKKEEPING.fullmatch(name)}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def handed_on(env, surroundings):
    """The environment of the stack's processes: the caller's, and the env file's settings over it."""
    merged = {**surroundings, **{name: value for name, value in env.values.items() if name.startswith("ONSALE_")}}
    return {name: value for name, value in merged.items() if name not in SECRETS}
