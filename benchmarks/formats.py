"""What came of benchmarks in the formats of others: JUnit, github-action-benchmark, Bencher."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

from reference_server.wire.units import MILLISECOND_NS, SECOND_NS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.measuring import Measured, Result

RATES = ("/s", "/s of CPU")
"""Units of which more is better, as of ratios, which have none; of times and sizes less is."""
NANOSECONDS = {" ms": MILLISECOND_NS, " s": SECOND_NS}


def bigger_is_better(one: Measured) -> bool:
    """Return whether more is better: a rate, or a ratio of rates."""
    return one.unit in (*RATES, "")


def _all_of(results: Sequence[Result]) -> Iterator[tuple[str, Measured]]:
    """Yield every figure and ratio by a name that it alone has, and keeps: histories go by it."""
    for result in results:
        for name, one in (*result.figures.items(), *result.ratios.items()):
            yield f"{result.name} {name}", one


def github_action_benchmark(results: Sequence[Result], *, bigger: bool) -> bytes:
    """Write what its tool `customBiggerIsBetter` reads, or `customSmallerIsBetter`: each takes one direction alone."""
    lines = [
        {
            "name": name,
            "unit": one.unit.strip() or "ratio",
            "value": one.median,
            "range": f"{one.low:.6g} - {one.high:.6g}",
            "extra": f"{one.title}\n{len(one.rounds)} rounds, {one.confidence:.0%} sure",
        }
        for name, one in _all_of(results)
        if bigger_is_better(one) is bigger
    ]
    return json.dumps(lines, indent=2).encode() + b"\n"


def bencher(results: Sequence[Result]) -> bytes:
    """Write Bencher Metric Format: its own measures `throughput` and `latency` (in ns), and two of ours."""
    document = {}
    for name, one in _all_of(results):
        scale = NANOSECONDS.get(one.unit, 1)
        if scale != 1:
            measure = "latency"
        elif one.unit in RATES:
            measure = "throughput"
        else:
            measure = "ratio" if one.unit == "" else "memory"
        document[name] = {
            measure: {"value": one.median * scale, "lower_value": one.low * scale, "upper_value": one.high * scale}
        }
    return json.dumps(document, indent=2).encode() + b"\n"


def junit(results: Sequence[Result], measured_at: str) -> bytes:
    """Write a test suite for each benchmark and a case for each bar.

    What noise hides, or what could not be measured, is an `error`: a skipped case would look like one that passed.
    """
    root = ET.Element("testsuites", {"name": "hatchfarm bench"})
    for result in results:
        cases = [*_cases(result)]
        kinds = [kind for _, kind, _ in cases]
        counts = {"tests": len(cases), "failures": kinds.count("failure"), "errors": kinds.count("error")}
        suite = ET.SubElement(
            root,
            "testsuite",
            {
                "name": f"bench {result.name}",
                "timestamp": measured_at,
                "skipped": "0",
                **{name: str(count) for name, count in counts.items()},
            },
        )
        for name, kind, text in cases:
            case = ET.SubElement(
                suite, "testcase", {"classname": f"hatchfarm.bench.{result.name}", "name": name, "time": "0"}
            )
            if kind:
                ET.SubElement(case, kind, {"type": "bar", "message": text}).text = text
            else:
                ET.SubElement(case, "system-out").text = text
    for count in ("tests", "failures", "errors", "skipped"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in root)))
    ET.indent(root)
    written: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return written + b"\n"


def _cases(result: Result) -> Iterator[tuple[str, str, str]]:
    """Yield each case's name, the element that says what is wrong with it, if anything is, and its text."""
    if result.problem:
        yield "measured", "error", result.problem
    for name, one in (*result.figures.items(), *result.ratios.items()):
        if one.outcome is None:
            continue
        sign, bar = (">=", one.at_least) if one.at_most is None else ("<=", one.at_most)
        text = f"{one.title}: {one.median:.6g}{one.unit} ({one.low:.6g} - {one.high:.6g}), bar {sign} {bar:g}{one.unit}"
        yield name, {"held": "", "missed": "failure", "noise": "error"}[one.outcome], text
