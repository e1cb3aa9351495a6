"""Heartbeats that were refused, or lost, and took effect: the audit proves it, and both are said."""

from __future__ import annotations

import pytest

from simulator.checkers.answers import check_answers
from simulator.checkers.effects import heard_unanswered
from simulator.checkers.verdict import Status, Verdict
from simulator.history import NO_MACHINE, Answer
from simulator.records import Exchange, Fault, PartRecord
from tests.checkers.audited_world import FATES, SECOND_NS, AuditedWorld, Fate, Span

FAILED_AFTER, FAILED_BEFORE = Span(fate="failed after"), Span(fate="failed before")
LOST_AFTER, LOST_BEFORE = Span(fate="lost after"), Span(fate="lost before")


def judged(world: AuditedWorld) -> Verdict:
    return check_answers(world.history, world.facts)


def told(*spans: Span, read: bool = True, **settings: int) -> AuditedWorld:
    """Let one of two machines send heartbeats that fare so, each after one that is accepted."""
    world = AuditedWorld(**settings)
    ada = world.owner("ada")
    machine, other = world.machine(ada, 0), world.machine(ada, 1)
    for span in spans:
        world.beat(machine)
        world.beat(other)
        world.beat(machine, span)
    if read:
        world.read_all()
    return world


def test_an_effect_without_an_acceptance_is_said_with_the_request() -> None:
    world = told(FAILED_AFTER)
    row = world.history.rows()[-1]
    world.history.keep(
        Exchange(int(row["sent_ns"]), int(row["answered_ns"]), 0, b"POST /", b"HTTP/1.1 503 x\r\n\r\n", "")
    )
    verdict = judged(world)
    (finding,) = verdict.findings
    worker = world.machines[0].worker_id if world.machines else world.history.machines[0].worker_id
    assert verdict.status is Status.FAIL
    assert finding.rule == "answers.took-effect"
    assert finding.message == (
        f"an honest heartbeat of worker {worker}: expected 200 accepted, got 503, and it took effect: the audit shows "
        f"2 heartbeats of worker {worker}, and 1 were accepted"
    )
    assert finding.evidence["request"] == "POST /"
    assert finding.evidence["effect"]["events"] == 2
    assert verdict.figures["took_effect"] == 1
    assert "answers 1 failed with 5xx, 1 refused and done all the same; " in verdict.summary


@pytest.mark.parametrize("span", [FAILED_BEFORE, LOST_BEFORE])
def test_what_did_nothing_is_not_said_to_have(span: Span) -> None:
    world = told(span)
    assert not heard_unanswered(world.history, world.facts)
    assert "effect" not in judged(world).summary


def test_of_several_it_is_said_how_many() -> None:
    verdict = judged(told(FAILED_AFTER, FAILED_BEFORE, FAILED_AFTER))
    assert verdict.figures["took_effect"] == 2
    assert all("2 of 3 such took effect" in finding.message for finding in verdict.findings)


def test_a_lost_one_may_have_taken_effect_in_place_of_a_refused_one() -> None:
    """Then nobody proves which; the lost one is right to have, the refused one is not."""
    verdict = judged(told(FAILED_BEFORE, LOST_AFTER))
    assert verdict.figures["took_effect"] == 0
    assert [finding.rule for finding in verdict.findings] == ["answers.failed"]
    assert judged(told(FAILED_AFTER, LOST_AFTER)).figures["took_effect"] == 1


def test_no_fault_excuses_an_effect_that_was_refused() -> None:
    """What is refused changes nothing (contract §7), though the refusal itself is nobody's mistake then."""
    world = told(FAILED_AFTER)
    world.history.faults.append(Fault("disk.full", 0, 0, 3600 * SECOND_NS, 3600 * SECOND_NS))
    verdict = judged(world)
    assert [finding.rule for finding in verdict.findings] == ["answers.took-effect"]
    world = told(FAILED_BEFORE)
    world.history.faults.append(Fault("disk.full", 0, 0, 3600 * SECOND_NS, 3600 * SECOND_NS))
    assert judged(world).status is Status.PASS


def test_a_list_that_has_lost_events_proves_it_by_their_numbers() -> None:
    world = told(FAILED_AFTER, *(Span() for _ in range(6)), audit_events_per_stream=5)
    assert judged(world).figures["took_effect"] == 1
    assert "heartbeats of ada's workers" in judged(world).findings[0].message
    world = told(FAILED_BEFORE, *(Span() for _ in range(6)), audit_events_per_stream=5)
    assert judged(world).figures["took_effect"] == 0


def test_heads_alone_prove_it_too() -> None:
    world = told(FAILED_AFTER, read=False)
    world.look("ada")
    assert judged(world).figures["took_effect"] == 1


@pytest.mark.parametrize("fate", FATES)
def test_where_nobody_read_the_audit_or_rows_are_missing_nothing_is_proven(fate: Fate) -> None:
    world = told(Span(fate=fate), read=False)
    assert not heard_unanswered(world.history, world.facts)
    world.read_all()
    world.history.parts.append(PartRecord(0, 2, 0, 0, 0))
    assert not heard_unanswered(world.history, world.facts)


@pytest.mark.parametrize("fate", FATES)
def test_a_server_that_answers_all_it_does_is_never_said_to_have_been_silent(fate: Fate) -> None:
    """Whatever becomes of requests, effects are at most those that there were."""
    world = told(Span(fate=fate), Span(fate=fate))
    effects = sum(one.refused_at_least for one in heard_unanswered(world.history, world.facts).values())
    assert effects == (2 if fate == "failed after" else 0)


def test_an_attack_in_a_machines_name_is_not_taken_for_its_own() -> None:
    """What was sent under its name and may have been accepted explains an event."""
    world = told(FAILED_BEFORE, read=False)
    machine = world.history.rows()[-1]["machine"]
    assert machine != NO_MACHINE
    rows = world.history.rows().copy()
    rows["campaign"][-2] = 1
    rows["got"][-2] = Answer.LOST
    world.history = world.history.with_rows(rows)
    world.look("ada")
    assert judged(world).figures["took_effect"] == 0
