"""The master's side of a test: which shards it starts, and when it knows the clocks of workers of another boot."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from simulator.limits import SHARDS_MAX
from tests.load.processes import ROOT

AHEAD_NS = 7_000_000_000


def play(*arguments: str | int) -> Any:
    command = [sys.executable, "-m", "tests.load.master_side", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_web_ui_may_start_more_tests_than_a_run_has_shards() -> None:
    """Each test numbers its own, so the bound is on what plays at once."""
    assert play("many_tests", SHARDS_MAX + 5) == [1] * (SHARDS_MAX + 5)


@pytest.mark.parametrize("ahead_ns", [AHEAD_NS, -AHEAD_NS])
def test_a_worker_of_another_boot_begins_when_its_clock_is_known_which_is_read_again_at_the_end(ahead_ns: int) -> None:
    """A question takes 40 us there and 60 us back: the bounds hold the truth, at the start and after a drift."""
    came = play("other_clock", ahead_ns, 5_000_000)
    assert came["begun"] == [0, 1]
    assert came["at_start"] == [[ahead_ns - 60_000, ahead_ns + 40_000]]
    assert came["start"] == ahead_ns - 10_000
    assert came["at_end"] == [ahead_ns + 5_000_000 - 60_000, ahead_ns + 5_000_000 + 40_000]
