"""The comparison itself: which scrapes an evaluation may have seen, and what it calls wrong."""

from __future__ import annotations

import pytest

from simulator.checkers.bounds import Range
from tests.prometheus.agreement import STALE_GAUGE, ClockReading, Judged, RunClock, judge, seen_at, turns
from tests.prometheus.prometheus import INTERVAL_MS, Scraped

SCRAPES = [Scraped(start_ms, start_ms + 5, {STALE_GAUGE: 1.0}) for start_ms in (1000, 1500, 2000, 2500)]


@pytest.mark.parametrize(
    ("at_ms", "missed", "starts"),
    [
        (2001, 0, [1500, 2000]),
        (2499, 0, [1500, 2000]),
        (2500, 0, [1500, 2000, 2500]),
        (2501, 0, [2000, 2500]),
        (2501, 1, [1500, 2000, 2500]),
        (2501, 2, [1000, 1500, 2000, 2500]),
        (1501, 0, [1000, 1500]),
        (1500, 0, []),
        (900, 0, []),
    ],
)
def test_an_evaluation_may_have_seen_the_last_two_scrapes_begun(at_ms: int, missed: int, starts: list[int]) -> None:
    """What began in the same millisecond may count or not, and each missed evaluation reaches an interval further."""
    assert INTERVAL_MS == 500
    assert [scrape.start_ms for scrape in seen_at(at_ms, SCRAPES, missed)] == starts


def judged(firing: bool, shown: tuple[float | None, float | None], stale: Range) -> Judged:  # noqa: FBT001 - a table's column
    """Judge one evaluation after two scrapes that showed these; None is one that failed."""
    scrapes = [Scraped(0, 5, {} if value is None else {STALE_GAUGE: value}) for value in shown]
    (one,) = judge(STALE_GAUGE, 1, {7} if firing else set(), [(7, scrapes)], [stale])
    return one


@pytest.mark.parametrize(
    ("firing", "shown", "stale", "truth", "wrong"),
    [
        (True, (1, 1), Range(1, 3), True, False),
        (False, (0, 0), Range(0, 0), False, False),
        (False, (1, 1), Range(1, 3), True, True),
        (True, (0, 0), Range(0, 0), False, True),
        # The server was wrong and Prometheus repeated it; or the server was right and Prometheus was not.
        (True, (1, 1), Range(0, 0), False, True),
        (False, (0, 0), Range(2, 2), True, True),
        (True, (0, 0), Range(0, 2), None, True),
        (False, (1, 1), Range(0, 2), None, True),
        # While the truth turns, either of two scrapes may have been seen.
        (True, (0, 1), Range(0, 2), None, False),
        (False, (0, 1), Range(0, 2), None, False),
        # A scrape that failed shows no alert, and leaves the truth open.
        (False, (1, None), Range(1, 1), None, False),
        (True, (1, None), Range(1, 1), None, False),
        (True, (None, None), Range(1, 1), None, True),
    ],
)
def test_an_alert_is_wrong_where_no_scrape_or_no_truth_allows_it(
    firing: bool,  # noqa: FBT001 - a table's column
    shown: tuple[float | None, float | None],
    stale: Range,
    truth: bool | None,  # noqa: FBT001 - a table's column
    wrong: bool,  # noqa: FBT001 - a table's column
) -> None:
    one = judged(firing, shown, stale)
    assert (one.truth, one.wrong) == (truth, wrong)


def test_the_truth_is_certain_where_both_bounds_are_on_one_side_of_the_threshold() -> None:
    ranges = [Range(0, 4), Range(4, 5), Range(5, 9)]
    seen = [(at_ms, SCRAPES[:2]) for at_ms in range(3)]
    assert [one.truth for one in judge(STALE_GAUGE, 5, set(), seen, ranges)] == [False, None, True]


def test_a_wall_clock_that_moves_during_the_run_widens_every_time_by_as_much() -> None:
    """A time that the wall clock gave lies between the earliest and the latest that both readings allow."""
    second, millisecond = 10**9, 10**6
    began = ClockReading(100 * second, 5000 * second, 100 * second + 3)
    ended = ClockReading(160 * second, 5060 * second + 20 * millisecond, 160 * second + 5)
    clock = RunClock.of([began, ended], (101 * second, 101 * second + 7))
    during = clock.during(5_011_000, 5_011_040)
    assert during == (10 * second - 20 * millisecond - 7, 10 * second + 40 * millisecond + 3)


def test_turns_are_the_certain_truths_without_repetitions() -> None:
    truths = (None, False, False, None, True, None, True, False)
    assert turns([Judged(0, False, frozenset(), truth) for truth in truths]) == [False, True, False]  # noqa: FBT003 - as above
    assert turns([]) == []
