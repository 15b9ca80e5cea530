"""What there is to run: every case says which row it belongs to, what it needs, and how long it takes about."""

import subprocess
from dataclasses import dataclass, field
from collections.abc import Callable

from servers import BINARY, Failure, clean_environment

ROWS = {}
SABOTAGES = {}


@dataclass
class Case:
    """One run of one fault. `run(bench, rng)` returns a `Verdict`."""

    row: int
    name: str
    run: Callable
    # In seconds, on a machine with two cores; for the order and for the selection.
    cost: float = 8
    point: str | None = None
    tags: set = field(default_factory=set)

    def __str__(self):
        return f"row {self.row:2} {self.name}" if self.row else f"sabotage {self.name}"


SABOTAGE_TRIES = 4


def row(number, cost=15, name=None):
    """Registers a function as a test of this row."""

    def register(function):
        title = name or function.__name__.replace("_", " ")
        ROWS.setdefault(number, []).append(Case(number, title, function, cost))
        return function

    return register


def sabotage(title, cost=30):
    """Registers a function that breaks one protection on purpose and returns what the judge then says.

    It passes if the judge finds something. What an unprotected write ruins depends on the moment it arrives at, and
    once in a while that is nothing; so there are some tries.
    """

    def register(function):
        def run(bench, rng):
            for _ in range(SABOTAGE_TRIES):
                verdict = function(bench, rng)
                if verdict.violations:
                    break
            else:
                raise Failure("nobody noticed")
            verdict.caught, verdict.violations = verdict.violations, []
            return verdict

        SABOTAGES[title] = Case(0, title, run, cost)
        return function

    return register


def fault_points():
    """All names, as the program lists them."""
    output = subprocess.run([BINARY, "faults"], env=clean_environment(), capture_output=True, text=True, check=True)
    return output.stdout.split()
