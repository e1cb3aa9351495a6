"""The outage checker: the first request without an answer, since when nothing was answered, and what still answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_server.wire.units import SECOND_NS
from simulator.attacks import CATALOGUE
from simulator.checkers.outage import check_outage, outages
from simulator.checkers.verdict import Status
from simulator.contract.answers import Answer, Operation
from simulator.history.losses import Loss, lost_status
from simulator.history.records import CampaignRecord, ClaimRecord, Death, Fault, GeneratorSample, HealthReading
from simulator.history.rows import NEVER_NS, NO_MACHINE
from simulator.judging.campaigns import summarise_campaigns
from tests.checkers.conftest import nanoseconds
from tests.support.tiers import examples

if TYPE_CHECKING:
    from simulator.checkers.verdict import Finding
    from tests.checkers.conftest import Story

BOGUS = "policy-fetch.bogus"
assert BOGUS in CATALOGUE
OUTSIDE = "which came from outside, perhaps from a system that ran out of memory"


def timed_out(story: Story) -> None:
    """Have all that was lost have been waited for in vain."""
    rows = story.history.rows()
    rows["status"][rows["got"] == Answer.LOST] = lost_status(Loss.TIMED_OUT, 10 * SECOND_NS)


def reported(story: Story) -> Finding | None:
    timed_out(story)
    verdict = check_outage(story.history, story.facts)
    assert (verdict.status is Status.FAIL) == bool(verdict.findings)
    assert len(verdict.findings) < 2
    return verdict.findings[0] if verdict.findings else None


def beating(story: Story, start: int, end: int, got: Answer = Answer.ACCEPTED, machines: int = 4) -> None:
    """Have machines beat once a second, and scrape while they are answered."""
    for second in range(start, end):
        for machine in range(machines):
            story.heartbeat(machine, second + machine / 10, got, status=200 if got is Answer.ACCEPTED else 0)
        if got is Answer.ACCEPTED:
            story.scrape(second + 0.9)
        story.healthy_second(second + 1)


def bogus(story: Story, at: float, count: int = 50, campaign: int = 1) -> None:
    """Have an attack be under way whose policy fetches get no answer, though the health page does."""
    if all(one.number != campaign for one in story.history.campaigns):
        story.history.campaigns.append(CampaignRecord(campaign, BOGUS, scripted=True, attempts=1, completed=1))
    for number in range(count):
        expected = Answer.POLICY_INVALID_TOKEN
        story.request(
            Operation.POLICY_FETCH, 9, at + number / 10_000, Answer.LOST, expected=expected, campaign=campaign, status=0
        )
    story.request(Operation.OTHER, NO_MACHINE, at + 10, campaign=campaign)
    story.history.claims.append(
        ClaimRecord(nanoseconds(at + 20), campaign, "stays-live", None, "it answered its health page")
    )


def healthy(story: Story, *at: float, status: int = 200) -> None:
    for moment in at:
        answered_ns = nanoseconds(moment + 0.01) if status else NEVER_NS
        problem = "" if status else "ConnectionRefusedError: refused"
        story.history.health_readings.append(HealthReading(nanoseconds(moment), answered_ns, status, problem))


def test_a_target_that_answers_has_no_outage(story: Story) -> None:
    beating(story, 0, 30)
    assert reported(story) is None
    assert check_outage(story.history, story.facts).status is Status.PASS


def test_an_attack_after_which_only_health_answers_is_to_blame(story: Story) -> None:
    """It says what was sent when, and not when that was given up."""
    beating(story, 0, 5)
    bogus(story, 5.0)
    beating(story, 5, 30, Answer.LOST)
    healthy(story, 9.0, 13.0, 17.0, 21.0)
    story.history.trouble(6 * SECOND_NS, "scrape", "no whole answer within 10 s")
    finding = reported(story)
    assert finding is not None
    assert finding.rule == "outage.stopped-answering"
    assert finding.at_ns == 5 * SECOND_NS
    assert finding.message == (
        "after 4.910s nothing was answered to the end (30.000s); the first without an answer was a policy fetch of "
        "policy-fetch.bogus, sent at 5.000s, and 150 more after it; /health still answered 200 on a fresh connection "
        "(asked at 9.0s, 13.0s, 17.0s and 1 more)"
    )
    assert {**finding.evidence, "health": None} == {
        "campaign": 1, "attack": BOGUS, "last_answered_ns": 4_910_000_000, "first_unanswered_ns": 5 * SECOND_NS,
        "until_ns": 30 * SECOND_NS, "answered_again": False, "unanswered": 151, "health": None,
    }  # fmt: skip
    (summary,) = summarise_campaigns(story.history, [BOGUS], story.facts)
    assert summary.status is Status.FAIL
    assert "stopped answering" in summary.note


def test_an_attack_that_came_later_is_not_to_blame(story: Story) -> None:
    beating(story, 0, 5)
    beating(story, 5, 30, Answer.LOST)
    bogus(story, 7.0)
    finding = reported(story)
    assert finding is not None
    assert "the first without an answer was a heartbeat of machine 0, sent at 5.000s" in finding.message
    assert "nobody asked for /health meanwhile" in finding.message
    assert "campaign" not in finding.evidence
    (summary,) = summarise_campaigns(story.history, [BOGUS], story.facts)
    assert summary.status is not Status.FAIL


def test_of_two_attacks_that_were_under_way_neither_is_blamed_alone(story: Story) -> None:
    beating(story, 0, 5)
    bogus(story, 5.0)
    bogus(story, 5.05, campaign=2)
    beating(story, 5, 30, Answer.LOST)
    finding = reported(story)
    assert finding is not None
    assert finding.evidence["under_way"] == [BOGUS, BOGUS]


def test_what_hung_before_the_last_answer_came_is_found(story: Story) -> None:
    """Others were answered while the first one already was not."""
    beating(story, 0, 5)
    bogus(story, 4.895)
    beating(story, 5, 30, Answer.LOST)
    finding = reported(story)
    assert finding is not None
    assert (finding.evidence["attack"], finding.at_ns) == (BOGUS, nanoseconds(4.895))


def test_what_hung_while_the_harness_read_late_is_found(story: Story) -> None:
    """Others were sent after it and answered, and those answers were read long after."""
    beating(story, 0, 5)
    bogus(story, 5.0)
    for machine in range(4):
        story.heartbeat(machine, 5.4, took=2.0)
    beating(story, 8, 30, Answer.LOST)
    finding = reported(story)
    assert finding is not None
    assert (finding.evidence["attack"], finding.at_ns) == (BOGUS, 5 * SECOND_NS)


def test_a_target_that_takes_no_connection_any_more_is_out(story: Story) -> None:
    """Such attempts have no rows."""
    beating(story, 0, 5)
    for second in range(5, 30):
        story.history.trouble(second * SECOND_NS, "connecting", "Connection refused")
        story.healthy_second(second + 1)
    healthy(story, 8.0, status=0)
    finding = reported(story)
    assert finding is not None
    assert "the first without an answer was a connection, sent at 5.000s" in finding.message
    assert (
        "/health did not answer on a fresh connection either (asked at 8.0s: ConnectionRefusedError" in finding.message
    )


@pytest.mark.parametrize(("back_at", "out"), [(8, False), (14, False), (16, True), (25, True)])
def test_an_answer_that_comes_again_ends_it(story: Story, back_at: int, out: bool) -> None:  # noqa: FBT001
    """What a client has waited for in vain for as long as any waits is an outage; a stall is none."""
    beating(story, 0, 5)
    beating(story, 5, back_at, Answer.LOST)
    beating(story, back_at, 30)
    finding = reported(story)
    assert (finding is not None) == out
    if finding is not None:
        assert f"nothing was answered until {back_at}.010s" in finding.message
        assert finding.evidence["answered_again"]


def test_a_run_that_ends_in_a_short_silence_proves_nothing(story: Story) -> None:
    beating(story, 0, 27)
    beating(story, 27, 30, Answer.LOST)
    assert reported(story) is None


def test_single_answers_that_are_lost_are_no_outage(story: Story) -> None:
    for second in range(60):
        story.heartbeat(0, second, Answer.LOST if second % 3 == 1 else Answer.ACCEPTED)
        story.healthy_second(second)
    assert reported(story) is None


def test_a_fault_of_the_runs_own_is_no_outage(story: Story) -> None:
    beating(story, 0, 5)
    beating(story, 5, 18, Answer.LOST)
    beating(story, 18, 30)
    assert reported(story) is not None
    story.history.faults.append(Fault("server.pause", 5 * SECOND_NS, 5 * SECOND_NS, 15 * SECOND_NS, 15 * SECOND_NS))
    assert reported(story) is None


def test_a_harness_that_stood_still_proves_no_outage(story: Story) -> None:
    beating(story, 0, 5)
    for machine in range(4):
        story.heartbeat(machine, 5.0, Answer.LOST)
    beating(story, 20, 30)
    assert reported(story) is not None
    story.history.generator.insert(5, GeneratorSample(19 * SECOND_NS, 13 * SECOND_NS, 0.9, 0))
    assert reported(story) is None


def test_a_set_up_that_was_never_answered_is_an_outage_at_once(story: Story) -> None:
    """Without owners' policies there is no run: nothing else was ever asked."""
    story.request(Operation.POLICY_CREATE, NO_MACHINE, 0.1, Answer.LOST, expected=Answer.ACCEPTED, status=0)
    healthy(story, 0.5)
    finding = reported(story)
    assert finding is not None
    assert finding.message.startswith("from the start nothing was answered to the end (0.500s)")
    assert (
        "the first without an answer was a policy create, sent at 0.100s; /health still answered 200" in finding.message
    )


@pytest.mark.parametrize(
    ("exit_code", "memory_bytes", "how"),
    [
        (0, None, "(exit code 0)"),
        (3, 5, "(exit code 3)"),
        (-11, 5, "(killed by SIGSEGV)"),
        (139, 5, "(exit code 139, which says: killed by SIGSEGV)"),
        (255, 5, "(exit code 255)"),
        (
            -9,
            812_400_000,
            f"(killed by SIGKILL, {OUTSIDE}: it had taken 812 MB)",
        ),
        (
            137,
            None,
            f"(exit code 137, which says: killed by SIGKILL, {OUTSIDE})",
        ),
    ],
)
def test_a_server_that_ends_by_itself_is_out_however_it_ended(
    story: Story, exit_code: int, memory_bytes: int | None, how: str
) -> None:
    beating(story, 0, 5)
    dead(story, 4.8, 5.0, exit_code, memory_bytes)
    finding = reported(story)
    assert finding is not None
    assert (finding.rule, finding.at_ns) == ("outage.server-died", nanoseconds(4.8))
    assert finding.message == f"the server ended by itself between 4.800s and 5.000s {how}; its last words: b\\x1b[2J"
    assert finding.evidence["under_way"] == []
    assert finding.evidence["last_words"] == ["a", "b\\x1b[2J"]


def test_an_attack_that_was_under_way_as_a_server_ended_is_to_blame(story: Story) -> None:
    """One that had ended before is not."""
    beating(story, 0, 5)
    story.history.campaigns.append(CampaignRecord(2, BOGUS, scripted=True, attempts=1, completed=1))
    story.attack(0, 3.0, Answer.INVALID_SIGNATURE, campaign=2)
    bogus(story, 4.9, count=3)
    dead(story, 4.8, 5.0, -11)
    finding = reported(story)
    assert finding is not None
    assert (finding.evidence["campaign"], finding.evidence["attack"]) == (1, BOGUS)
    assert finding.message.endswith(f"; under way was {BOGUS}")
    one, two = summarise_campaigns(story.history, [BOGUS, BOGUS], story.facts)
    assert one.status is Status.FAIL
    assert "ended by itself" in one.note
    assert two.status is not Status.FAIL


def test_a_server_that_ended_before_anything_was_asked_is_out(story: Story) -> None:
    dead(story, -0.5, -0.3, 7)
    finding = reported(story)
    assert finding is not None
    assert "ended by itself before the run began (exit code 7)" in finding.message


def dead(story: Story, last: float, at: float, exit_code: int, memory_bytes: int | None = None) -> None:
    story.history.deaths.append(
        Death("the server", nanoseconds(last), nanoseconds(at), exit_code, "a\nb\x1b[2J", memory_bytes)
    )


def test_nothing_that_was_asked_says_nothing(story: Story) -> None:
    assert check_outage(story.history, story.facts).status is Status.INCONCLUSIVE


@settings(deadline=None, max_examples=examples(60))
@given(
    st.lists(st.tuples(st.integers(0, 60_000), st.integers(1, 4_900), st.integers(0, 3)), min_size=1, max_size=60),
    st.integers(0, 5),
)
def test_a_target_that_answers_at_least_every_five_seconds_is_never_out(
    new_story: type[Story], asked: list[tuple[int, int, int]], lost: int
) -> None:
    story = new_story()
    for at_ms, took_ms, machine in asked:
        story.heartbeat(machine, at_ms / 1000, took=took_ms / 1000)
    for number in range(lost):
        story.heartbeat(number, number * 10.0, Answer.LOST)
    for second in range(0, 62, 4):
        story.scrape(second)
    timed_out(story)
    assert not outages(story.history)


def ended(story: Story, waited: float) -> None:
    """Have the run have given up on all that was lost, after so many seconds."""
    rows = story.history.rows()
    rows["status"][rows["got"] == Answer.LOST] = lost_status(Loss.ENDED, nanoseconds(waited))


@pytest.mark.parametrize(("waited", "stopped"), [(4, False), (7, False), (9.5, False), (25, True)])
def test_while_nobody_waits_for_an_answer_nothing_is_known(
    story: Story,
    waited: float,
    stopped: bool,  # noqa: FBT001 - a table's column
) -> None:
    """The run's end cut off what it waited for; what it asked much later was answered at once."""
    beating(story, 0, 5)
    beating(story, 5, 6, Answer.LOST)
    story.scrape(30)
    ended(story, waited)
    verdict = check_outage(story.history, story.facts)
    assert (verdict.status is Status.FAIL) == stopped, verdict.summary


@pytest.mark.parametrize("status", [0, 200])
def test_a_health_page_that_does_not_answer_is_waited_for_as_well(story: Story, status: int) -> None:
    beating(story, 0, 5)
    beating(story, 5, 6, Answer.LOST)
    story.history.health_readings.append(
        HealthReading(nanoseconds(12), NEVER_NS if not status else nanoseconds(12.1), status)
    )
    story.scrape(30)
    ended(story, 8)
    assert (check_outage(story.history, story.facts).status is Status.FAIL) == (not status)


@pytest.mark.parametrize("lag", [0.1, 2.5])
def test_scrapes_that_failed_while_the_harness_stood_still_prove_nothing(story: Story, lag: float) -> None:
    beating(story, 0, 5)
    for second in (5, 15, 25):
        story.history.trouble(nanoseconds(second), "scrape", "no whole answer within 10 s")
        sample = GeneratorSample(nanoseconds(second + 9), nanoseconds(lag), 0.1, 0, ending=True)
        story.history.generator.append(sample)
    story.scrape(36)
    assert (check_outage(story.history, story.facts).status is Status.FAIL) == (lag < 2)


@pytest.mark.parametrize(("waited", "stopped"), [(0.4, False), (4.8, False), (6, True)])
def test_what_the_run_itself_gave_up_on_soon_proves_no_silence(
    story: Story,
    waited: float,
    stopped: bool,  # noqa: FBT001 - a table's column
) -> None:
    """Beside it a single scrape had no answer in time."""
    beating(story, 0, 5)
    beating(story, 5, 6, Answer.LOST)
    story.history.trouble(nanoseconds(6), "scrape", "no whole answer within 10 s")
    story.scrape(16.5)
    ended(story, waited)
    assert (check_outage(story.history, story.facts).status is Status.FAIL) == stopped
