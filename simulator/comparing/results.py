"""Two files of `hatchfarm bench --json`: which figures are in both, and what their rounds say. No I/O but reading.

They were measured at two times, so a machine may have had two moods: both sides of a ratio within a file had the same
one, a rate by itself had not. How much two moods may differ by is no change.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from simulator.comparing.outcome import Comparison, Kind, Pair, conclude, lines_of
from simulator.comparing.ranks import independent
from simulator.errors import BundleError
from simulator.limits import BENCH_RESULT_MAX_BYTES, COMPARED_ROUNDS_MAX

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.comparing.deciding import Tolerance

MOODS_OF_RATES, MOODS_OF_RATIOS, MOODS_OF_SIZES = 0.25, 0.05, 0.02
"""What two measurements of the same thing at two times may differ by, as a share: of a time or a rate, of a ratio whose
both sides were measured in alternation, and of what is counted in bytes."""
SIZES = ("B", "KB", "MB", "KiB", "MiB", "bytes")


class Figure(msgspec.Struct, frozen=True):
    """One figure or ratio of a result, as far as it is compared."""

    title: str
    unit: str
    rounds: tuple[float, ...]
    at_least: float | None = None
    at_most: float | None = None


class BenchResult(msgspec.Struct, frozen=True):
    """A benchmark's result as far as it is compared: of any version that has these."""

    benchmark: str
    measured_at: str
    figures: dict[str, Figure]
    ratios: dict[str, Figure] = {}


def read_result(path: Path) -> BenchResult:
    """Read a benchmark's result. Raises BundleError."""
    try:
        if path.stat().st_size > BENCH_RESULT_MAX_BYTES:
            raise BundleError(f"{path} is larger than {BENCH_RESULT_MAX_BYTES:,} bytes: it is no benchmark's result")
        return msgspec.json.decode(path.read_bytes(), type=BenchResult)
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is no result of `hatchfarm bench --json` ({error})") from None


def higher_is_better(figure: Figure) -> bool:
    """Return which way is better: as its bar says, else by its unit. Rates and ratios are better high, all else low."""
    if (figure.at_least is None) != (figure.at_most is None):
        return figure.at_most is None
    return figure.unit.strip().startswith("/") or not figure.unit.strip()


def compare_results(before: Path, after: Path, compared_at: str, tolerance: Tolerance) -> Comparison:
    """Compare two files. Raises BundleError where one is no result, or they are of two benchmarks."""
    ones, others = read_result(before), read_result(after)
    if ones.benchmark != others.benchmark:
        raise BundleError(f"{before} is of `bench {ones.benchmark}`, {after} of `bench {others.benchmark}`")
    pairs, notes = [], []
    for kind, mine, theirs in (("figure", ones.figures, others.figures), ("ratio", ones.ratios, others.ratios)):
        missing = sorted(set(mine) ^ set(theirs))
        notes += [f"{kind} {name} is in one of them only" for name in missing]
        for name in (name for name in mine if name in theirs):
            pair = _pair(mine[name], theirs[name], tolerance, is_ratio=kind == "ratio")
            if pair is None:
                notes.append(f"{kind} {name} has values that are not above zero, or too many: it is not compared")
            else:
                pairs.append(pair)
    names = (f"{before.name} of {ones.measured_at}", f"{after.name} of {others.measured_at}")
    return conclude(Kind.RESULTS, names, compared_at, lines_of(pairs), notes=notes)


def _pair(before: Figure, after: Figure, tolerance: Tolerance, *, is_ratio: bool) -> Pair | None:
    for values in (before.rounds, after.rounds):
        if not 0 < len(values) <= COMPARED_ROUNDS_MAX or not all(0 < one < math.inf for one in values):
            return None
    if before.unit != after.unit:
        return None
    moods = MOODS_OF_RATIOS if is_ratio else MOODS_OF_SIZES if before.unit.strip() in SIZES else MOODS_OF_RATES
    better = higher_is_better(after)
    shift = independent(*(_logarithms(one.rounds, better) for one in (before, after)))
    allowed = msgspec.structs.replace(tolerance, moods=moods)
    return Pair(after.title, after.unit, better, before.rounds, after.rounds, shift, allowed)


def _logarithms(values: tuple[float, ...], higher_is_better: bool) -> list[float]:  # noqa: FBT001 - as said of a figure
    return [math.log(one) if higher_is_better else -math.log(one) for one in values]
