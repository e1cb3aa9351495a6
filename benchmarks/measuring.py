"""What all benchmarks have in common: subjects measured in alternation, ratios with their intervals, bars, one result.

A benchmark is a list of subjects and the ratios between their figures. Nothing here knows what is measured.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

from benchmarks.intervals import Interval, Outcome, bootstrap_interval, judge, median_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

HELD, MISSED, UNKNOWN = 0, 1, 3
"""Exit codes, as a run's: every bar held; one was missed beyond noise; noise hides one, or it could not be measured.
2 is a usage error."""


class BenchmarkError(Exception):
    """A measurement could not be made, or measured something else than it was meant to."""


class Figure(msgspec.Struct, frozen=True):
    """One number that a subject is measured for. `unit` is written behind it; `at_most` is its bar."""

    name: str
    title: str
    unit: str = "/s"
    at_most: float | None = None


class Subject(msgspec.Struct, frozen=True):
    """What is measured: `measure` returns one value for each figure. `once` is for what takes minutes.

    It is called in a fresh process each time, so it starts there what it measures, and ends it.
    """

    figures: tuple[Figure, ...]
    measure: Callable[[], Sequence[float]]
    once: bool = False


class Yardstick(msgspec.Struct, frozen=True):
    """The ratio of two figures, round by round, by their names. `at_least` is its bar."""

    over: str
    under: str
    at_least: float | None = None

    @property
    def name(self) -> str:
        """Return what the ratio is called."""
        return f"{self.over}/{self.under}"


class Benchmark(msgspec.Struct, frozen=True):
    """A benchmark: `open_subjects` makes what all measurements need, such as files, and removes it."""

    name: str
    open_subjects: Callable[[], AbstractContextManager[Sequence[Subject]]]
    yardsticks: tuple[Yardstick, ...] = ()


class Measured(msgspec.Struct, frozen=True):
    """Values of one figure or ratio, one a round, with their median and its interval.

    `low` and `high` hold the true median with the probability `confidence`. `at_least` and `at_most` are the bars that
    were applied, `outcome` says which side of them the interval lies on: None without a bar.
    """

    title: str
    unit: str
    rounds: tuple[float, ...]
    median: float
    low: float
    high: float
    confidence: float
    at_least: float | None = None
    at_most: float | None = None
    outcome: Outcome | None = None


class Result(msgspec.Struct, frozen=True):
    """What came of one benchmark. `problem` says why it could not be measured: then there are no figures."""

    name: str
    figures: dict[str, Measured] = {}
    ratios: dict[str, Measured] = {}
    exit_code: int = UNKNOWN
    problem: str = ""


def alternate(subjects: Sequence[Subject], rounds: int) -> Iterator[Subject]:
    """Yield every subject once a round, in turn forwards and backwards, so that a drifting machine favours nobody."""
    for number in range(rounds):
        for subject in subjects if number % 2 == 0 else reversed(subjects):
            if number == 0 or not subject.once:
                yield subject


def measure(
    benchmark: Benchmark,
    rounds: int,
    measurer: Callable[[Callable[[], Sequence[float]]], Sequence[float]],
    *,
    margin: float = 0.0,
    note: Callable[[Figure, float, float], object] = lambda _figure, _value, _share: None,
) -> Result:
    """Measure a benchmark, `measurer` each of its measurements; `note` is called with each value and the share done.

    Bars are eased by `margin`, a share of each.
    """
    values: defaultdict[str, list[float]] = defaultdict(list)
    try:
        with benchmark.open_subjects() as subjects:
            turns = list(alternate(subjects, rounds))
            for number, subject in enumerate(turns, 1):
                for figure, value in zip(subject.figures, measurer(subject.measure), strict=True):
                    values[figure.name].append(value)
                    note(figure, value, number / len(turns))
        figures = [figure for subject in subjects for figure in subject.figures]
        return conclude(benchmark, figures, values, margin)
    except BenchmarkError as error:
        return Result(benchmark.name, problem=str(error))


def conclude(
    benchmark: Benchmark, figures: Sequence[Figure], values: Mapping[str, Sequence[float]], margin: float = 0.0
) -> Result:
    """Return the result of what was measured. Raises BenchmarkError for a ratio to nothing."""
    measured = {
        one.name: _measured(one.title, one.unit, values[one.name], median_interval(values[one.name]), margin, one)
        for one in figures
    }
    ratios = {}
    for one in benchmark.yardsticks:
        rounds = _ratios(values[one.over], values[one.under])
        ratios[one.name] = _measured(one.name, "", rounds, bootstrap_interval(rounds), margin, one)
    return Result(benchmark.name, measured, ratios, exit_code_of((*measured.values(), *ratios.values())))


def exit_code_of(measured: Sequence[Measured]) -> int:
    """Return what all of them say together: a miss that is known counts before what is not."""
    outcomes = {one.outcome for one in measured}
    if "missed" in outcomes:
        return MISSED
    return UNKNOWN if "noise" in outcomes else HELD


def _ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    if not all(under):
        raise BenchmarkError("nothing was done in the time of a measurement")
    return [top / bottom for top, bottom in zip(over, under, strict=True)]


def _measured(
    title: str, unit: str, values: Sequence[float], interval: Interval, margin: float, bar: Figure | Yardstick
) -> Measured:
    at_most = bar.at_most if isinstance(bar, Figure) else None
    at_least = bar.at_least if isinstance(bar, Yardstick) else None
    at_most = None if at_most is None else at_most * (1 + margin)
    at_least = None if at_least is None else at_least * (1 - margin)
    outcome = judge(interval.low, interval.high, at_least, at_most)
    return Measured(title, unit, tuple(values), statistics.median(values), *interval, at_least, at_most, outcome)
