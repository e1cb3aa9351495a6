"""The clock checker, and what a history may still prove when the target's clock is not known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from reference_server.wire.units import SECOND_NS
from simulator.checkers import run_checkers
from simulator.checkers.clock import check_clock, excuse_unknown_clock
from simulator.checkers.facts import ClockFacts
from simulator.checkers.verdict import Status
from simulator.contract.answers import Answer
from simulator.history.records import ClaimRecord

if TYPE_CHECKING:
    from tests.checkers.conftest import Story

KNOWN = ClockFacts(before=(0, 0), after=(0, 0))
UNKNOWN = ClockFacts()
STEPPED = ClockFacts(before=(0, SECOND_NS), after=(600 * SECOND_NS, 601 * SECOND_NS))


def with_clock(story: Story, clock: ClockFacts | None) -> Story:
    story.facts = msgspec.structs.replace(story.facts, clock=clock)
    return story


def seconds(low: float, high: float) -> tuple[int, int]:
    return int(low * SECOND_NS), int(high * SECOND_NS)


@pytest.mark.parametrize(
    ("clock", "status", "says"),
    [
        (None, Status.NOT_APPLICABLE, "Only the clock of a --target"),
        (KNOWN, Status.PASS, "agrees with this machine's"),
        (UNKNOWN, Status.INCONCLUSIVE, "The target shows no time"),
        (
            ClockFacts(seconds(20, 21), seconds(20, 21), 20 * SECOND_NS),
            Status.PASS,
            "ahead of this machine's; machines",
        ),
        (ClockFacts(seconds(89, 91), None, 90 * SECOND_NS), Status.PASS, "90 s ahead of"),
        (
            ClockFacts(seconds(90.1, 91), None, 90 * SECOND_NS),
            Status.INCONCLUSIVE,
            "ahead of this machine's, and heart",
        ),
        (ClockFacts(seconds(-601, -600), None, 1), Status.INCONCLUSIVE, "600 s behind this machine's, and heartbeats"),
        (STEPPED, Status.INCONCLUSIVE, "was set ahead by about 600 s during the run"),
        (ClockFacts(seconds(0, 1), seconds(-9, -8)), Status.INCONCLUSIVE, "was set back by about 9 s during the run"),
        (ClockFacts(seconds(0, 1), seconds(1.9, 3)), Status.PASS, "agrees"),
        (ClockFacts(seconds(0, 8), seconds(8.5, 12)), Status.PASS, "agrees"),
    ],
)
def test_a_difference_is_told_and_never_held_against_the_target(
    story: Story, clock: ClockFacts | None, status: Status, says: str
) -> None:
    verdict = check_clock(story.history, with_clock(story, clock).facts)
    assert verdict.status is status
    assert says in verdict.summary
    assert ("NTP" in verdict.summary) == (status is Status.INCONCLUSIVE and clock is not UNKNOWN)


def accusing(story: Story) -> Story:
    """A history that proves three things, all by the clock: two wrong answers, and a claim."""
    story.heartbeat(0, 1)
    story.heartbeat(0, 2, Answer.UNEXPECTED, expected=Answer.ACCEPTED, status=401)
    story.heartbeat(0, 3, Answer.ACCEPTED, expected=Answer.TIMESTAMP_OUT_OF_WINDOW, campaign=1, status=200)
    story.history.claims += [ClaimRecord(0, 1, "edge", held, "") for held in (True, False, None)]
    return story


def statuses(story: Story) -> dict[str, Status]:
    return {one.name: one.status for one in run_checkers(story.history, story.facts)}


def test_with_a_known_clock_wrong_answers_are_proven(story: Story) -> None:
    found = statuses(with_clock(accusing(story), KNOWN))
    assert (found["answers"], found["attacks"]) == (Status.FAIL, Status.FAIL)


@pytest.mark.parametrize("clock", [UNKNOWN, STEPPED])
def test_where_the_clock_is_not_known_nothing_is_proven_by_it(story: Story, clock: ClockFacts) -> None:
    """The target may have refused what was out of its window, and accepted what was inside of it."""
    found = statuses(with_clock(accusing(story), clock))
    assert Status.FAIL not in found.values()
    assert found["clock"] is Status.INCONCLUSIVE
    doubtful = excuse_unknown_clock(story.history, story.facts)
    assert [one.held for one in doubtful.claims] == [True, None, None]
    assert [one.held for one in story.history.claims] == [True, False, None]
    assert len(doubtful) == len(story.history) == 3


@pytest.mark.parametrize("clock", [UNKNOWN, STEPPED])
def test_what_no_clock_excuses_is_proven_all_the_same(story: Story, clock: ClockFacts) -> None:
    with_clock(story, clock).heartbeat(0, 1, Answer.ACCEPTED, expected=Answer.NONCE_REPLAYED, campaign=1)
    story.heartbeat(0, 2, Answer.UNEXPECTED, expected=Answer.ACCEPTED, status=404)
    assert statuses(story)["answers"] is Status.FAIL


def test_a_known_clock_leaves_the_history_as_it_is(story: Story) -> None:
    accusing(story)
    for clock in (None, KNOWN, ClockFacts(seconds(600, 601), None, 600 * SECOND_NS)):
        assert excuse_unknown_clock(story.history, with_clock(story, clock).facts) is story.history
