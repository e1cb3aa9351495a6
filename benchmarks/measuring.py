"""What all benchmarks have in common: subjects measured in alternation, ratios with their intervals, bars, one result.

A benchmark is a list of subjects and the ratios between their figures. Nothing here knows what is measured.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

from benchmarks.intervals import Interval, Outcome, judge, median_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

HELD, MISSED, UNKNOWN = 0, 1, 3
"""Exit codes, as a run's: every bar held; one was missed beyond noise; noise hides one, or it could not be measured.
2 is a usage error."""

BYTES = " bytes"
"""The unit of sizes, which no busy neighbour changes."""
BUSY_SHARE = 0.1
"""Of the time that a server was ready to run and had no core: on a quiet machine it is a hundredth."""


class BenchmarkError(Exception):
    """A measurement could not be made, or measured something else than it was meant to."""


class Figure(msgspec.Struct, frozen=True):
    """One number that a subject is measured for. `unit` is written behind it; `at_most` is its bar."""

    name: str
    title: str
    unit: str = "/s"
    at_most: float | None = None


class Measurement(msgspec.Struct, frozen=True):
    """What one measurement came to: a value for each figure, or the problem for which there are none.

    `waited` is the share of its time that what was measured was ready to run and had no core.
    """

    values: tuple[float, ...] = ()
    problem: str = ""
    waited: float = 0.0


class Subject(msgspec.Struct, frozen=True):
    """What is measured: `measure` returns one value for each figure.

    It is called in a fresh process each time, so it starts there what it measures, and ends it. `once` is for what
    takes minutes and hardly differs from time to time: its one value decides.
    """

    figures: tuple[Figure, ...]
    measure: Callable[[], Sequence[float] | Measurement]
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
    """What came of one benchmark. `problem` says why it could not be measured: then there are no figures.

    `waited` is the median share of its time that what was measured had no core.
    """

    name: str
    figures: dict[str, Measured] = {}
    ratios: dict[str, Measured] = {}
    exit_code: int = UNKNOWN
    problem: str = ""
    waited: float = 0.0


def as_measurement(measured: Sequence[float] | Measurement) -> Measurement:
    """Return what a subject measured; of plain values nothing else is known."""
    return measured if isinstance(measured, Measurement) else Measurement(tuple(measured))


def alternate(subjects: Sequence[Subject], rounds: int) -> Iterator[Subject]:
    """Yield every subject once a round, in turn forwards and backwards, so that a drifting machine favours nobody."""
    for number in range(rounds):
        for subject in subjects if number % 2 == 0 else reversed(subjects):
            if number == 0 or not subject.once:
                yield subject


def measure(
    benchmark: Benchmark,
    rounds: int,
    measurer: Callable[[Subject], Measurement],
    *,
    margin: float = 0.0,
    note: Callable[[Figure, float, float], object] = lambda _figure, _value, _share: None,
) -> Result:
    """Measure a benchmark, `measurer` each of its measurements; `note` is called with each value and the share done.

    Bars are eased by `margin`, a share of each.
    """
    values: defaultdict[str, list[float]] = defaultdict(list)
    waits = []
    try:
        with benchmark.open_subjects() as subjects:
            turns = list(alternate(subjects, rounds))
            for number, subject in enumerate(turns, 1):
                measurement = measurer(subject)
                if measurement.problem:
                    return Result(benchmark.name, problem=measurement.problem)
                waits.append(measurement.waited)
                for figure, value in zip(subject.figures, measurement.values, strict=True):
                    values[figure.name].append(value)
                    note(figure, value, number / len(turns))
        return conclude(benchmark, subjects, values, margin, statistics.median(waits) if waits else 0.0)
    except BenchmarkError as error:
        return Result(benchmark.name, problem=str(error))


def conclude(
    benchmark: Benchmark,
    subjects: Sequence[Subject],
    values: Mapping[str, Sequence[float]],
    margin: float,
    waited: float,
) -> Result:
    """Return the result of what was measured. Raises BenchmarkError for a ratio to nothing."""
    measured = {}
    for subject in subjects:
        for figure in subject.figures:
            interval = median_interval(values[figure.name])
            if subject.once:
                interval = interval._replace(confidence=1.0)
            measured[figure.name] = _measured(figure.title, figure.unit, values[figure.name], interval, margin, figure)
    ratios = {}
    for one in benchmark.yardsticks:
        rounds = _ratios(values[one.over], values[one.under])
        ratios[one.name] = _measured(one.name, "", rounds, median_interval(rounds), margin, one)
    if waited > BUSY_SHARE:
        measured, ratios = ({name: _doubted(one) for name, one in all_.items()} for all_ in (measured, ratios))
    exit_code = exit_code_of((*measured.values(), *ratios.values()))
    return Result(benchmark.name, measured, ratios, exit_code, waited=waited)


def _doubted(one: Measured) -> Measured:
    """Return what is left of a figure of a busy machine: what was missed may be the machine's, but for sizes."""
    if one.outcome != "missed" or one.unit == BYTES:
        return one
    return msgspec.structs.replace(one, outcome="noise")


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
    outcome = judge(interval, at_least, at_most)
    return Measured(title, unit, tuple(values), statistics.median(values), *interval, at_least, at_most, outcome)
