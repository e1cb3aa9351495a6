"""Where timing leaves a question open, neither answer is an error; a little further on, one of them is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from simulator.checkers.verdict import Status
from simulator.contract.answers import Answer, Operation
from simulator.history.rows import NO_MACHINE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.checkers.conftest import Story

FORGED = Answer.INVALID_SIGNATURE
NS = 1e-9
CLOCK = 500e-6
"""The rate by which two clocks may differ, as the checker promises it."""
STALE_SECONDS, WINDOW_SECONDS = 10, 20
SURELY_BEFORE, SURELY_AFTER = -2.5 * CLOCK, 2.5 * CLOCK
OPEN = (-CLOCK / (1 + CLOCK), -CLOCK / 2, -1e-10, 0.0, 1e-10, CLOCK / 2, CLOCK / (1 - CLOCK))
"""Shares of a length by which it may seem shorter or longer on the server's clock than on the harness's."""


def statuses(new_story: type[Story], tell: Callable[[Story], None], at: float, *pages: dict[str, Any]) -> list[str]:
    """Judge the same history once with each of several scrapes, made in an instant."""
    results = []
    for page in pages:
        story = new_story()
        tell(story)
        story.scrape(at, took=0, **page)
        results.append(story.alerts().status.value)
    return results


def heard_at_one(story: Story) -> None:
    story.register(0, 0, took=0)
    story.heartbeat(0, 1, took=0)


FRESH, STALE = {"workers": 1}, {"workers": 1, "stale": 1}


@pytest.mark.parametrize("share", OPEN)
def test_staleness_at_its_edge_is_open(new_story: type[Story], share: float) -> None:
    at = 1 + STALE_SECONDS * (1 + share)
    assert statuses(new_story, heard_at_one, at, FRESH, STALE) == ["pass", "pass"]


def test_staleness_beyond_its_edge_is_proven(new_story: type[Story]) -> None:
    early, late = 1 + STALE_SECONDS * (1 + SURELY_BEFORE), 1 + STALE_SECONDS * (1 + SURELY_AFTER)
    assert statuses(new_story, heard_at_one, early, FRESH, STALE) == ["pass", "fail"]
    assert statuses(new_story, heard_at_one, late, FRESH, STALE) == ["fail", "pass"]


def failed_at_one(story: Story) -> None:
    story.attack(0, 1, FORGED, took=0)


RECENT, PAST = {"recent": 1, "reasons": {FORGED: 1}}, {"reasons": {FORGED: 1}}


@pytest.mark.parametrize("share", OPEN)
def test_a_window_at_its_edge_is_open(new_story: type[Story], share: float) -> None:
    at = 1 + WINDOW_SECONDS * (1 + share)
    assert statuses(new_story, failed_at_one, at, RECENT, PAST) == ["pass", "pass"]


def test_a_window_beyond_its_edge_is_proven(new_story: type[Story]) -> None:
    early, late = 1 + WINDOW_SECONDS * (1 + SURELY_BEFORE), 1 + WINDOW_SECONDS * (1 + SURELY_AFTER)
    assert statuses(new_story, failed_at_one, early, RECENT, PAST) == ["pass", "fail"]
    assert statuses(new_story, failed_at_one, late, RECENT, PAST) == ["fail", "pass"]


def three_failures_before(moment: float) -> Callable[[Story], None]:
    def tell(story: Story) -> None:
        story.attack(0, 1, FORGED)
        story.attack(0, 2, FORGED)
        story.attack(0, moment - 0.5, FORGED, took=0.5)

    return tell


@pytest.mark.parametrize(
    ("third_answered_at", "expected"),
    [(4.9, ["fail", "pass"]), (5 - NS, ["fail", "pass"]), (5, ["pass", "pass"]), (5.5, ["pass", "pass"])],
)
def test_the_threshold_is_reached_when_its_last_failure_was_answered(
    new_story: type[Story], third_answered_at: float, expected: list[str]
) -> None:
    """A failure whose answer did not come before the scrape began may or may not have been counted."""
    below = {"recent": 2, "reasons": {FORGED: 2}, "auth_alert": 0}
    reached = {"recent": 3, "reasons": {FORGED: 3}, "auth_alert": 1}
    assert statuses(new_story, three_failures_before(third_answered_at), 5, below, reached) == expected


@pytest.mark.parametrize("took", [0.0, 0.5])
def test_a_request_in_flight_during_a_scrape_is_open(new_story: type[Story], took: float) -> None:
    """Registration, heartbeat and failure sent while the scrape is under way may each show or not."""
    for page in (
        {},
        {"workers": 1, "unknown": 1},
        {"workers": 1},
        {"workers": 1, "recent": 1, "reasons": {FORGED: 1}},
        {"recent": 1, "reasons": {FORGED: 1}},
    ):
        story = new_story()
        story.register(0, 5.1, took=took)
        story.heartbeat(0, 5.1, took=took)
        story.attack(0, 5.1, FORGED, took=took)
        story.scrape(5, took=1, **page)
        assert story.rules() == []


@pytest.mark.parametrize(
    "page",
    [
        {},
        {"workers": 1, "unknown": 1},
        {"workers": 1},
        {"workers": 1, "recent": 1, "reasons": {FORGED: 1}},
    ],
)
def test_what_is_answered_as_a_scrape_begins_may_come_after_it(story: Story, page: dict[str, Any]) -> None:
    """Within one tick of a clock nobody knows what came first."""
    story.register(0, 5, took=0)
    story.heartbeat(0, 5, took=0)
    story.attack(0, 5, FORGED, took=0)
    story.scrape(5, took=0, **page)
    assert story.rules() == []


def test_a_failure_in_flight_for_longer_than_the_window_leaves_no_negative_bound(story: Story) -> None:
    story.attack(0, 1, FORGED, took=30)
    story.scrape(25, recent=2, reasons={FORGED: 1})
    (finding,) = story.alerts().findings
    assert "possible was 0 to 1" in finding.message


def test_a_lost_request_has_no_end_though_the_harness_gave_up_on_it(story: Story) -> None:
    """When the harness stopped waiting says nothing about the server: it is as lost as any other."""
    heard_at_one(story)
    sent_ns, gave_up_ns = 2_000_000_000, 3_000_000_000
    story.history.append(
        sent_ns, sent_ns, gave_up_ns, bytes(12), 0, 0, Operation.HEARTBEAT, Answer.ACCEPTED, Answer.LOST, 0
    )
    for page in (FRESH, STALE):
        story.scrape(20, took=0, **page)
    assert story.rules() == []


def test_a_slow_heartbeat_counts_from_its_sending_and_to_its_answer(new_story: type[Story]) -> None:
    """Sent at 1 s and answered at 4 s, it keeps the worker fresh until 11 s at least and 14 s at most."""

    def tell(story: Story) -> None:
        story.register(0, 0)
        story.heartbeat(0, 1, took=3)

    assert statuses(new_story, tell, 10.9, FRESH, STALE) == ["pass", "fail"]
    assert statuses(new_story, tell, 11.1, FRESH, STALE) == ["pass", "pass"]
    assert statuses(new_story, tell, 13.9, FRESH, STALE) == ["pass", "pass"]
    assert statuses(new_story, tell, 14.1, FRESH, STALE) == ["fail", "pass"]


def test_a_slow_scrape_widens_every_edge(story: Story) -> None:
    """A scrape from 10 s to 22 s may have read before or after the worker went stale and the failures left."""
    heard_at_one(story)
    failed_at_one(story)
    for page in (
        {"stale": 0, "recent": 1},
        {"stale": 1, "recent": 1},
        {"stale": 1, "recent": 0},
        {"stale": 0, "recent": 0},
    ):
        story.scrape(10, took=12, workers=1, reasons={FORGED: 1}, **page)
    assert story.rules() == []


UNSURE = (Answer.LOST, Answer.UNAVAILABLE, Answer.UNEXPECTED)


@pytest.mark.parametrize("got", UNSURE)
def test_an_unsure_heartbeat_may_have_been_heard_or_not(new_story: type[Story], got: Answer) -> None:
    def tell(story: Story) -> None:
        heard_at_one(story)
        story.heartbeat(0, 8, got)

    assert statuses(new_story, tell, 12, FRESH, STALE) == ["pass", "pass"]


@pytest.mark.parametrize("got", UNSURE)
def test_an_unsure_attack_may_have_been_counted_or_not(new_story: type[Story], got: Answer) -> None:
    def tell(story: Story) -> None:
        failed_at_one(story)
        story.attack(0, 2, got, expected=FORGED)

    twice = {"recent": 2, "reasons": {FORGED: 2}}
    thrice = {"recent": 3, "reasons": {FORGED: 3}}
    assert statuses(new_story, tell, 5, PAST, RECENT, twice, thrice) == ["fail", "pass", "pass", "fail"]


@pytest.mark.parametrize("late_reason", [Answer.TIMESTAMP_OUT_OF_WINDOW, Answer.INVALID_CERTIFICATE])
def test_a_lost_heartbeat_may_be_refused_for_coming_late(story: Story, late_reason: Answer) -> None:
    """A server that stood still reads it when its timestamp, or its certificate, is no longer good."""
    heard_at_one(story)
    story.heartbeat(0, 5, Answer.LOST)
    story.scrape(150, workers=1, stale=1, recent=1, reasons={late_reason: 1})
    assert story.rules() == []


def test_a_lost_policy_fetch_may_be_refused_for_coming_late(story: Story) -> None:
    story.request(Operation.POLICY_FETCH, 0, 1, Answer.LOST, expected=Answer.ACCEPTED)
    story.scrape(5, recent=1, reasons={Answer.POLICY_INVALID_CERTIFICATE: 1})
    assert story.rules() == []


def test_a_lost_attack_does_not_excuse_a_reason_it_cannot_have(story: Story) -> None:
    story.attack(0, 1, Answer.LOST, expected=FORGED)
    story.scrape(5, recent=1, reasons={Answer.NONCE_REPLAYED: 1})
    assert set(story.rules()) == {"by-reason"}


def test_a_lost_registration_may_have_made_a_worker(new_story: type[Story]) -> None:
    """The machine registers again, so the server has one worker or two, and the first is never heard from."""

    def tell(story: Story) -> None:
        story.register(0, 0, Answer.LOST)
        story.register(0, 1)
        story.heartbeat(0, 2)

    pages: tuple[dict[str, Any], ...] = ({"workers": 1}, {"workers": 2, "unknown": 1}, {"workers": 3, "unknown": 2})
    assert statuses(new_story, tell, 5, *pages) == ["pass", "pass", "fail"]


def test_a_rate_limited_request_changes_nothing(new_story: type[Story]) -> None:
    """A 429 is given before anything is judged: it neither registers, nor refreshes, nor counts."""

    def tell(story: Story) -> None:
        heard_at_one(story)
        story.register(1, 1, Answer.RATE_LIMITED)
        story.heartbeat(0, 8, Answer.RATE_LIMITED)
        story.attack(0, 9, Answer.RATE_LIMITED, expected=FORGED)

    counted = {**STALE, "recent": 1, "reasons": {FORGED: 1}}
    registered = {**STALE, "workers": 2, "unknown": 1}
    assert statuses(new_story, tell, 12, STALE, FRESH, counted, registered) == ["pass", "fail", "fail", "fail"]


def test_refusals_that_are_no_auth_failures_count_nowhere(story: Story) -> None:
    heard_at_one(story)
    story.attack(0, 2, Answer.NO_CONSENT, status=403)
    story.attack(0, 3, Answer.INVALID_REQUEST, status=400)
    story.scrape(5, workers=1)
    assert story.rules() == []


@pytest.mark.parametrize("got", [Answer.LOST, FORGED])
def test_requests_in_no_machines_name_say_nothing_about_machines(new_story: type[Story], got: Answer) -> None:
    """Requests that name unknown workers count as failures, and neither refresh nor excuse any machine."""

    def tell(story: Story) -> None:
        heard_at_one(story)
        story.attack(NO_MACHINE, 9, got, expected=FORGED)

    stale = {**STALE, "recent": 1, "reasons": {FORGED: 1}}
    assert statuses(new_story, tell, 15, stale, {**stale, "stale": 0}) == ["pass", "fail"]


def test_an_acceptance_in_no_machines_name_refreshes_nobody(new_story: type[Story]) -> None:
    """It is wrong, but what is wrong about it is for another checker to say."""

    def tell(story: Story) -> None:
        heard_at_one(story)
        story.attack(NO_MACHINE, 9, Answer.ACCEPTED, expected=FORGED)

    assert statuses(new_story, tell, 15, STALE, FRESH) == ["pass", "fail"]


def test_a_history_of_no_machines_can_be_judged(story: Story) -> None:
    story.attack(NO_MACHINE, 1, Answer.LOST, expected=FORGED)
    story.scrape(5)
    assert story.alerts().status is Status.PASS


@pytest.mark.parametrize("lost", [Answer.LOST, Answer.UNAVAILABLE])
@pytest.mark.parametrize("kind", [Answer.NONCE_REPLAYED, FORGED])
def test_a_rotation_without_answer_leaves_open_for_what_later_failures_counted(
    new_story: type[Story], kind: Answer, lost: Answer
) -> None:
    """The certificate is checked first, and its refusal reads the same; without that rotation the reason is proven."""

    def tell(story: Story, operation: Operation) -> None:
        heard_at_one(story)
        story.request(operation, 0, 1.5, got=lost)
        story.attack(0, 2, kind, took=0)

    def counted(reason: Answer) -> dict[str, Any]:
        return {"workers": 1, "recent": 1, "reasons": {reason: 1}}

    pages = [counted(kind), counted(Answer.INVALID_CERTIFICATE), counted(Answer.INVALID_TOKEN)]
    rotated = statuses(new_story, lambda story: tell(story, Operation.CERTIFICATE), 3, *pages)
    assert rotated == ["pass", "pass", "fail"]
    other = statuses(new_story, lambda story: tell(story, Operation.METRICS), 3, *pages)
    assert other == ["pass", "fail", "fail"]
