"""Checking costs array operations: the interpreter's work does not grow with the rows of a history."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from reference_server.wire.units import SECOND_NS
from simulator.checkers import CHECKERS
from simulator.contract.answers import Answer, Operation
from simulator.history.records import AuditReading, MachineRecord
from simulator.history.rows import ROW
from tests.checkers.audited_world import AuditedWorld

if TYPE_CHECKING:
    from types import FrameType

    from tests.checkers.conftest import Story

MACHINES, OWNERS, SECONDS, CAMPAIGNS = 50, 5, 60, 100
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
    rows["source"] = rng.integers(0, MACHINES, count)
    rows["status"] = 200
    rows["certificate"] = rows["consent"] = rows["machine"] + 1
    story.history._blocks.append(rows)
    for machine in range(MACHINES):
        story.history.machines[machine] = MachineRecord(f"wrk_{machine}", f"owner-{machine % OWNERS}")
        story.revoke(story.consent(machine, 0), SECONDS / 2)
        story.certificate(machine, 0, life=SECONDS / 2)
    for owner in range(OWNERS):
        story.history.owners.append(f"owner-{owner}")
        moment_ns = (SECONDS + 1) * SECOND_NS
        head = {"sequence": 1, "hash": ""}
        reading = AuditReading(f"owner-{owner}", moment_ns, moment_ns, 200, 0, 0, [], {"routine": head})
        story.history.audit_readings.append(reading)
    for second in range(SECONDS):
        story.scrape(second)
        story.healthy_second(second)


CALLS_A_FINDING = 60
"""What it may cost to put one finding into words; as many are kept as their bytes have room (`FINDINGS_MAX_BYTES`)."""


def calls(story: Story, name: str) -> tuple[int, int]:
    """Count the calls, of Python and of C functions, that a checker makes, and the findings that it keeps."""
    made = 0

    def count(_frame: FrameType, what: str, _argument: Any) -> None:
        nonlocal made
        made += what in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        verdict = CHECKERS[name](story.history, story.facts)
    finally:
        sys.setprofile(before)
    return made, len(verdict.findings)


@pytest.mark.long
@pytest.mark.parametrize("name", CHECKERS)
def test_sixteen_times_the_rows_cost_no_more_calls(new_story: type[Story], name: str) -> None:
    limit: dict[str, Any] = {"rate_limit_burst": 20, "rate_limit_refill_per_second": 0.5}
    small, large = new_story(**limit), new_story(**limit)
    fill(small, SMALL)
    fill(large, LARGE)
    calls(small, name)  # whatever is made once and kept
    (many, kept), (few, kept_of_few) = calls(large, name), calls(small, name)
    assert many < 1.2 * few + 100 + CALLS_A_FINDING * max(0, kept - kept_of_few)


def test_an_audit_costs_by_the_event(new_story: type[Story]) -> None:
    """And of those, a run reads a bounded number."""
    costs = []
    for beats in (50, 500):
        world = AuditedWorld()
        machine = world.machine(world.owner("ada"), 0)
        for _ in range(beats):
            world.beat(machine)
        world.read_all()
        story = new_story()
        story.history, story.facts = world.history, world.facts
        costs.append(calls(story, "audit")[0])
    assert costs[1] < 10 * costs[0]
