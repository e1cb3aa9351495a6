"""The credentials checker: acceptances under certificates that were surely dead, and nothing less."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from simulator.checkers.credentials import check_credentials
from simulator.checkers.verdict import Status, Verdict
from simulator.contract.answers import Answer, Operation
from simulator.history.records import Fault
from simulator.history.rows import NEVER_NS

if TYPE_CHECKING:
    from tests.checkers.conftest import Story


def judged(story: Story) -> Verdict:
    return check_credentials(story.history, story.facts)


def rules(story: Story) -> list[str]:
    return [finding.rule.removeprefix("credentials.") for finding in judged(story).findings]


@pytest.fixture
def certified(story: Story) -> Story:
    """Machine 3 has certificate 1, asked for at 10 s and there at 11 s, for 100 s."""
    story.certificate(3, 10, took=1, life=100)
    return story


def test_an_acceptance_after_its_end_is_proven(certified: Story) -> None:
    certified.heartbeat(3, 112, certificate=1, nonce=b"n" * 12, took=0.5)
    verdict = judged(certified)
    (finding,) = verdict.findings
    assert (verdict.status, finding.rule) == (Status.FAIL, "credentials.expired")
    assert finding.evidence == {
        "machine": 3,
        "campaign": 0,
        "nonce": (b"n" * 12).hex(),
        "sent_ns": 112_000_000_000,
        "answered_ns": 112_500_000_000,
        "certificate": "mcert",
        "issued_from_ns": 10_000_000_000,
        "issued_to_ns": 11_000_000_000,
        "life_ns": 100_000_000_000,
        "over_by_ns": pytest.approx(111_050_000_000, abs=100_000),
    }
    assert verdict.figures == {"certificates": 1, "accepted": 1, "tried_dead": 1, "violations": 1}
    assert finding.message in verdict.summary


@pytest.mark.parametrize("at", [11, 110.5, 111.04], ids=["new", "perhaps at its end", "by a slow clock"])
def test_an_acceptance_that_may_have_come_in_time_accuses_nobody(certified: Story, at: float) -> None:
    certified.heartbeat(3, at, certificate=1, took=50)
    assert judged(certified).status is Status.PASS


@pytest.mark.parametrize(("instances", "found"), [(1, ["expired"] * 2), (2, ["expired"])])
def test_instances_whose_clocks_differ_end_by_their_own_what_others_have_issued(
    certified: Story, instances: int, found: list[str]
) -> None:
    """A server by itself goes on by a clock that nobody sets."""
    fault = Fault("server.clock", 0, 0, NEVER_NS, NEVER_NS, clock_low_ns=-200_000_000, clock_high_ns=100_000_000)
    certified.history.faults.append(fault)
    certified.facts = msgspec.structs.replace(certified.facts, instances=instances)
    for at in (111.3, 111.4):
        certified.heartbeat(3, at, certificate=1)
    assert rules(certified) == found


def test_a_certificate_is_dead_once_the_next_one_has_come(certified: Story) -> None:
    certified.certificate(3, 20, took=1)
    for at in (20.5, 21):
        certified.heartbeat(3, at, certificate=1)
    assert rules(certified) == []
    certified.heartbeat(3, 21.5, certificate=1)
    certified.request(Operation.POLICY_FETCH, 3, 22, certificate=1)
    certified.heartbeat(3, 23, certificate=2)
    assert rules(certified) == ["rotated-out"] * 2
    assert judged(certified).findings[0].evidence["replaced_by_ns"] == 21_000_000_000
    assert "policy fetch" in judged(certified).findings[1].message


def test_of_two_rotations_at_once_nobody_knows_which_came_last(certified: Story) -> None:
    certified.certificate(3, 20, took=5)
    certified.certificate(3, 21, took=1)
    for number in (2, 3):
        certified.heartbeat(3, 26, certificate=number)
    assert rules(certified) == []
    certified.certificate(3, 30)
    for number in (2, 3):
        certified.heartbeat(3, 31, certificate=number)
    assert rules(certified) == ["rotated-out"] * 2


def test_the_first_answer_of_those_that_surely_came_later_ends_it(certified: Story) -> None:
    certified.certificate(3, 20, took=30)
    certified.certificate(3, 25, took=2)
    certified.heartbeat(3, 28, certificate=1)
    assert rules(certified) == ["rotated-out"]


def test_anothers_rotation_changes_nothing(certified: Story) -> None:
    certified.certificate(4, 20)
    certified.heartbeat(3, 30, certificate=1)
    assert rules(certified) == []


@pytest.mark.parametrize("got", [answer for answer in Answer if answer is not Answer.ACCEPTED])
def test_only_an_acceptance_that_was_seen_counts(certified: Story, got: Answer) -> None:
    certified.heartbeat(3, 500, got, certificate=1)
    verdict = judged(certified)
    assert (verdict.status, verdict.figures["tried_dead"]) == (Status.PASS, 1)
    assert "1 tried a dead one" in verdict.summary


@pytest.mark.parametrize(("certificate", "rule"), [(0, "unissued"), (2, "foreign")])
def test_a_certificate_that_never_was_the_machines_is_none(certified: Story, certificate: int, rule: str) -> None:
    certified.certificate(4, 10)
    certified.attack(3, 20, Answer.ACCEPTED, expected=Answer.INVALID_CERTIFICATE, certificate=certificate)
    assert rules(certified) == [rule]


@pytest.mark.parametrize("expected", [Answer.ACCEPTED, Answer.EITHER, Answer.WITHIN_LIMIT, Answer.WHILE_REVOKING])
@pytest.mark.parametrize("certificate", [0, 2])
def test_what_may_be_accepted_was_not_sent_under_a_bad_one(
    certified: Story, certificate: int, expected: Answer
) -> None:
    certified.certificate(4, 10)
    certified.heartbeat(3, 20, certificate=certificate, expected=expected)
    assert rules(certified) == []


def test_a_machine_without_any_certificate_is_not_judged(certified: Story) -> None:
    certified.attack(5, 20, Answer.ACCEPTED, expected=Answer.INVALID_TOKEN)
    certified.attack(-1, 20, Answer.ACCEPTED, expected=Answer.INVALID_TOKEN)
    assert rules(certified) == []


def test_a_life_longer_than_any_run_has_no_end(story: Story) -> None:
    story.certificate(3, 10, life=1e18)
    story.heartbeat(3, 100, certificate=1)
    assert rules(story) == []
    assert story.history.certificates[0].life_ns > NEVER_NS


def test_a_run_without_certificates_has_nothing_to_check(story: Story) -> None:
    story.heartbeat(0, 1)
    verdict = judged(story)
    assert (verdict.status, verdict.summary) == (Status.NOT_APPLICABLE, "No certificate was issued in this run.")


def test_every_violation_counts_and_is_listed_in_order(certified: Story) -> None:
    for at in range(260, 220, -1):
        certified.heartbeat(3, at, certificate=1)
    verdict = judged(certified)
    assert verdict.figures["violations"] == verdict.found == 40
    assert [finding.at_ns for finding in verdict.findings] == [at * 1_000_000_000 for at in range(221, 261)]


def test_numbers_that_no_certificate_has_are_left_alone(certified: Story) -> None:
    certified.heartbeat(3, 20, certificate=9)
    assert rules(certified) == []
