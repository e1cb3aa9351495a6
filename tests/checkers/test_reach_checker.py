"""The reach checker: what stayed unanswered, and why. It blames nobody, and passes nothing that was hardly asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reference_server.wire.units import SECOND_NS
from simulator.checkers.reach import check_reach
from simulator.checkers.verdict import Status, Verdict
from simulator.contract.answers import Answer
from simulator.history.records import METRICS_PAGE, AuditReading, Fault, GeneratorSample
from simulator.limits import TROUBLE_MAX_CHARACTERS, TROUBLES_MAX
from tests.checkers.conftest import nanoseconds

if TYPE_CHECKING:
    from simulator.history.records import Trouble
    from tests.checkers.conftest import Story


def judged(story: Story) -> Verdict:
    return check_reach(story.history, story.facts)


def answered(story: Story, heartbeats: int = 100, scrapes: int = 40) -> None:
    for second in range(heartbeats):
        story.heartbeat(0, second)
    for second in range(scrapes):
        story.scrape(second)


def test_a_target_that_answers_everything_passes(story: Story) -> None:
    answered(story)
    verdict = judged(story)
    assert (verdict.status, verdict.findings) == (Status.PASS, ())
    assert "All 100 honest requests" in verdict.summary


@pytest.mark.parametrize(("kind", "named"), [("network.duplication", False), ("network.loss", True)])
def test_only_faults_that_keep_answers_away_are_said_to(story: Story, kind: str, named: bool) -> None:  # noqa: FBT001
    answered(story)
    story.history.faults.append(Fault(kind, 0, 1, 2, 3))
    assert ("1 fault of the run's own kept" in judged(story).summary) is named


@pytest.mark.parametrize(("lost", "status"), [(5, Status.PASS), (6, Status.INCONCLUSIVE)])
def test_one_answer_in_twenty_may_be_missing(story: Story, lost: int, status: Status) -> None:
    answered(story, heartbeats=100 - lost)
    for second in range(lost):
        story.heartbeat(1, second, Answer.LOST)
    verdict = judged(story)
    assert verdict.status is status
    assert verdict.figures["unanswered"] == lost


def test_answers_of_trouble_on_the_targets_side_are_none(story: Story) -> None:
    answered(story, heartbeats=10)
    for second in range(10):
        story.heartbeat(1, second, Answer.UNAVAILABLE, status=503)
    verdict = judged(story)
    assert verdict.status is Status.INCONCLUSIVE
    assert "10 of 20 requests of the honest fleet got no answer that says anything" in verdict.summary
    assert "heartbeat: answered HTTP 503 (10 times from 0.0s to 9.0s)" in verdict.summary


def test_what_attackers_do_not_get_answered_does_not_count(story: Story) -> None:
    answered(story, heartbeats=10)
    for second in range(10):
        story.heartbeat(1, second, Answer.LOST, campaign=1)
    assert judged(story).status is Status.PASS


@pytest.mark.parametrize("what", ["scrape", METRICS_PAGE])
def test_a_target_that_died_in_mid_run_is_told_by_its_scrapes(story: Story, what: str) -> None:
    """Machines back off, so that of their requests hardly any is missing."""
    answered(story, heartbeats=100, scrapes=20)
    for second in range(20, 23):
        story.history.trouble(second * SECOND_NS, what, "Connection refused")
    verdict = judged(story)
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.summary == (
        f"3 of 23 scrapes failed. Why: {what}: Connection refused (3 times from 20.0s to 22.0s). "
        "Look at what the target did then."
    )


def test_connections_that_are_refused_count_as_requests_that_could_not_be_sent(story: Story) -> None:
    answered(story, heartbeats=10)
    for second in range(2):
        story.history.trouble(second * SECOND_NS, "connecting", "Connection refused")
    verdict = judged(story)
    assert verdict.status is Status.INCONCLUSIVE
    assert "2 of 12 requests" in verdict.summary


def test_lists_that_could_not_be_read_leave_an_audit_unread(story: Story) -> None:
    answered(story)
    story.history.audit_readings += [
        AuditReading("ada", 0, 1, 200, 0, 0, type="owner_access_denied"),
        AuditReading("ada", 2, 3, 200, 0, 0),
    ]
    assert judged(story).status is Status.PASS
    story.history.trouble(5, "audit list", "no whole list within 3 s")
    verdict = judged(story)
    assert verdict.status is Status.INCONCLUSIVE
    assert "1 of 2 readings of audit lists failed" in verdict.summary


def test_a_target_too_slow_for_the_schedule_is_told_so(story: Story) -> None:
    answered(story, heartbeats=10)
    story.history.generator.append(GeneratorSample(SECOND_NS, 0, 0.1, 0, held_up=5))
    verdict = judged(story)
    assert verdict.status is Status.INCONCLUSIVE
    assert "5 of 15 planned heartbeats could not leave, as the target still owed an answer" in verdict.summary
    assert "it answered too slowly" in verdict.summary


def test_the_most_frequent_causes_are_told_first_and_all_are_in_the_findings(story: Story) -> None:
    for number in range(5):
        for _ in range(number + 1):
            story.history.trouble(SECOND_NS, "scrape", f"cause {number}")
    verdict = judged(story)
    assert [finding.evidence["why"] for finding in verdict.findings] == [
        f"cause {number}" for number in (4, 3, 2, 1, 0)
    ]
    assert "cause 2" in verdict.summary
    assert "cause 1" not in verdict.summary


def causes(story: Story) -> dict[str, Trouble]:
    return {trouble.why: trouble for trouble in story.history.troubles}


def test_a_target_that_makes_up_ever_new_causes_fills_no_memory(story: Story) -> None:
    for number in range(10 * TROUBLES_MAX):
        story.history.trouble(number, "scrape", f"cause {number}")
    story.history.trouble(99, "scrape", "cause 0")
    assert len(story.history.troubles) == TROUBLES_MAX + 1
    assert causes(story)["other causes"].count == 9 * TROUBLES_MAX
    assert (causes(story)["cause 0"].count, causes(story)["cause 0"].last_ns) == (2, 99)
    story.history.trouble(0, "heartbeat", "x" * 10_000)
    story.history.troubles.clear()
    story.history.trouble(0, "heartbeat", "x" * 10_000)
    (trouble,) = story.history.troubles
    assert len(trouble.why) == TROUBLE_MAX_CHARACTERS + 4


@pytest.mark.parametrize("accepted", [0, 1])
def test_a_fleet_of_which_nothing_was_ever_accepted_proves_nothing_whatever_a_fault_excuses(
    story: Story, accepted: int
) -> None:
    story.history.faults.append(Fault("server.kill", 0, 0, 10 * SECOND_NS, 10 * SECOND_NS))
    for second in range(4):
        story.heartbeat(0, second, Answer.LOST)
    for second in range(4, 4 + accepted):
        story.heartbeat(0, second)
    for second in range(20, 30):
        story.scrape(second)
    verdict = judged(story)
    assert verdict.status is (Status.PASS if accepted else Status.INCONCLUSIVE)
    assert ("none of 4 heartbeats of the honest fleet was accepted" in verdict.summary) is not bool(accepted)


def test_what_the_runs_own_faults_kept_away_is_not_put_to_the_target(story: Story) -> None:
    story.history.faults.append(Fault("server.kill", 0, 0, 10 * SECOND_NS, 10 * SECOND_NS))
    for second in range(4):
        story.heartbeat(0, second, Answer.LOST)
        story.history.trouble(second * SECOND_NS, "connecting", "Connection refused")
    story.scrape(30)
    summary = judged(story).summary
    assert "Why: the run's own faults kept it away. Have them begin later, or end sooner." in summary
    assert "Connection refused" not in summary
    story.heartbeat(0, 30, Answer.LOST)
    story.history.trouble(30 * SECOND_NS, "heartbeat", "no answer in 10 s")
    summary = judged(story).summary
    assert "Why: heartbeat: no answer in 10 s (30.0s). Look at what the target did then." in summary


def test_a_fleet_that_was_set_up_and_never_sent_a_heartbeat_proves_nothing(story: Story) -> None:
    """Its server was away when it was to begin, and the run ended before it could."""
    story.register(0, 1)
    story.register(1, 1, Answer.LOST)
    assert check_reach(story.history, story.facts).status is Status.INCONCLUSIVE
    summary = check_reach(story.history, story.facts).summary
    assert "none of the honest fleet sent a heartbeat after 2 requests to register" in summary
    story.heartbeat(0, 3)
    assert check_reach(story.history, story.facts).status is Status.INCONCLUSIVE  # one of three requests had no answer
    assert "to register" not in check_reach(story.history, story.facts).summary


@pytest.mark.parametrize(("slow_until", "excused"), [(10, True), (5.5, False)])
def test_what_was_under_way_in_a_slow_network_when_a_fault_began_does_not_count(
    story: Story, slow_until: float, *, excused: bool
) -> None:
    """Requests take up to four seconds there and back."""
    for kind, began, ended in (("network.latency", 5, slow_until), ("network.cut", 10, 12)):
        began_ns, ended_ns = nanoseconds(began), nanoseconds(ended)
        story.history.faults.append(Fault(kind, began_ns, began_ns, ended_ns, ended_ns))
    for second in (0, 1, 2, 20):
        story.heartbeat(0, second)
    story.heartbeat(1, 6, Answer.LOST)
    assert judged(story).figures["unanswered"] == (not excused)
