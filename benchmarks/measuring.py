"""What all benchmarks have in common: subjects measured in alternation, ratios with their intervals, bars, one result.

A benchmark is a list of subjects and the ratios between their figures. Nothing here knows what is measured.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from pathlib import Path  # noqa: TC003 - a Struct resolves its annotations
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console  # noqa: TC002 - as above
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from simulator.platform.output_files import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

SCHEMA_VERSION = 1
CONFIDENCE = 0.95
HELD, MISSED, NOT_MEASURED = 0, 1, 3
"""Exit codes, as a run's: every bar held, one was missed, nothing is known. 2 is a usage error."""


class BenchmarkError(Exception):
    """A measurement could not be made, or measured something else than it was meant to."""


class Figure(msgspec.Struct, frozen=True):
    """One number that a subject is measured for. `unit` is written behind it; `at_most` is its bar."""

    name: str
    title: str
    unit: str = "/s"
    at_most: float | None = None


class Subject(msgspec.Struct, frozen=True):
    """What is measured: `measure` returns one value for each figure. `once` is for what takes minutes."""

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
    """A benchmark: `open_subjects` starts what is measured, and ends it."""

    name: str
    open_subjects: Callable[[], AbstractContextManager[Sequence[Subject]]]
    yardsticks: tuple[Yardstick, ...] = ()


class Measured(msgspec.Struct, frozen=True):
    """Values of one figure or ratio, one a round, with their median and its interval.

    `low` and `high` hold the true median with the probability `confidence`. `held` is None without a bar.
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
    held: bool | None = None


class Result(msgspec.Struct, frozen=True):
    """What every benchmark writes. `measured_at` is ISO 8601."""

    schema_version: int
    benchmark: str
    measured_at: str
    figures: dict[str, Measured]
    ratios: dict[str, Measured]
    exit_code: int


def result_schema() -> dict[str, Any]:
    """Return the JSON Schema of a benchmark's result."""
    return msgspec.json.schema(Result)


def median_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """Return the interval of a median by order statistics: its ends, and the probability that it holds the true one.

    The k-th least and the k-th greatest of n values enclose the median unless fewer than k lie on one side of it, which
    is a binomial probability whatever the values' distribution. The narrowest interval that is sure enough is taken;
    of few values, which never are, the widest. Raises ValueError without values.
    """
    if not values:
        raise ValueError("an interval of nothing")
    ordered, count = sorted(values), len(values)
    best = (ordered[0], ordered[-1], _enclosing(count, 1))
    for rank in range(2, count // 2 + 1):
        if (sure := _enclosing(count, rank)) < confidence:
            break
        best = (ordered[rank - 1], ordered[-rank], sure)
    return best


def _enclosing(count: int, rank: int) -> float:
    """Return how probable it is that neither side of the median has fewer than `rank` of `count` values."""
    fewer = sum(math.comb(count, below) for below in range(rank))
    return max(0.0, 1.0 - 2.0 * fewer / float(1 << count))


def alternate(subjects: Sequence[Subject], rounds: int) -> Iterator[Subject]:
    """Yield every subject once a round, in turn forwards and backwards, so that a drifting machine favours nobody."""
    for number in range(rounds):
        for subject in subjects if number % 2 == 0 else reversed(subjects):
            if number == 0 or not subject.once:
                yield subject


def conclude(benchmark: Benchmark, figures: Sequence[Figure], values: Mapping[str, list[float]], at: str) -> Result:
    """Return the result of what was measured. A bar is held by the median."""
    measured = {
        one.name: _measured(one.title, one.unit, values[one.name], at_most=one.at_most)
        for one in figures
        if values.get(one.name)
    }
    ratios = {
        one.name: _measured(one.name, "", _ratios(values[one.over], values[one.under]), at_least=one.at_least)
        for one in benchmark.yardsticks
    }
    missed = any(one.held is False for one in (*measured.values(), *ratios.values()))
    return Result(SCHEMA_VERSION, benchmark.name, at, measured, ratios, MISSED if missed else HELD)


def _ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    if not all(under):
        raise BenchmarkError("nothing was done in the time of a measurement")
    return [top / bottom for top, bottom in zip(over, under, strict=True)]


def _measured(
    title: str, unit: str, values: Sequence[float], *, at_least: float | None = None, at_most: float | None = None
) -> Measured:
    low, high, confidence = median_interval(values)
    median = statistics.median(values)
    held = None
    if at_least is not None or at_most is not None:
        held = (at_least is None or median >= at_least) and (at_most is None or median <= at_most)
    return Measured(title, unit, tuple(values), median, low, high, confidence, at_least, at_most, held)


def run(benchmark: Benchmark, rounds: int, path: Path, console: Console, measured_at: str) -> int:
    """Measure, print tables, write the result, and return the exit code."""
    values: defaultdict[str, list[float]] = defaultdict(list)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
    )
    try:
        console.print("starting", style="dim")
        # Opened first: what pins this thread to a core has the thread that draws stay with it.
        with benchmark.open_subjects() as subjects, Progress(*columns, console=console) as progress:
            task = progress.add_task("measuring", total=sum(1 if one.once else rounds for one in subjects))
            for subject in alternate(subjects, rounds):
                for figure, value in zip(subject.figures, subject.measure(), strict=True):
                    values[figure.name].append(value)
                    progress.update(task, description=f"{figure.name}: {value:,.5g}{figure.unit}")
                progress.advance(task)
        figures = [figure for subject in subjects for figure in subject.figures]
        result = conclude(benchmark, figures, values, measured_at)
    except BenchmarkError as error:
        console.print(f"hatchfarm bench: {error}", markup=False)
        return NOT_MEASURED
    show(result, console)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, [msgspec.json.format(msgspec.json.encode(result), indent=2), b"\n"])
    console.print(f"Figures: {path}", markup=False)
    return result.exit_code


def show(result: Result, console: Console) -> None:
    """Print the figures and the ratios, each with the interval of its median and its bar."""
    for heading, lines in (("figure", result.figures), ("ratio", result.ratios)):
        if not lines:
            continue
        table = Table(heading, "median", "interval", "bar", box=None)
        for one in lines.values():
            interval = f"{one.low:,.4g} - {one.high:,.4g} ({one.confidence:.0%})"
            table.add_row(one.title, f"{one.median:,.4g}{one.unit}", interval, _bar(one))
        console.print(table)


def _bar(one: Measured) -> str:
    if one.held is None:
        return ""
    sign, bar = (">=", one.at_least) if one.at_most is None else ("<=", one.at_most)
    return f"{sign} {bar:g}{one.unit}{'' if one.held else ' MISSED'}"
