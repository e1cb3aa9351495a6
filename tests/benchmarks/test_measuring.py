"""Benchmarks are measured in alternation, and what comes of them follows from the measured values alone."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import pytest

from benchmarks.measuring import (
    HELD,
    MISSED,
    UNKNOWN,
    Benchmark,
    BenchmarkError,
    Figure,
    Result,
    Subject,
    Yardstick,
    alternate,
    measure,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


def at_once(measurement: Callable[[], Sequence[float]]) -> Sequence[float]:
    """Measure in this process."""
    return measurement()


class Fakes:
    """Two subjects that measure what they are given, one after the other, and note who was asked when."""

    def __init__(self, fast: Sequence[float], slow: Sequence[float], *, slow_at_most: float | None = None) -> None:
        self.asked: list[str] = []
        self.closed = False
        self.values = {"fast": iter(fast), "slow": iter(slow)}
        self.slow_at_most = slow_at_most

    def _measure(self, name: str) -> tuple[float]:
        self.asked.append(name)
        return (next(self.values[name]),)

    @contextmanager
    def open(self) -> Iterator[list[Subject]]:
        """Start nothing, and note the end."""
        yield [
            Subject((Figure("fast", "the fast one"),), lambda: self._measure("fast")),
            Subject((Figure("slow", "the slow one", " ms", self.slow_at_most),), lambda: self._measure("slow")),
        ]
        self.closed = True


def measured(fakes: Fakes, rounds: int, at_least: float | None = None, margin: float = 0.0) -> Result:
    benchmark = Benchmark("fake", fakes.open, (Yardstick("fast", "slow", at_least),))
    return measure(benchmark, rounds, at_once, margin=margin)


def test_subjects_take_turns_forwards_and_backwards() -> None:
    fakes = Fakes([1, 2, 3], [1, 1, 1])
    measured(fakes, 3)
    assert fakes.asked == ["fast", "slow", "slow", "fast", "fast", "slow"]
    assert fakes.closed


def test_what_takes_minutes_is_measured_in_the_first_round_alone() -> None:
    long, short = Subject((), tuple, once=True), Subject((), tuple)
    assert list(alternate([short, long], 3)) == [short, long, short, short]


def test_a_ratio_is_taken_round_by_round_with_its_interval() -> None:
    result = measured(Fakes([10.0, 40.0, 30.0], [10.0, 10.0, 10.0]), 3)
    ratio = result.ratios["fast/slow"]
    assert (ratio.rounds, ratio.median, ratio.low, ratio.high) == ((1, 4, 3), 3, 1, 4)
    assert ratio.confidence == pytest.approx(0.75)
    assert (result.name, result.exit_code, ratio.outcome, result.problem) == ("fake", HELD, None, "")


@pytest.mark.parametrize(
    ("at_least", "slow_at_most", "margin", "code"),
    [
        (None, None, 0.0, HELD),
        (2.0, None, 0.0, HELD),
        (2.1, None, 0.0, UNKNOWN),
        (3.0, None, 0.0, UNKNOWN),
        (3.1, None, 0.0, MISSED),
        (None, 6.0, 0.0, HELD),
        (None, 5.0, 0.0, UNKNOWN),
        (None, 3.9, 0.0, MISSED),
        (2.1, 3.9, 0.0, MISSED),  # what is known counts before what is not
        (4.0, None, 0.3, UNKNOWN),  # eased to 2.8
        (2.7, None, 0.3, HELD),
        (4.4, None, 0.3, MISSED),
        (None, 3.9, 0.6, HELD),
    ],
)
def test_the_exit_code_says_what_is_known_of_the_bars(
    at_least: float | None, slow_at_most: float | None, margin: float, code: int
) -> None:
    """Ratios from 2 to 3, and a figure from 4 to 6."""
    fakes = Fakes([12, 12.5, 12], [4, 5, 6], slow_at_most=slow_at_most)
    assert measured(fakes, 3, at_least, margin).exit_code == code


def test_the_bar_that_was_applied_is_written() -> None:
    result = measured(Fakes([10], [5], slow_at_most=10.0), 1, 1.0, 0.2)
    assert result.figures["slow"].at_most == pytest.approx(12.0)
    assert result.ratios["fast/slow"].at_least == pytest.approx(0.8)


def test_a_measurement_that_fails_is_no_result() -> None:
    def broken() -> tuple[float]:
        raise BenchmarkError("the server stopped answering")

    subjects = (Subject((Figure("x", "x"),), broken),)
    result = measure(Benchmark("fake", lambda: nullcontext(subjects)), 1, at_once)
    assert result == Result("fake", problem="the server stopped answering")
    assert result.exit_code == UNKNOWN


def test_a_ratio_to_nothing_is_no_result() -> None:
    assert measured(Fakes([1], [0]), 1) == Result("fake", problem="nothing was done in the time of a measurement")


def test_whoever_waits_is_shown_each_value_and_how_far_it_is() -> None:
    noted: list[tuple[str, float, float]] = []
    benchmark = Benchmark("fake", Fakes([10, 11], [1, 2]).open)
    measure(benchmark, 2, at_once, note=lambda figure, value, share: noted.append((figure.name, value, share)))
    assert noted == [("fast", 10, 0.25), ("slow", 1, 0.5), ("slow", 2, 0.75), ("fast", 11, 1.0)]
