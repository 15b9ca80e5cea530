"""One whole Onsale on this machine, for trying, developing, testing and measuring. Standard library only.

| module      | knows                                                                              |
|-------------|------------------------------------------------------------------------------------|
| `processes` | how a process is started, recognised by pid and start time, and stopped             |
| `ports`     | which ports are free, and ranges of them that one test run keeps for itself         |
| `postgres`  | how a cluster is made, copied and started                                           |
| `redis`     | how a Redis is configured and started                                               |
| `patroni`   | how Patroni and etcd are started, and what they say                                 |
| `ha`        | the PostgreSQL of a stack that has a standby to take over                           |
| `settings`  | the env file: what the stack decides, and what its user has decided                 |
| `members`   | which processes a stack has, and how a role of the binary is started                |
| `stack`     | the actions: `deploy/stack up`, `down`, `status`, …                                 |
| `handle`    | a stack as somebody outside it sees it: its settings, processes, logs; for programs |
| `private`   | a PostgreSQL and a Redis for one command: `deploy/with-servers`                     |
"""

import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Absolute: roles are started from another directory than ours.
BINARY = Path(os.environ.get("ONSALE_BINARY") or ROOT / ".build/release/onsale").absolute()


class Failure(Exception):
    """What cannot be done, in words for the person who asked for it."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def until(condition, seconds=20, what="the condition", pause=0.05):
    """Waits for `condition` to return something true, and returns that."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure(f"{what} did not come within {seconds:.0f} s; last: {value!r}")
        time.sleep(pause)
