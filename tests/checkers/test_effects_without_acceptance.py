"""Heartbeats that were refused, or lost, and took effect: the audit proves it, and both are said."""

from __future__ import annotations

import pytest

from reference_server.wire.units import SECOND_NS
from simulator.checkers.answers import check_answers
from simulator.checkers.effects import done_unanswered, heard_unanswered
from simulator.checkers.verdict import Status, Verdict
from simulator.contract.answers import Answer, Operation
from simulator.fleet.machine import Action
from simulator.fleet.requests import policy_call
from simulator.history.losses import Loss, lost_status
from simulator.history.records import FailedExchange, Fault, PartRecord, Unserved
from simulator.history.rows import NO_MACHINE
from tests.checkers.audited_world import FATES, AuditedWorld, Fate, Span
from tests.core.server_under_test import TOKEN

FAILED_AFTER, FAILED_BEFORE = Span(fate="failed after"), Span(fate="failed before")
LOST_AFTER, LOST_BEFORE = Span(fate="lost after"), Span(fate="lost before")


def judged(world: AuditedWorld) -> Verdict:
    return check_answers(world.history, world.facts)


def reported(*spans: Span, read: bool = True, **settings: int) -> AuditedWorld:
    """Have one of two machines send heartbeats that fare so, each after one that is accepted."""
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
    world = reported(FAILED_AFTER)
    row = world.history.rows()[-1]
    world.history.keep(
        FailedExchange(int(row["sent_ns"]), int(row["answered_ns"]), 0, b"POST /", b"HTTP/1.1 503 x\r\n\r\n", "")
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
    world = reported(span)
    assert not heard_unanswered(world.history, world.facts)
    assert "effect" not in judged(world).summary


def test_of_several_it_is_said_how_many() -> None:
    verdict = judged(reported(FAILED_AFTER, FAILED_BEFORE, FAILED_AFTER))
    assert verdict.figures["took_effect"] == 2
    assert all("2 of 3 such took effect" in finding.message for finding in verdict.findings)


def test_a_lost_one_may_have_taken_effect_in_place_of_a_refused_one() -> None:
    """Then nobody proves which; the lost one is right to have, the refused one is not."""
    verdict = judged(reported(FAILED_BEFORE, LOST_AFTER))
    assert verdict.figures["took_effect"] == 0
    assert [finding.rule for finding in verdict.findings] == ["answers.failed"]
    assert judged(reported(FAILED_AFTER, LOST_AFTER)).figures["took_effect"] == 1


def test_no_fault_excuses_an_effect_that_was_refused() -> None:
    """What is refused changes nothing (contract §7), though the refusal itself is nobody's mistake then."""
    world = reported(FAILED_AFTER)
    world.history.faults.append(Fault("disk.full", 0, 0, 3600 * SECOND_NS, 3600 * SECOND_NS))
    verdict = judged(world)
    assert [finding.rule for finding in verdict.findings] == ["answers.took-effect"]
    world = reported(FAILED_BEFORE)
    world.history.faults.append(Fault("disk.full", 0, 0, 3600 * SECOND_NS, 3600 * SECOND_NS))
    assert judged(world).status is Status.PASS


def test_a_list_that_has_lost_events_proves_it_by_their_numbers() -> None:
    world = reported(FAILED_AFTER, *(Span() for _ in range(6)), audit_events_per_stream=5)
    assert judged(world).figures["took_effect"] == 1
    assert "heartbeats of ada's workers" in judged(world).findings[0].message
    world = reported(FAILED_BEFORE, *(Span() for _ in range(6)), audit_events_per_stream=5)
    assert judged(world).figures["took_effect"] == 0


def test_heads_alone_prove_it_too() -> None:
    world = reported(FAILED_AFTER, read=False)
    world.look("ada")
    assert judged(world).figures["took_effect"] == 1


@pytest.mark.parametrize("fate", FATES)
def test_where_nobody_read_the_audit_or_rows_are_missing_nothing_is_proven(fate: Fate) -> None:
    world = reported(Span(fate=fate), read=False)
    assert not heard_unanswered(world.history, world.facts)
    world.read_all()
    world.history.parts.append(PartRecord(0, 2, 0, 0, 0))
    assert not heard_unanswered(world.history, world.facts)


@pytest.mark.parametrize("fate", FATES)
def test_a_server_that_answers_all_it_does_is_never_said_to_have_been_silent(fate: Fate) -> None:
    """Whatever becomes of requests, effects are at most those that there were."""
    world = reported(Span(fate=fate), Span(fate=fate))
    effects = sum(one.refused_at_least for one in heard_unanswered(world.history, world.facts).values())
    assert effects == (2 if fate == "failed after" else 0)


def test_an_attack_in_a_machines_name_is_not_taken_for_its_own() -> None:
    """What was sent under its name and may have been accepted explains an event."""
    world = reported(FAILED_BEFORE, read=False)
    machine = world.history.rows()[-1]["machine"]
    assert machine != NO_MACHINE
    rows = world.history.rows().copy()
    rows["campaign"][-2] = 1
    rows["got"][-2] = Answer.LOST
    world.history = world.history.with_rows(rows)
    world.look("ada")
    assert judged(world).figures["took_effect"] == 0


# --- changes of the control plane


def changed(fate: Fate, action: Action) -> AuditedWorld:
    """Have a machine of an owner do what fares so, beside others of its kind that are accepted."""
    world = AuditedWorld()
    ada = world.owner("ada")
    world.act(world.machine(ada, 1), Action.ROTATE)
    machine = world.spare_machine(ada)
    if action is not Action.REGISTER:
        world.act(machine, Action.REGISTER)
    world.act(machine, action, Span(fate=fate))
    rows = world.history.rows()
    rows["got"][rows["got"] == Answer.UNAVAILABLE] = Answer.FAILED  # the answers of this world name nothing it lacks
    world.read_all()
    return world


@pytest.mark.parametrize("action", [Action.REGISTER, Action.CONSENT, Action.ROTATE])
def test_a_change_that_failed_is_said_with_what_it_did(action: Action) -> None:
    (finding,) = judged(changed("failed after", action)).findings
    assert finding.rule == "answers.took-effect"
    assert ", and it took effect: the audit shows " in finding.message
    (finding,) = judged(changed("failed before", action)).findings
    assert finding.rule == "answers.failed"
    assert ", and it took no effect: the audit shows " in finding.message
    assert finding.evidence["effect"]["who"] == "ada"


def test_a_change_whose_answer_was_lost_may_have_been_accepted() -> None:
    verdict = judged(changed("lost after", Action.ROTATE))
    assert verdict.figures["took_effect"] == 0


def test_within_a_fault_of_the_runs_own_a_change_that_failed_proves_nothing() -> None:
    world = changed("failed before", Action.ROTATE)
    world.history.faults.append(Fault("disk.full", 0, 0, 3600 * SECOND_NS, 3600 * SECOND_NS))
    assert judged(world).status is Status.PASS


@pytest.mark.parametrize("got", [Answer.FAILED, Answer.LOST])
def test_an_owners_policy_that_failed_once_counts_though_another_try_was_accepted(got: Answer) -> None:
    """Neither has a row."""
    world = AuditedWorld()
    ada = world.owner("ada")
    fate: Fate = "failed after" if got is Answer.FAILED else "lost after"
    world.change(ada, policy_call(TOKEN, ada, {"max_cpu_percent": 60}), Span(fate=fate))
    effect = world.history.effects[-1]
    status = 500 if got is Answer.FAILED else lost_status(Loss.CUT, 0)
    world.history.fail(Unserved(effect.sent_ns, effect.answered_ns, Operation.POLICY_CREATE, status, got))
    world.read_all()
    (finding,) = judged(world).findings
    assert finding.rule == ("answers.took-effect" if got is Answer.FAILED else "answers.lost")
    assert "the audit shows 2 events policy_created of ada, and 1 were accepted" in finding.message


def test_nothing_is_said_of_changes_where_the_audit_was_not_read() -> None:
    world = changed("failed after", Action.ROTATE)
    assert done_unanswered(world.history, world.facts)
    world.history.audit_readings.clear()
    assert not done_unanswered(world.history, world.facts)
