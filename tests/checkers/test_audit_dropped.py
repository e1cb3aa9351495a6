"""Of a server without chains: what was dropped for want of room is told from what was never written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.checkers.audited_world import AuditedWorld, eventful
from tests.checkers.test_audit_that_leaves_doubt import without_chain

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from simulator.history.records import AuditReading

KEPT = 1010


@pytest.fixture(scope="module")
def readings() -> AuditedWorld:
    """A run of two owners that leaves some 1,200 events, with each owner's whole list."""
    world = AuditedWorld()
    machines = eventful(world)[:3]
    for _ in range(370):
        for machine in machines:
            world.beat(machine)
    world.history.audit_readings.clear()
    world.read_all()
    return world


def shown_by(world: AuditedWorld, keeps: Callable[[dict[str, Any]], bool]) -> AuditedWorld:
    """Show of every list what a server keeps, as the published API shows it, on one page."""
    pages: dict[str, list[AuditReading]] = {}
    for one in world.history.audit_readings:
        pages.setdefault(one.owner_id, []).append(one)
    reported = AuditedWorld()
    reported.history = world.history.with_rows(world.history.rows())
    reported.history.audit_readings = []
    for mine in pages.values():
        events = [event for page in mine for event in page.events if keeps(event)]
        whole = msgspec.structs.replace(mine[0], events=events, total=len(events), answered_ns=mine[-1].answered_ns)
        reported.history.audit_readings.append(without_chain(whole))
    return reported


def newest(world: AuditedWorld, count: int) -> set[str]:
    """Return the ids of the newest events over all owners."""
    every = {str(event["id"]): str(event["created_at"]) for one in world.history.audit_readings for event in one.events}
    return set(sorted(every, key=every.__getitem__)[-count:])


def test_one_ring_for_all_owners_is_told_once_for_each_as_what_it_is(readings: AuditedWorld) -> None:
    """The oldest events of all kinds are gone, and none of them is called missing."""
    kept = newest(readings, KEPT)
    world = shown_by(readings, lambda event: event["id"] in kept)
    assert world.rules() == {"evicted"}
    findings = world.audit().findings
    assert len(findings) == 2
    assert {"machine_registered", "policy_created", "worker_heartbeat"} <= findings[0].evidence["dropped"].keys()
    assert "oldest" in findings[0].message
    assert "they were dropped" in findings[0].message


@pytest.mark.parametrize("kind", ["machine_registered", "consent_created", "worker_auth_failed", "worker_heartbeat"])
def test_a_kind_that_was_never_written_is_missing_among_what_is_shown(readings: AuditedWorld, kind: str) -> None:
    world = shown_by(readings, lambda event: event["type"] != kind)
    assert world.rules() == {"missing-refusal" if kind == "worker_auth_failed" else "missing"}


def test_where_few_are_shown_nobody_ran_out_of_room() -> None:
    world = AuditedWorld()
    eventful(world)
    world.history.audit_readings.clear()
    world.read_all()
    kept = newest(world, 20)
    assert shown_by(world, lambda event: event["id"] in kept).rules() == {"missing", "missing-refusal"}
