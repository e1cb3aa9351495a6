"""Comparing two files of `hatchfarm bench --json`: the figures that are in both, by their rounds. It only reads files.

The files were measured at two times, and the computer may have been in two conditions ("moods"). Both sides of a ratio
within one file had the same mood; a rate by itself did not. A difference that two moods can explain is not a change.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from simulator.comparing.deciding import Says
from simulator.comparing.outcome import Comparison, Kind, Pair, conclude, lines_of, notes_of
from simulator.comparing.ranks import certain, independent
from simulator.errors import BundleError
from simulator.limits import BENCH_RESULT_MAX_BYTES, COMPARED_ROUNDS_MAX
from simulator.platform.wording import plural

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.comparing.deciding import Tolerance
    from simulator.comparing.outcome import Line

MOODS_OF_RATES, MOODS_OF_RATIOS, MOODS_OF_SIZES = 0.25, 0.05, 0.02
"""How much two measurements of the same thing at two times may differ, as a share: for a time or a rate, for a ratio
whose two sides were measured in alternation, and for a size in bytes."""
SIZES = ("B", "KB", "MB", "KiB", "MiB", "bytes")


class Figure(msgspec.Struct, frozen=True):
    """The compared fields of one figure or ratio; `confidence` is 1 if a single value is enough."""

    title: str
    unit: str
    rounds: tuple[float, ...]
    confidence: float = 0.0
    at_least: float | None = None
    at_most: float | None = None

    @property
    def is_size(self) -> bool:
        """Return whether the figure is a size in bytes."""
        return self.unit.strip() in SIZES

    @property
    def was_once(self) -> bool:
        """Return whether the figure was measured only once, because it hardly varies."""
        return len(self.rounds) == 1 and self.confidence == 1


class BenchResult(msgspec.Struct, frozen=True):
    """The compared fields of one benchmark's result; it has no figures if it could not be measured."""

    name: str
    figures: dict[str, Figure] = {}
    ratios: dict[str, Figure] = {}


class Machine(msgspec.Struct, frozen=True):
    """The facts of a computer that must be the same for two results to be compared."""

    cpu: str
    cores: int


class BenchResults(msgspec.Struct, frozen=True):
    """The compared fields of the results of a suite of benchmarks."""

    measured_at: str
    machine: Machine
    benchmarks: tuple[BenchResult, ...]


def read_results(path: Path) -> BenchResults:
    """Read the results of a suite of benchmarks. Raises BundleError if the file is unreadable or has none."""
    try:
        if path.stat().st_size > BENCH_RESULT_MAX_BYTES:
            raise BundleError(f"{path} is larger than {BENCH_RESULT_MAX_BYTES:,} bytes: it is no benchmark's result")
        return msgspec.json.decode(path.read_bytes(), type=BenchResults)
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is no result of `hatchfarm bench --json` ({error})") from None


def higher_is_better(figure: Figure) -> bool:
    """Return whether a higher value is better: by its `at_least` or `at_most`, else by its unit.

    Rates and ratios are better when higher, all others when lower.
    """
    if (figure.at_least is None) != (figure.at_most is None):
        return figure.at_most is None
    return figure.unit.strip().startswith("/") or not figure.unit.strip()


def compare_results(before: Path, after: Path, compared_at: str, tolerance: Tolerance) -> Comparison:
    """Compare the figures that are in both files. Raises BundleError if a file is unreadable or has no results."""
    ones, others = read_results(before), read_results(after)
    pairs: list[Pair] = []
    notes: list[str] = []
    mine, theirs = _figures(ones), _figures(others)
    notes += [f"{title} is in one of them only" for title in sorted(set(mine) ^ set(theirs))]
    lost = [title for title in mine if title not in theirs]
    for title in (title for title in mine if title in theirs):
        if any(one[title][1].was_once and not one[title][1].is_size for one in (mine, theirs)):
            notes.append(f"{title} was measured once, and a single time says nothing of its noise: it is not compared")
            continue
        pair = _pair(title, mine[title][1], theirs[title][1], tolerance, is_ratio=mine[title][0])
        if pair is None:
            notes.append(f"{title} has values that are not above zero, or too many: it is not compared")
            lost.append(title)
        else:
            pairs.append(pair)
    notes += notes_of(pairs)
    names = (f"{before.name} of {ones.measured_at}", f"{after.name} of {others.measured_at}")
    lines = lines_of(pairs)
    if ones.machine != others.machine:
        notes.insert(0, f"two machines: {_machine(ones)} and {_machine(others)}")
        lines = [_of_two_machines(one) for one in lines]
    return conclude(Kind.RESULTS, names, compared_at, lines, notes=notes, lost=lost)


def _of_two_machines(line: Line) -> Line:
    """Return `line` as one that cannot tell: its change may come from the different computers."""
    decision = msgspec.structs.replace(line.decision, says=Says.CANNOT_TELL)
    return msgspec.structs.replace(line, decision=decision, why="measured on two machines")


def _machine(results: BenchResults) -> str:
    return f"{results.machine.cpu}, {plural(results.machine.cores, 'core')}"


def _figures(results: BenchResults) -> dict[str, tuple[bool, Figure]]:
    """Return each figure, and whether it is a ratio, by the benchmark's name and the figure's title."""
    return {
        f"{one.name}: {figure.title}": (is_ratio, figure)
        for one in results.benchmarks
        for is_ratio, figures in ((False, one.figures), (True, one.ratios))
        for figure in figures.values()
    }


def _pair(title: str, before: Figure, after: Figure, tolerance: Tolerance, *, is_ratio: bool) -> Pair | None:
    for values in (before.rounds, after.rounds):
        if not 0 < len(values) <= COMPARED_ROUNDS_MAX or not all(0 < one < math.inf for one in values):
            return None
    if before.unit != after.unit:
        return None
    moods = MOODS_OF_RATIOS if is_ratio else MOODS_OF_SIZES if before.is_size else MOODS_OF_RATES
    better = higher_is_better(after)
    ones, others = (_logarithms(one.rounds, better) for one in (before, after))
    allowed = msgspec.structs.replace(tolerance, moods=moods)
    if before.was_once and after.was_once:
        # The noise of a single value is unknown, so small changes are ignored.
        shift, allowed = certain(others[0] - ones[0]), msgspec.structs.replace(allowed, ignored=tolerance.seen)
    else:
        shift = independent(ones, others)
    return Pair(title, after.unit, better, before.rounds, after.rounds, shift, allowed)


def _logarithms(values: tuple[float, ...], higher_is_better: bool) -> list[float]:  # noqa: FBT001 - as said of a figure
    return [math.log(one) if higher_is_better else -math.log(one) for one in values]
