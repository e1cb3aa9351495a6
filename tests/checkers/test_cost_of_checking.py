"""Checking costs array operations: the interpreter's work does not grow with the rows of a history."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from simulator.checkers import CHECKERS
from simulator.history import ROW, Answer, Operation

if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

    from tests.checkers.conftest import Story

SECOND_NS = 1_000_000_000
MACHINES, SECONDS, CAMPAIGNS = 50, 60, 100
SMALL, LARGE = 5_000, 80_000


def fill(story: Story, count: int) -> None:
    """A minute of everything at once: accepted, refused, lost and wrong answers of a hundred campaigns, and replays."""
    rng = np.random.default_rng(1)
    rows = np.zeros(count, dtype=ROW)
    rows["sent_ns"] = rows["planned_ns"] = np.sort(rng.integers(0, SECONDS * SECOND_NS, count))
    rows["answered_ns"] = rows["sent_ns"] + 1_000_000
    rows["machine"] = rng.integers(0, MACHINES, count)
    rows["nonce"] = np.frombuffer(rng.bytes(12 * count), dtype="V12")
    for again in ("nonce", "machine"):
        rows[again][: count // 4] = rows[again][count // 4 : count // 4 * 2]
    rows["operation"] = Operation.HEARTBEAT
    rows["campaign"] = rng.integers(0, CAMPAIGNS, count)
    rows["expected"] = rng.choice([Answer.ACCEPTED, Answer.INVALID_TOKEN, Answer.NONCE_REPLAYED], count)
    rows["got"] = rng.choice([Answer.ACCEPTED, Answer.INVALID_TOKEN, Answer.UNEXPECTED, Answer.LOST], count)
    story.history._blocks.append(rows)
    for second in range(SECONDS):
        story.scrape(second)
        story.healthy_second(second)


def calls(story: Story, name: str) -> int:
    """Count the calls, of Python and of C functions, that a checker makes."""
    made = 0

    def count(_frame: FrameType, what: str, _argument: Any) -> None:
        nonlocal made
        made += what in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        CHECKERS[name](story.history, story.facts)
    finally:
        sys.setprofile(before)
    return made


@pytest.mark.parametrize("name", CHECKERS)
def test_sixteen_times_the_rows_cost_no_more_calls(new_story: type[Story], name: str) -> None:
    small, large = new_story(), new_story()
    fill(small, SMALL)
    fill(large, LARGE)
    calls(small, name)  # whatever is made once and kept
    assert calls(large, name) < 1.2 * calls(small, name) + 100
