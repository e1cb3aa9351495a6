"""What was decided of jobs on an owner's machines is in that owner's audit, once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from simulator.checkers.audit import check_audit
from simulator.checkers.audit_lists import gather
from simulator.checkers.audit_market import check_market_events
from simulator.checkers.market_view import stories_of
from simulator.history.records import AuditReading
from tests.checkers.market_days import DAYS
from tests.core.server_under_test import Server

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.checkers.market_play import Play


def audited(day: str) -> Play:
    """Play a day, and read every owner's audit at its end."""
    play = DAYS[day]()
    for owner_id in play.history.owners:
        play.wait(1)
        at_ns, shown = play.at_ns, Server.audit(play.server, owner_id)
        play.history.audit_readings.append(
            AuditReading(owner_id, at_ns, at_ns, 200, 0, shown["total"], shown["events"], shown["heads"])
        )
    return play


def found_in(play: Play) -> list[tuple[str, str]]:
    """Return what is found, by rule and type."""
    whose = {record.worker_id: record.owner_id for record in play.history.machines.values()}
    stories = stories_of(play.history)
    owners = gather(play.history).values()
    return [
        (one.rule, one.evidence["type"])
        for owner in owners
        for one in check_market_events(owner, stories.values(), whose)
    ]


@pytest.mark.parametrize("day", ["quiet", "busy", "crowded", "twin"])
def test_a_right_server_leaves_each_event_once(day: str) -> None:
    play = audited(day)
    assert any(event["type"] == "job_finished" for one in play.history.audit_readings for event in one.events)
    assert found_in(play) == []


@pytest.mark.parametrize("kind", ["job_assigned", "job_finished"])
@pytest.mark.parametrize("copies", [0, 2])
def test_an_event_that_is_missing_or_there_twice_is_found(kind: str, copies: int) -> None:
    play = audited("quiet")

    def changed(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        return [event for one in events for event in [one] * (copies if one["type"] == kind else 1)]

    readings = play.history.audit_readings
    readings[:] = [
        AuditReading(one.owner_id, one.sent_ns, one.answered_ns, 200, 0, one.total, changed(one.events), one.heads)
        for one in readings
    ]
    found = found_in(play)
    assert found
    assert set(found) == {("audit.duplicate" if copies else "audit.missing", kind)}


def test_an_end_in_another_state_is_missing_and_the_checker_says_so() -> None:
    play = audited("quiet")
    for one in play.history.audit_readings:
        for event in one.events:
            if event["type"] == "job_finished":
                event["metadata"] = {"state": "expired"}
    assert ("audit.missing", "job_finished") in found_in(play)
    assert any("job_finished" in one.message for one in check_audit(play.history, play.facts).findings)
