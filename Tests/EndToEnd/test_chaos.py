"""A sale while its stack falls apart and comes back, at random: `deploy/chaos`, short."""

import os
import random
import subprocess

import pytest

from stack import BINARY, ROOT


@pytest.mark.timeout(300)
def test_a_sale_keeps_every_promise_while_its_stack_is_taken_apart():
    seed = random.randrange(1 << 30)
    # The state of a stack around this test is not its own.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ONSALE_")}
    size = {"SECONDS_OF_CHAOS": "15", "BUYERS": "2000", "SECONDS_LIMIT": "120"}
    chaos = subprocess.Popen(
        [ROOT / "deploy/chaos"],
        env={**environment, **size, "SEED": str(seed), "ONSALE_BINARY": str(BINARY)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said, errors = chaos.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        # It takes its stack down before it ends.
        chaos.terminate()
        said, errors = chaos.communicate(timeout=50)
    assert chaos.returncode == 0, f"seed {seed}:\n{errors[-5000:]}\n{said}"
    assert "nothing was disturbed" not in said and " times " in said, said
