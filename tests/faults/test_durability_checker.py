"""The durability checker: what must be there after a fault, what must not, and what nobody can know."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from reference_server.wire.units import SECOND_NS
from simulator.checkers.verdict import Status
from simulator.contract.answers import Answer, Operation
from simulator.history.records import CampaignRecord, ClaimRecord
from tests.checkers.conftest import nanoseconds
from tests.faults.stories import FLUSH, FULL, KILL, PAUSE, Tale

NONCE = b"\1" * 12
SPENT = b"\2" * 12


def killed(**settings: bool) -> Tale:
    """A durable server that had a machine registered and a heartbeat accepted, was killed at 10 s and is back at 11."""
    tale = Tale(**{"durable": True, **settings})
    tale.register(0, 1)
    tale.heartbeat(0, 9, nonce=NONCE)
    tale.fault(KILL, 10, 11)
    return tale


def test_a_run_without_faults_says_so() -> None:
    assert Tale().judge()["durability"].status is Status.NOT_APPLICABLE


def test_of_a_network_that_keeps_nothing_away_no_answer_is_said_to_have_come_again() -> None:
    tale = Tale(durable=False)
    tale.register(0, 1)
    tale.fault("network.duplication", 5, 6)
    summary = tale.judge()["durability"].summary
    assert summary == "1 fault of the network kept no answer away."


def test_a_server_that_knows_all_it_acknowledged_passes_and_the_summary_counts() -> None:
    tale = killed()
    tale.shown(11.1, wrk_0=2)
    tale.attack(0, 12, Answer.NONCE_REPLAYED, nonce=NONCE)
    verdict = tale.judge()["durability"]
    assert verdict.status is Status.PASS
    assert (verdict.figures["machines_looked_at"], verdict.figures["nonces_tried_again"]) == (1, 1)


def test_a_registered_machine_that_is_gone_is_found_and_its_request_named() -> None:
    tale = killed()
    tale.register(1, 9.5)
    tale.shown(11.1, wrk_0=2)
    (finding,) = tale.judge()["durability"].findings
    assert finding.rule == "durability.machine"
    assert finding.evidence["worker_id"] == "wrk_1"
    assert finding.evidence["requests"][0]["sent_ns"] == 9_500_000_000


@pytest.mark.parametrize("got", [Answer.LOST, Answer.UNAVAILABLE])
def test_a_machine_whose_registration_was_never_acknowledged_may_be_gone(got: Answer) -> None:
    tale = killed()
    tale.register(1, 9.99, got)
    tale.shown(11.1, wrk_0=2)
    assert tale.rules() == []


@pytest.mark.parametrize("age", [-1, 4])
def test_a_last_heartbeat_older_than_the_one_that_was_accepted_is_found(age: float) -> None:
    tale = killed()
    tale.shown(11.1, wrk_0=age)
    (finding,) = tale.judge()["durability"].findings
    assert finding.rule == "durability.heartbeat"
    assert finding.evidence["requests"][0]["nonce"] == NONCE.hex()


def test_a_heartbeat_without_answer_may_have_been_the_last() -> None:
    tale = killed()
    tale.heartbeat(0, 9.99, Answer.LOST)
    tale.shown(11.1, wrk_0=1)
    assert tale.rules() == []


def test_a_heartbeat_refused_for_a_full_disk_must_not_have_taken_effect() -> None:
    for age, rules in ((8, []), (0, ["refused"])):
        tale = Tale(durable=True)
        tale.register(0, 1)
        tale.heartbeat(0, 2)
        tale.fault(FULL, 5, 9)
        tale.heartbeat(0, 8, Answer.UNAVAILABLE, status=500)
        tale.shown(9.5, wrk_0=age)
        assert tale.rules() == rules


def test_a_nonce_that_is_good_again_after_a_restart_is_found_with_both_requests() -> None:
    tale = killed()
    tale.shown(11.1, wrk_0=2)
    tale.attack(0, 12, Answer.ACCEPTED, expected=Answer.NONCE_REPLAYED, nonce=NONCE, status=200)
    verdict = tale.judge()["durability"]
    assert [finding.rule for finding in verdict.findings] == ["durability.nonce"]
    assert [one["sent_ns"] for one in verdict.findings[0].evidence["requests"]] == [9_000_000_000, 12_000_000_000]


def test_a_nonce_accepted_twice_in_one_life_is_another_checkers_matter() -> None:
    tale = killed()
    tale.shown(11.1, wrk_0=2)
    for at in (12, 13):
        tale.heartbeat(0, at, nonce=SPENT)
    judged = tale.judge()
    assert judged["durability"].status is Status.PASS
    assert judged["replay"].status is Status.FAIL


def test_a_revoked_consent_that_is_good_again_after_a_restart_is_found() -> None:
    for took, rules in ((0.01, ["revocation"]), (None, [])):
        tale = killed()
        tale.shown(11.1, wrk_0=2)
        consent = tale.consent(0, 2)
        tale.revoke(consent, 9.5, took=took)
        tale.heartbeat(0, 12, consent=consent)
        assert tale.rules() == rules, "a revoke without answer may not have happened"


@pytest.mark.parametrize(
    ("operation", "status"), [(Operation.HEARTBEAT, 401), (Operation.HEARTBEAT, 403), (Operation.CERTIFICATE, 404)]
)
def test_a_machine_treated_as_a_stranger_after_a_restart_is_found_once(operation: Operation, status: int) -> None:
    tale = killed()
    tale.shown(11.1, wrk_0=2)
    for at in (12, 13):
        tale.request(operation, 0, at, Answer.UNEXPECTED, expected=Answer.ACCEPTED, status=status)
    verdict = tale.judge()["durability"]
    assert [finding.rule for finding in verdict.findings] == ["durability.forgotten"]
    assert verdict.findings[0].evidence["requests"][0]["operation"] == "register"


def test_a_machine_refused_before_the_restart_accuses_nobody_of_forgetting() -> None:
    tale = killed()
    tale.shown(11.1, wrk_0=2)
    tale.heartbeat(0, 9.5, Answer.UNEXPECTED, status=401)
    assert tale.rules() == []


def test_a_server_that_did_not_come_up_again_fails_with_its_own_words() -> None:
    tale = Tale()
    tale.fault(KILL, 10, 11, problem="the server did not start: state.json: record 7 is torn")
    (finding,) = tale.judge()["durability"].findings
    assert finding.rule == "durability.not-started"
    assert "record 7 is torn" in finding.message


@pytest.mark.parametrize(
    ("kind", "problem"),
    [(KILL, "the server did not start: cannot listen on 127.0.0.1:1"), (PAUSE, "Redis could not be flushed")],
)
def test_a_fault_that_the_harness_could_not_bring_about_or_mend_leaves_it_open(kind: str, problem: str) -> None:
    tale = Tale()
    tale.fault(kind, 10, 11, problem=problem)
    assert tale.judge()["durability"].status is Status.INCONCLUSIVE


def test_a_server_that_never_answers_again_is_found_whatever_it_keeps() -> None:
    for got, rules in ((Answer.UNAVAILABLE, ["not-healed"]), (Answer.ACCEPTED, [])):
        tale = Tale()
        tale.register(0, 1)
        tale.fault(FULL, 10, 11)
        for second in range(12, 40):
            tale.heartbeat(0, second, got if second > 20 else Answer.UNAVAILABLE, status=500)
        assert tale.rules() == rules


def test_a_fault_within_the_time_of_another_is_healed_with_that() -> None:
    tale = Tale()
    tale.register(0, 1)
    tale.fault("redis.flush", 5, 5)
    tale.fault("redis.down", 10, 11)
    for second in range(12, 40):
        tale.heartbeat(0, second, Answer.UNAVAILABLE, status=503)
    assert tale.rules() == []


@pytest.mark.parametrize(("status", "rules"), [(503, []), (500, ["not-healed"])])
def test_a_server_beside_a_young_redis_may_refuse_heartbeats_for_that_and_for_nothing_else(
    status: int, rules: list[str]
) -> None:
    tale = Tale(durable=True)
    tale.register(0, 1)
    for second in range(2, 9):
        tale.heartbeat(0, second)
    tale.fault("server.restart", 10, 11)
    tale.history.faults[-1] = msgspec.structs.replace(tale.history.faults[-1], refused_for_ns=100 * SECOND_NS)
    for second in range(12, 100):
        tale.heartbeat(0, second, Answer.UNAVAILABLE, status=status)
    assert tale.rules() == rules
    assert (tale.judge()["reach"].status is Status.INCONCLUSIVE) == bool(rules)


def test_what_instances_refused_they_may_have_accepted_for_want_of_an_answer_of_redis() -> None:
    for instances, rules in ((1, ["refused"]), (2, [])):
        tale = Tale(durable=True, instances=instances)
        tale.register(0, 1)
        tale.heartbeat(0, 2)
        tale.fault(FLUSH, 10, 10.1)
        tale.heartbeat(0, 10, Answer.UNAVAILABLE, status=503)
        tale.shown(12, wrk_0=2)
        assert tale.rules() == rules


def test_what_is_refused_within_seconds_of_a_fault_proves_nothing() -> None:
    tale = Tale()
    tale.fault(FULL, 10, 11)
    for tick in range(20):
        tale.heartbeat(0, 11 + tick / 10, Answer.UNAVAILABLE, status=500)
    assert tale.rules() == []


def test_without_a_look_after_a_restart_nobody_knows_what_was_kept() -> None:
    assert killed().judge()["durability"].status is Status.INCONCLUSIVE


def test_a_server_without_a_state_file_may_forget_everything() -> None:
    tale = killed(durable=False)
    verdict = tale.judge()["durability"]
    assert verdict.status is Status.PASS
    assert "began anew" in verdict.summary


def test_of_a_full_disk_nothing_is_known_unless_somebody_was_answered_meanwhile() -> None:
    """What was lost says nothing, nor does what was refused for its rate before anything was to be written."""
    tale = killed()
    tale.shown(11.1, wrk_0=2)
    tale.fault(FULL, 13, 15)
    tale.heartbeat(0, 13.5, Answer.LOST)
    tale.heartbeat(0, 14, Answer.RATE_LIMITED)
    verdict = tale.judge()["durability"]
    assert (verdict.status, "no request got an answer" in verdict.summary) == (Status.INCONCLUSIVE, True)
    tale.heartbeat(0, 14.2, Answer.FAILED)
    assert tale.judge()["durability"].status is Status.PASS


def test_answers_that_the_runs_own_fault_kept_from_an_attack_break_no_claim_of_it() -> None:
    """What an attack got through meanwhile is proven all the same, and what was missing before is."""
    for rule, at, broken in (("all-answered", 10.5, 0), ("all-answered", 2, 1), ("one-of-copies", 10.5, 1)):
        tale = killed()
        tale.history.campaigns.append(CampaignRecord(1, "http.pipeline", scripted=True, attempts=1, completed=1))
        tale.history.claims.append(
            ClaimRecord(nanoseconds(at), 1, rule, held=False, message="709 of 1000 were answered")
        )
        assert tale.judge()["attacks"].figures["claims_broken"] == broken, (rule, at)


@pytest.mark.parametrize(("first", "last", "broken"), [(9.8, 10.4, 0), (10.9, 11.5, 0), (9, 9.4, 1), (12, 12.6, 1)])
def test_a_limit_that_a_new_process_counts_anew_is_not_exceeded(first: float, last: float, broken: int) -> None:
    """`killed` has its server killed at 10 s; one keeps its state, and not what each client has used."""
    tale = killed()
    tale.history.campaigns.append(CampaignRecord(1, "limit.window-edge", scripted=True, attempts=1, completed=1))
    span = {"first_sent_ns": nanoseconds(first), "last_answered_ns": nanoseconds(last)}
    claim = ClaimRecord(nanoseconds(13), 1, "learned-window", held=False, message="42 were served", evidence=span)
    tale.history.claims.append(claim)
    assert tale.judge()["attacks"].figures["claims_broken"] == broken


@pytest.mark.parametrize(
    ("instances", "accepted_at", "rules"), [(3, 9.8, []), (3, 9.2, ["heartbeat"]), (1, 9.8, ["heartbeat"])]
)
def test_what_one_instance_alone_knew_may_go_with_a_flush(instances: int, accepted_at: float, rules: list[str]) -> None:
    """On a busy machine it may be too late for the election; a server alone has all it accepted."""
    assert _rules_after_a_flush(accepted_at, instances=instances) == rules


AWAY, AFTER = ("redis.down", 10.2, 22), ("redis.pause", 7, 9.9)


@pytest.mark.parametrize(
    ("accepted_at", "faults", "rules"),
    [
        (9.8, [], ["heartbeat"]),
        (9.8, [(KILL, 11, 13)], []),
        (9.8, [("server.pause", 9, 11)], []),
        (9.8, [(KILL, 30, 32)], ["heartbeat"]),
        (9.8, [AWAY, (KILL, 30, 32)], []),  # nobody was elected while Redis was away
        (9.8, [AWAY, (KILL, 40, 42)], ["heartbeat"]),
        (6.8, [AFTER, (KILL, 8, 9)], []),  # nor did anybody read
        (6.8, [(KILL, 8, 9)], ["heartbeat"]),
    ],
)
def test_in_virtual_time_nothing_goes_with_a_flush_unless_an_instance_did(
    accepted_at: float, faults: list[tuple[str, float, float]], rules: list[str]
) -> None:
    """None is late there: whoever was asked has read what it accepted, and takes part in the election."""
    assert _rules_after_a_flush(accepted_at, *faults, instances=3, virtual=True) == rules


def _rules_after_a_flush(accepted_at: float, *faults: tuple[str, float, float], **facts: Any) -> list[str]:
    tale = Tale(durable=True, **facts)
    tale.register(0, 1)
    tale.heartbeat(0, 5, nonce=SPENT)
    tale.heartbeat(0, accepted_at, nonce=NONCE)
    tale.fault(FLUSH, 10, 10.1)
    for kind, began, ended in faults:
        tale.fault(kind, began, ended)
    tale.shown(60, wrk_0=55)
    return tale.rules()
