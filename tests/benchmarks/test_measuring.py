"""Benchmarks are measured in alternation, and what they write follows from the measured values alone."""

from __future__ import annotations

import io
import json
import statistics
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from benchmarks.blaster import blast
from benchmarks.measuring import (
    CONFIDENCE,
    HELD,
    MISSED,
    NOT_MEASURED,
    Benchmark,
    BenchmarkError,
    Figure,
    Subject,
    Yardstick,
    alternate,
    median_interval,
    result_schema,
    run,
)
from benchmarks.processes import benchmark_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SCHEMA = Path(__file__).parents[2] / "benchmarks/result.schema.json"
AT = "2026-01-02T03:04:05+00:00"


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


def measured(fakes: Fakes, path: Path, rounds: int, at_least: float | None = None) -> tuple[int, str]:
    console = Console(file=io.StringIO(), width=200)
    benchmark = Benchmark("fake", fakes.open, (Yardstick("fast", "slow", at_least),))
    code = run(benchmark, rounds, path, console, AT)
    return code, console.file.getvalue()  # type: ignore[attr-defined]


def test_subjects_take_turns_forwards_and_backwards(tmp_path: Path) -> None:
    fakes = Fakes([1, 2, 3], [1, 1, 1])
    measured(fakes, tmp_path / "x.json", 3)
    assert fakes.asked == ["fast", "slow", "slow", "fast", "fast", "slow"]
    assert fakes.closed


def test_what_takes_minutes_is_measured_in_the_first_round_alone() -> None:
    long, short = Subject((), tuple, once=True), Subject((), tuple)
    assert list(alternate([short, long], 3)) == [short, long, short, short]


def test_a_ratio_is_taken_round_by_round_with_its_interval(tmp_path: Path) -> None:
    fast, slow = [10.0, 40.0, 30.0], [10.0, 10.0, 10.0]
    code, shown = measured(Fakes(fast, slow), tmp_path / "deep/x.json", 3)
    result = json.loads((tmp_path / "deep/x.json").read_text(encoding="utf-8"))
    ratio = result["ratios"]["fast/slow"]
    assert (ratio["rounds"], ratio["median"], ratio["low"], ratio["high"]) == ([1, 4, 3], 3, 1, 4)
    assert ratio["confidence"] == pytest.approx(0.75)
    assert (code, result["exit_code"], ratio["held"], result["measured_at"]) == (HELD, 0, None, AT)
    assert "1 - 4 (75%)" in shown


@pytest.mark.parametrize(
    ("at_least", "slow_at_most", "code"),
    [(2.0, None, HELD), (2.1, None, MISSED), (None, 5.0, HELD), (None, 4.9, MISSED)],
)
def test_a_bar_that_the_median_misses_is_exit_code_1(
    tmp_path: Path, at_least: float | None, slow_at_most: float | None, code: int
) -> None:
    fakes = Fakes([10, 10, 1], [5, 5, 5], slow_at_most=slow_at_most)
    got, shown = measured(fakes, tmp_path / "x.json", 3, at_least)
    assert got == code
    assert ("MISSED" in shown) is (code == MISSED)


def test_a_measurement_that_fails_is_no_result(tmp_path: Path) -> None:
    def broken() -> tuple[float]:
        raise BenchmarkError("the server stopped answering")

    subjects = (Subject((Figure("x", "x"),), broken),)
    console = Console(file=io.StringIO(), width=200)
    code = run(Benchmark("fake", lambda: nullcontext(subjects)), 1, tmp_path / "x.json", console, AT)
    assert code == NOT_MEASURED
    assert "hatchfarm bench: the server stopped answering" in console.file.getvalue()  # type: ignore[attr-defined]
    assert not (tmp_path / "x.json").exists()


def test_a_ratio_to_nothing_is_no_result(tmp_path: Path) -> None:
    assert measured(Fakes([1], [0]), tmp_path / "x.json", 1)[0] == NOT_MEASURED
    assert not (tmp_path / "x.json").exists()


def test_results_follow_the_schema_beside_the_code(tmp_path: Path) -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    assert schema == result_schema()
    measured(Fakes([1, 2], [3, 4], slow_at_most=9), tmp_path / "x.json", 2, 0.1)
    jsonschema.validate(json.loads((tmp_path / "x.json").read_text(encoding="utf-8")), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"schema_version": 1}, schema)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=40))
def test_an_interval_holds_the_median_and_is_as_sure_as_few_values_allow(values: list[float]) -> None:
    low, high, confidence = median_interval(values)
    assert low <= statistics.median(values) <= high
    assert {low, high} <= set(values)
    assert confidence >= CONFIDENCE or (low, high) == (min(values), max(values))


@pytest.mark.parametrize(
    ("count", "low", "confidence"), [(1, 0, 0.0), (5, 0, 0.9375), (6, 0, 0.96875), (10, 1, 0.978515625)]
)
def test_intervals_are_those_of_the_binomial_table(count: int, low: int, confidence: float) -> None:
    """Such as in Conover, Practical Nonparametric Statistics, table A3."""
    ends = median_interval(range(count))
    assert ends[:2] == (low, count - 1 - low)
    assert ends[2] == pytest.approx(confidence)
    with pytest.raises(ValueError, match="an interval of nothing"):
        median_interval([])


@pytest.mark.long
@pytest.mark.parametrize("kind", ["lane", "direct"])
def test_a_server_of_the_benchmarks_accepts_what_their_client_sends(kind: str) -> None:
    with benchmark_server("lane", 4) as lane, benchmark_server(kind) as other:
        server = lane if kind == "lane" else other
        assert blast(server.url, lane.machines, 0.05, 2000.0) > 0
        server.settle()
