"""How checkers are run together, and how what they say combines."""

from __future__ import annotations

from itertools import permutations, product
from typing import TYPE_CHECKING

import pytest

from simulator.checkers import CHECKERS, run_checkers
from simulator.checkers.verdict import EXIT_CODES, Status, Verdict, worst

if TYPE_CHECKING:
    from simulator.checkers.facts import Facts
    from simulator.history.rows import History
    from tests.checkers.conftest import Story


def right(_history: History, _facts: Facts) -> Verdict:
    return Verdict("right", Status.PASS, "It held.")


@pytest.mark.parametrize(
    "error", [ValueError("odd"), KeyError("gone"), ZeroDivisionError(), MemoryError(), RecursionError()]
)
def test_a_checker_that_crashes_is_inconclusive_and_stops_no_other(story: Story, error: Exception) -> None:
    def crash(_history: History, _facts: Facts) -> Verdict:
        raise error

    verdicts = run_checkers(story.history, story.facts, {"before": right, "crashing": crash, "after": right})
    assert [verdict.status for verdict in verdicts] == [Status.PASS, Status.INCONCLUSIVE, Status.PASS]
    assert (verdicts[1].name, verdicts[1].figures, verdicts[1].findings) == ("crashing", {}, ())
    assert type(error).__name__ in verdicts[1].summary
    assert str(error) in verdicts[1].summary


def test_a_damaged_scrape_is_no_pass(story: Story) -> None:
    """Whatever a checker stumbles over, it does not vouch for the server."""
    story.scrape(1, extra={"hatchfarm_workers_total": float("nan")})
    verdicts = {verdict.name: verdict.status for verdict in run_checkers(story.history, story.facts)}
    assert verdicts["alerts"] is not Status.PASS


def test_every_checker_signs_with_its_name(story: Story) -> None:
    story.heartbeat(0, 1)
    story.scrape(2)
    assert [verdict.name for verdict in run_checkers(story.history, story.facts)] == list(CHECKERS)


def test_nothing_is_proven_by_an_empty_run(story: Story) -> None:
    """No scrape, no answer, no sign of the harness: nobody can say that anything held."""
    verdicts = run_checkers(story.history, story.facts)
    assert Status.FAIL not in {verdict.status for verdict in verdicts}
    assert worst([verdict.status for verdict in verdicts]) is Status.INCONCLUSIVE


def test_judging_twice_says_the_same_and_changes_nothing(story: Story) -> None:
    """A checker is a function of the history."""
    story.register(0, 0)
    story.heartbeat(0, 1)
    for second in (2, 20, 30):
        story.scrape(second, workers=1)
    rows = story.history.rows().copy()
    first = run_checkers(story.history, story.facts)
    assert run_checkers(story.history, story.facts) == first
    assert (story.history.rows() == rows).all()
    assert len(story.history.scrapes) == 3


@pytest.mark.parametrize("length", [1, 2, 3])
def test_the_worst_decides(length: int) -> None:
    """A proven failure outranks not knowing, which outranks a pass, in whatever order they come.

    What was not checked changes nothing, unless there is nothing else.
    """
    rank = {Status.PASS: 0, Status.INCONCLUSIVE: 1, Status.FAIL: 2}
    for statuses in product(Status, repeat=length):
        judged = [status for status in statuses if status in rank]
        expected = max(judged, key=lambda status: rank[status], default=Status.INCONCLUSIVE)
        assert {worst(list(order)) for order in permutations(statuses)} == {expected}


def test_nothing_at_all_is_inconclusive() -> None:
    assert worst([]) is Status.INCONCLUSIVE


def test_the_exit_code_tells_the_kind_of_verdict() -> None:
    """2 is left to usage errors."""
    assert EXIT_CODES == {Status.PASS: 0, Status.FAIL: 1, Status.INCONCLUSIVE: 3}
