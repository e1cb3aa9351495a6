"""What a suite writes, in its own format and in those of others, against documents that were written by hand."""

from __future__ import annotations

import io
import json
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import pytest
from junitparser import JUnitXml
from rich.console import Console

from benchmarks import formats
from benchmarks.measuring import (
    HELD,
    MISSED,
    UNKNOWN,
    Benchmark,
    BenchmarkError,
    Figure,
    Measurement,
    Result,
    Subject,
    Yardstick,
    as_measurement,
    measure,
)
from benchmarks.suite import Chosen, Outputs, run, suite_schema, worst

if TYPE_CHECKING:
    from collections.abc import Sequence

SCHEMA = Path(__file__).parents[2] / "benchmarks/bench.schema.json"
AT = "2026-01-02T03:04:05+00:00"


def broken() -> Sequence[float]:
    """Measure nothing."""
    raise BenchmarkError("there is no wrk on the PATH")


def benchmark(at_least: float = 2.0) -> Benchmark:
    """Return one whose every value is known, and always the same."""
    subjects = (
        Subject((Figure("lane", "express lane"), Figure("p99", "p99 at half load", " ms", 5.0)), lambda: (30.0, 4.0)),
        Subject(
            (Figure("bare", "bare loop"), Figure("size", "an idle machine", " bytes", 100.0)), lambda: (10.0, 128.0)
        ),
    )
    return Benchmark("fake", lambda: nullcontext(subjects), (Yardstick("lane", "bare", at_least),))


def at_once(subject: Subject) -> Measurement:
    """Measure in this process."""
    return as_measurement(subject.measure())


def result() -> Result:
    """Measure it."""
    return measure(benchmark(), 5, at_once)


def test_github_action_benchmark_is_given_each_direction_alone() -> None:
    """As its README has it: name, unit and value; range and extra are shown beside them."""
    bigger = json.loads(formats.github_action_benchmark([result()], bigger=True))
    extra = "\n5 rounds, 94% sure"
    assert bigger == [
        {"name": "fake lane", "unit": "/s", "value": 30.0, "range": "30 - 30", "extra": f"express lane{extra}"},
        {"name": "fake bare", "unit": "/s", "value": 10.0, "range": "10 - 10", "extra": f"bare loop{extra}"},
        {"name": "fake lane/bare", "unit": "ratio", "value": 3.0, "range": "3 - 3", "extra": f"lane/bare{extra}"},
    ]
    smaller = json.loads(formats.github_action_benchmark([result()], bigger=False))
    assert [(line["name"], line["unit"], line["value"]) for line in smaller] == [
        ("fake p99", "ms", 4.0),
        ("fake size", "bytes", 128.0),
    ]


def test_bencher_is_given_its_own_measures_in_its_own_units() -> None:
    def same(value: float) -> dict[str, float]:
        return {"value": value, "lower_value": value, "upper_value": value}

    assert json.loads(formats.bencher([result()])) == {
        "fake lane": {"throughput": same(30.0)},
        "fake p99": {"latency": same(4_000_000.0)},
        "fake bare": {"throughput": same(10.0)},
        "fake size": {"memory": same(128.0)},
        "fake lane/bare": {"ratio": same(3.0)},
    }


def test_junit_has_a_case_for_each_bar_and_an_error_for_what_is_not_known(tmp_path: Path) -> None:
    values = iter([10.0, 1.0, 5.0])
    noisy = Benchmark(
        "noisy", lambda: nullcontext((Subject((Figure("x", "x", " ms", 5.0),), lambda: (next(values),)),))
    )
    results = [
        result(),
        measure(noisy, 3, at_once),
        Result("wrk", problem="there is no wrk on the PATH"),
    ]
    path = tmp_path / "junit.xml"
    path.write_bytes(formats.junit(results, AT))
    suites = JUnitXml.fromfile(str(path))
    assert [(suite.name, suite.tests, suite.failures, suite.errors) for suite in suites] == [
        ("bench fake", 3, 1, 0),
        ("bench noisy", 1, 0, 1),
        ("bench wrk", 1, 0, 1),
    ]
    assert (suites.tests, suites.failures, suites.errors, suites.skipped) == (5, 1, 2, 0)
    texts = {case.name: [one.message for one in case.result] or case.system_out for suite in suites for case in suite}
    assert texts == {
        "p99": "p99 at half load: 4 ms (4 - 4), bar <= 5 ms",
        "size": ["an idle machine: 128 bytes (128 - 128), bar <= 100 bytes"],
        "lane/bare": "lane/bare: 3 (3 - 3), bar >= 2",
        "x": ["x: 5 ms (1 - 10), bar <= 5 ms"],
        "measured": ["there is no wrk on the PATH"],
    }


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        ([], HELD),
        ([HELD, HELD], HELD),
        ([HELD, UNKNOWN], UNKNOWN),
        ([UNKNOWN, MISSED, HELD], MISSED),
        ([MISSED], MISSED),
    ],
)
def test_a_suite_is_as_bad_as_what_is_known_of_its_worst_benchmark(codes: list[int], code: int) -> None:
    assert worst(codes) == code


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_suite_measures_what_it_can_and_writes_one_document(tmp_path: Path) -> None:
    """In fresh processes, as users have it: one benchmark that misses a bar, one that cannot be measured."""
    unmeasured = Benchmark("wrk", lambda: nullcontext((Subject((Figure("x", "x"),), broken),)))
    paths = [tmp_path / "deep" / name for name in "abcde"]
    console = Console(file=io.StringIO(), width=200)
    chosen = [Chosen(unmeasured, 2), Chosen(benchmark(), 5)]
    assert run(chosen, Outputs(paths[0], paths[1], paths[2], paths[3], paths[4]), console, AT, margin=0.1) == MISSED
    document = json.loads(paths[0].read_text(encoding="utf-8"))
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    assert schema == suite_schema()
    jsonschema.validate(document, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"schema_version": 2}, schema)
    assert [one["name"] for one in document["benchmarks"]] == ["wrk", "fake"]
    assert (document["measured_at"], document["margin"], document["exit_code"]) == (AT, 0.1, MISSED)
    assert document["machine"]["cores"] >= 1
    assert document["machine"]["packages"]["trio"]
    assert all(path.stat().st_size for path in paths)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "wrk: not measured: there is no wrk on the PATH" in shown
    assert "128 bytes" in shown
    assert "<= 110 bytes MISSED" in shown
    assert "Bars: 2 held; 1 missed (fake: an idle machine); not measured: wrk." in shown
