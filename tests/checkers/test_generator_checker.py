"""The generator checker: it judges the harness, so it never calls a server wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.checkers.generator import check_generator
from simulator.checkers.verdict import Status, Verdict
from tests.support.tiers import examples

if TYPE_CHECKING:
    from tests.checkers.conftest import Story


def judged(story: Story) -> Verdict:
    return check_generator(story.history, story.facts)


def healthy(story: Story, seconds: int = 100) -> None:
    for second in range(seconds):
        story.heartbeat(0, second + 0.001, planned=second)
        story.healthy_second(second)


def test_a_harness_on_schedule_passes(story: Story) -> None:
    healthy(story)
    story.healthy_second(100, lag=0.02, cpu=0.7)
    verdict = judged(story)
    assert (verdict.status, verdict.findings) == (Status.PASS, ())
    assert "99% of heartbeats left within 1.0 ms" in verdict.summary
    assert verdict.figures["loop_lag_max_s"] == 0.02
    assert verdict.figures["cpu_share_max"] == 0.7
    assert verdict.figures["dropped_starts"] == 0


def test_a_schedule_that_slipped_is_inconclusive_and_says_so(story: Story) -> None:
    healthy(story)
    for second in range(2):
        story.heartbeat(1, second + 0.9, planned=second)
    verdict = judged(story)
    assert verdict.status is Status.INCONCLUSIVE
    assert [finding.rule for finding in verdict.findings] == ["generator.over-budget"]
    assert "1% of heartbeats left more than" in verdict.summary
    assert "use fewer machines" in verdict.summary
    assert verdict.figures["schedule_slip_p99_s"] > 0.5


def test_a_single_late_heartbeat_in_a_thousand_is_forgiven(story: Story) -> None:
    healthy(story, 1000)
    story.heartbeat(1, 5, planned=0)
    assert judged(story).status is Status.PASS


def test_a_harness_that_stood_still_is_inconclusive_and_says_so(story: Story) -> None:
    """In more than one second in twenty."""
    healthy(story, 100)
    for second in range(5):
        story.healthy_second(100 + second, lag=0.6)
    assert judged(story).status is Status.PASS
    story.healthy_second(105, lag=0.6)
    verdict = judged(story)
    assert verdict.status is Status.INCONCLUSIVE
    assert "in 6 of 106 seconds the harness stood still for more than 0.5s" in verdict.summary


def test_one_bad_second_of_a_short_run_is_forgiven(story: Story) -> None:
    healthy(story, 5)
    story.healthy_second(5, lag=3)
    assert judged(story).status is Status.PASS


def test_starts_that_could_not_be_made_are_inconclusive_and_counted(story: Story) -> None:
    """More than one in a thousand."""
    healthy(story, 999)
    story.healthy_second(999, dropped=1)
    assert judged(story).status is Status.PASS
    story.healthy_second(1000, dropped=1)
    verdict = judged(story)
    assert verdict.status is Status.INCONCLUSIVE
    assert "2 of 1001 planned heartbeats could not be started" in verdict.summary
    assert verdict.figures["dropped_starts"] == 2


def test_every_reason_is_named(story: Story) -> None:
    for second in range(10):
        story.heartbeat(0, second + 2, planned=second)
        story.healthy_second(second, lag=1, dropped=10)
    assert len(judged(story).findings) == 3


def test_attacks_have_no_schedule_to_keep(story: Story) -> None:
    healthy(story)
    for second in range(50):
        story.heartbeat(0, second + 20, planned=second, campaign=1)
    assert judged(story).status is Status.PASS


def test_without_any_record_nothing_is_known(story: Story) -> None:
    """A harness that says nothing about itself has not kept its schedule."""
    assert judged(story).status is Status.INCONCLUSIVE


@settings(deadline=None, max_examples=examples(50))
@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), max_size=20),
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 64), st.integers(0, 10**9)), max_size=20),
)
def test_it_never_fails(
    new_story: type[Story], beats: list[tuple[float, float]], seconds: list[tuple[float, float, int]]
) -> None:
    story = new_story()
    for at, slip in beats:
        story.heartbeat(0, at + slip, planned=at)
    for second, (lag, cpu, dropped) in enumerate(seconds):
        story.healthy_second(second, lag=lag, cpu=cpu, dropped=dropped)
    assert judged(story).status is not Status.FAIL
