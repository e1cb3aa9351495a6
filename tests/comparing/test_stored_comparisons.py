"""Two results of a benchmark and two runs: which figures are held against each other, and what is said of them."""

from __future__ import annotations

import io
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import numpy as np
import pytest
from rich.console import Console

from benchmarks.measuring import Benchmark, Figure, Result, Subject, Yardstick, conclude
from benchmarks.suite import Suite
from reference_server.wire.units import MILLISECOND_NS
from simulator.checkers.verdict import Status, Verdict
from simulator.commands.cli import app
from simulator.comparing.deciding import Says, Tolerance
from simulator.comparing.outcome import Comparison, Pair, encode, lines_of
from simulator.comparing.page import comparison_page
from simulator.comparing.ranks import paired
from simulator.comparing.results import Figure as ReadFigure
from simulator.comparing.results import compare_results, higher_is_better
from simulator.comparing.runs import Run, compare_runs
from simulator.comparing.showing import junit, show, summary_markdown
from simulator.contract.answers import Answer, Operation
from simulator.errors import BundleError
from simulator.history.rows import NEVER_NS
from simulator.judging.judging import judge_run
from simulator.platform.machine_facts import MachineFacts
from tests.report.conftest import five_checkers
from tests.report.runs import HOSTILE, long_run, uneventful
from tests.support.invoking import invoke

AT = "2026-01-02T03:04:05+00:00"
SCHEMA = Path(__file__).parents[2] / "simulator/comparing/comparison.schema.json"
ROUNDS = 8


def result(path: Path, rate: float, yardstick: float, memory: float, *, rounds: int = ROUNDS, cores: int = 2) -> Path:
    """Write a benchmark's result as `hatchfarm bench` does."""
    figures = (
        Figure("rate", "the lane"),
        Figure("constant", "a yardstick"),
        Figure("memory", "each machine", " bytes", 15_000.0),
    )
    benchmark = Benchmark("heartbeat", lambda: None, (Yardstick("rate", "constant", 0.5),))  # type: ignore[arg-type,return-value]
    values = {
        name: [value * (1 + at / 1000) for at in range(rounds)]
        for name, value in (("rate", rate), ("constant", yardstick), ("memory", memory))
    }
    machine = MachineFacts("a cpu", cores, 1, "", "", {}, "", 0.0)
    suite = Suite(
        2,
        AT,
        0.0,
        machine,
        (conclude(benchmark, [Subject(figures, tuple)], values, 0.0, 0.0), Result("other", problem="x")),
        0,
    )
    path.write_bytes(msgspec.json.encode(suite))
    return path


def compared(tmp_path: Path, *after: float, rounds: int = ROUNDS) -> dict[str, Says]:
    comparison = compare_results(
        result(tmp_path / "a.json", 1000, 1500, 10_000, rounds=rounds),
        result(tmp_path / "b.json", *after, rounds=rounds),
        AT,
        Tolerance(),
    )
    jsonschema.validate(json.loads(encode(comparison)), json.loads(SCHEMA.read_bytes()))
    slower = any(line.decision.says is Says.SLOWER for line in comparison.lines)
    unknown = any(line.decision.says is Says.CANNOT_TELL for line in comparison.lines)
    assert comparison.exit_code == (1 if slower else 3 if unknown else 0)
    return {line.title.removeprefix("heartbeat: "): line.decision.says for line in comparison.lines}


SAME = {
    "the lane": Says.NO_DIFFERENCE,
    "a yardstick": Says.NO_DIFFERENCE,
    "each machine": Says.NO_DIFFERENCE,
    "rate/constant": Says.NO_DIFFERENCE,
}


@pytest.mark.parametrize(
    ("after", "others"),
    [
        ((1000, 1500, 10_000), {}),
        ((800, 1200, 10_000), {}),  # a slow machine slows both, and no moods of a machine are a change
        ((880, 1500, 10_000), {"rate/constant": Says.SLOWER}),
        ((600, 1500, 10_000), {"the lane": Says.SLOWER, "rate/constant": Says.SLOWER}),
        ((1200, 1500, 10_000), {"rate/constant": Says.FASTER}),
        ((1000, 1500, 11_000), {"each machine": Says.SLOWER}),
        ((1000, 1500, 9_000), {"each machine": Says.FASTER}),
    ],
)
def test_ratios_and_sizes_decide_and_rates_only_where_no_mood_explains_them(
    tmp_path: Path, after: tuple[float, ...], others: dict[str, Says]
) -> None:
    assert compared(tmp_path, *after) == {**SAME, **others}


def test_three_rounds_are_too_few_to_say_anything(tmp_path: Path) -> None:
    assert set(compared(tmp_path, 500, 1500, 20_000, rounds=3).values()) == {Says.CANNOT_TELL}


def many_figures(path: Path, rate: float, connected: float, snapshot: float) -> Path:
    """Write a result of five rounds of thirty figures, of which the first differs, and of two measured once."""
    figures = {f"f{at}": {"title": f"figure {at}", "unit": "/s", "rounds": [1000 + at + one for one in range(5)],
                          "confidence": 0.9375} for at in range(30)}  # fmt: skip
    figures["f0"]["rounds"] = [rate + one for one in range(5)]
    for title, unit, value in (("connected", " bytes", connected), ("snapshot", " ms", snapshot)):
        figures[title] = {"title": title, "unit": unit, "rounds": [value], "confidence": 1.0}
    benchmarks = [{"name": "market", "figures": figures}]
    path.write_text(json.dumps({"measured_at": AT, "machine": {"cpu": "a", "cores": 2}, "benchmarks": benchmarks}))
    return path


@pytest.mark.parametrize(
    ("rate", "connected", "code", "slower"),
    [
        (1000, 10_000, 0, []),
        (100, 10_000, 1, ["market: figure 0"]),
        (1000, 10_500, 0, []),
        (1000, 11_500, 1, ["market: connected"]),
    ],
)
def test_five_rounds_of_many_figures_tell_a_great_change_and_one_of_what_was_measured_once(
    tmp_path: Path, rate: float, connected: float, code: int, slower: list[str]
) -> None:
    before = many_figures(tmp_path / "a.json", 1000, 10_000, 5)
    after = many_figures(tmp_path / "b.json", rate, connected, 50)
    comparison = compare_results(before, after, AT, Tolerance())
    assert [line.title for line in comparison.lines if line.decision.says is Says.SLOWER] == slower
    assert comparison.exit_code == code
    assert any(note.startswith("30 of 31 figures rest on too few values") for note in comparison.notes)
    assert any(note.startswith("market: snapshot was measured once") for note in comparison.notes)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ([-2.3, 2.3] * 6, "noise hides any change below"),
        ([-0.35] * 7 + [-0.1], "it looks slower, and not surely enough beside so many others"),
        ([-0.35] * 3, "8 rounds are too few to be sure of anything"),
        ([-0.001, 0.001] * 10, ""),
    ],
)
def test_why_a_line_cannot_be_told_is_what_keeps_it_from_being_told(changes: list[float], why: str) -> None:
    pair = Pair("one", "", True, (1.0,) * 8, (1.0,) * 8, paired(changes), Tolerance(moods=0.25))  # noqa: FBT003 - higher is better
    for line in lines_of([pair] * 3):
        assert (line.decision.says is Says.CANNOT_TELL) is bool(why)
        assert line.why.startswith(why)


@pytest.mark.parametrize(
    ("unit", "bars", "better"),
    [
        ("/s", {}, True),
        ("/s of CPU", {}, True),
        ("", {}, True),
        (" ms", {}, False),
        (" bytes", {}, False),
        (" bytes", {"at_least": 1.0}, True),
        ("", {"at_most": 1.0}, False),
    ],
)
def test_which_way_is_better_is_as_the_bar_says_or_the_unit(unit: str, bars: dict[str, float], *, better: bool) -> None:
    assert higher_is_better(ReadFigure("one", unit, (1.0,), **bars)) is better


def test_a_comparison_that_the_disk_has_no_room_for_is_printed_and_it_is_said(tmp_path: Path) -> None:
    path = str(result(tmp_path / "a.json", 1000, 1500, 10_000))
    done = invoke(app, ["compare", path, path, "--html", "/dev/full"])
    assert done.exit_code == 2
    assert "a.json" in done.stdout
    why = "/dev/full cannot be written (No space left on device): give another --html"
    assert done.stderr == f"hatchfarm compare: {why}\n"


@pytest.mark.parametrize("content", [b"", b"[]", b'{"benchmark": 5}', b"\xff", b"[" * 100_000])
def test_what_is_no_result_is_refused_with_its_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.json").write_bytes(content)
    good = result(tmp_path / "good.json", 1000, 1500, 10_000)
    with pytest.raises(BundleError, match=r"bad\.json is no result of `hatchfarm bench --json`"):
        compare_results(good, tmp_path / "bad.json", AT, Tolerance())


def test_of_two_benchmarks_nothing_is_in_both_and_another_machine_is_named(tmp_path: Path) -> None:
    good = result(tmp_path / "good.json", 1000, 1500, 10_000)
    other = result(tmp_path / "other.json", 1000, 1500, 10_000, cores=4)
    comparison = compare_results(good, other, AT, Tolerance())
    assert comparison.notes == ["two machines: a cpu, 2 cores and a cpu, 4 cores"]
    assert comparison.exit_code == 3
    assert {line.why for line in comparison.lines} == {"measured on two machines"}
    other.write_bytes(good.read_bytes().replace(b'"name":"heartbeat"', b'"name":"market"'))
    comparison = compare_results(good, other, AT, Tolerance())
    assert (comparison.exit_code, comparison.summary) == (3, "nothing is in both")
    assert "heartbeat: the lane is in one of them only" in comparison.notes


@pytest.mark.parametrize("change", ["no figures", "one figure less", "a figure of nothing"])
def test_what_the_second_file_lacks_is_told_of_nobody_and_what_it_has_more_is_named(
    tmp_path: Path, change: str
) -> None:
    before = result(tmp_path / "a.json", 1000, 1500, 10_000)
    after = tmp_path / "b.json"
    content = json.loads(before.read_bytes())
    heartbeat, other = content["benchmarks"]
    other["figures"] = {"one": {**heartbeat["figures"]["memory"], "title": "one"}}
    before.write_text(json.dumps(content))
    if change == "no figures":
        content["benchmarks"][1] = {"name": "other", "problem": "no Redis"}
    elif change == "one figure less":
        del other["figures"]["one"]
    else:
        other["figures"]["one"]["rounds"] = [0.0]
    after.write_text(json.dumps(content))
    comparison = compare_results(before, after, AT, Tolerance())
    assert (comparison.exit_code, comparison.summary) == (3, "cannot tell of other: one")
    back = compare_results(after, before, AT, Tolerance())
    assert back.exit_code == (3 if change == "a figure of nothing" else 0)
    assert any("other: one" in note for note in back.notes)


def a_run(name: str, made: Any) -> Run:
    record, history = made
    with five_checkers():
        return Run(name, judge_run(record, history), record, history)


def slowed(made: Any, by_ns: int, *, spread: int = 7) -> Any:
    """Answer every request later."""
    record, history = made
    rows = history.rows().copy()
    rows["answered_ns"] += by_ns + (rows["planned_ns"] // 1000 % spread) * (by_ns // 100)
    return record, history.with_rows(rows)


@pytest.fixture(scope="module")
def long() -> Any:
    return long_run(machines=60, seconds=120)


@pytest.mark.long
def test_a_run_is_no_slower_than_itself_and_slower_when_its_answers_took_twice_as_long(long: Any) -> None:
    before = a_run("before", slowed(long, 10 * MILLISECOND_NS))
    same = compare_runs(before, before, AT, Tolerance())
    assert (same.exit_code, same.summary) == (0, "no slower")
    assert {line.decision.says for line in same.lines} == {Says.NO_DIFFERENCE}
    after = compare_runs(before, a_run("after", slowed(long, 40 * MILLISECOND_NS)), AT, Tolerance())
    assert after.exit_code == 1
    assert {line.title: line.decision.says for line in after.lines} == {
        "heartbeats accepted": Says.NO_DIFFERENCE,
        "all requests": Says.NO_DIFFERENCE,
        "response time p50": Says.SLOWER,
        "response time p90": Says.SLOWER,
        "response time p99": Says.SLOWER,
    }


@pytest.mark.parametrize("sure", [True, False])
def test_people_are_told_how_figures_are_read_and_what_to_do_where_nothing_can_be_told(long: Any, sure: bool) -> None:  # noqa: FBT001 - a column
    """On a terminal, on the page and in a job's summary, in the same words."""
    before = a_run("before", slowed(long, 10 * MILLISECOND_NS))
    comparison = compare_runs(before, before, AT, Tolerance())
    if not sure:
        lines = [msgspec.structs.replace(one, decision=msgspec.structs.replace(one.decision, says=Says.CANNOT_TELL))
                 for one in comparison.lines]  # fmt: skip
        comparison = msgspec.structs.replace(comparison, lines=lines, exit_code=3)
    console = Console(file=io.StringIO(), width=1000)
    show(comparison, console)
    assert isinstance(console.file, io.StringIO)
    for text in (console.file.getvalue(), comparison_page(comparison).decode(), summary_markdown(comparison).decode()):
        assert "+ is always the better" in text
        assert ("run both again where nothing else runs" in text) is not sure


def lossy(made: Any, share: int) -> Any:
    """Leave every so-manieth heartbeat without an answer."""
    record, history = made
    rows = history.rows().copy()
    beats = np.flatnonzero(rows["operation"] == Operation.HEARTBEAT)[::share]
    rows["answered_ns"][beats], rows["got"][beats], rows["status"][beats] = NEVER_NS, Answer.LOST, 0
    return record, history.with_rows(rows)


@pytest.mark.parametrize(
    ("share", "slower"),
    [
        (1, {"heartbeats accepted", "response time p50", "response time p90", "response time p99"}),
        (5, {"response time p90", "response time p99"}),  # an accepted one in five less is what moods may do
    ],
)
def test_what_was_finite_and_is_endless_or_nothing_is_slower(share: int, slower: set[str]) -> None:
    made = long_run(machines=60, seconds=240)
    before, after = a_run("before", made), a_run("after", lossy(made, share))
    comparison = compare_runs(before, after, AT, Tolerance())
    assert comparison.exit_code == 1
    assert {line.title for line in comparison.lines if line.decision.says is Says.SLOWER} == slower
    jsonschema.validate(json.loads(encode(comparison)), json.loads(SCHEMA.read_bytes()))
    assert b"endless" in comparison_page(comparison)
    back = compare_runs(after, before, AT, Tolerance())
    assert {line.title for line in back.lines if line.decision.says is Says.FASTER} == slower


def test_what_one_run_measured_and_the_other_did_not_is_told_of_nobody() -> None:
    made = long_run(machines=60, seconds=120)
    before, after = a_run("before", made), a_run("after", made)
    rows = after.history.rows()
    after = msgspec.structs.replace(
        after, history=after.history.with_rows(rows[rows["operation"] != Operation.HEARTBEAT])
    )
    for one, other in ((before, after), (after, before)):
        comparison = compare_runs(one, other, AT, Tolerance())
        assert comparison.exit_code != 0
        assert "cannot tell of response time p50" in comparison.summary


def test_a_check_that_fails_now_and_did_not_is_worse_and_its_findings_stand_side_by_side() -> None:
    good, bad = a_run("good", uneventful()), a_run("bad", uneventful())
    checkers = [msgspec.structs.replace(one, status=Status.FAIL) if one.name == "replay" else one
                for one in bad.verdict.checkers]  # fmt: skip
    bad = msgspec.structs.replace(
        bad, verdict=msgspec.structs.replace(bad.verdict, checkers=checkers, status=Status.FAIL)
    )
    comparison = compare_runs(good, bad, AT, Tolerance())
    assert [one.name for one in comparison.checks if one.worse] == ["whole run", "replay"]
    assert comparison.exit_code == 1
    assert comparison.summary.startswith("worse: whole run, replay")
    back = compare_runs(bad, good, AT, Tolerance())
    assert [one.name for one in back.checks if one.worse] == []
    assert compare_runs(bad, bad, AT, Tolerance()).exit_code != 1


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        (Status.PASS, Status.PASS, 0),
        (Status.PASS, Status.INCONCLUSIVE, 3),
        (Status.INCONCLUSIVE, Status.INCONCLUSIVE, 3),
        (Status.NOT_APPLICABLE, Status.INCONCLUSIVE, 3),
        (Status.FAIL, Status.INCONCLUSIVE, 0),
        (Status.PASS, Status.NOT_APPLICABLE, 0),
        (Status.PASS, None, 3),
        (None, Status.INCONCLUSIVE, 0),
    ],
)
def test_a_check_that_nobody_could_judge_or_that_is_gone_is_told_of_nobody(
    before: Status | None, after: Status | None, code: int
) -> None:
    run = a_run("one", long_run(machines=60, seconds=120))

    def with_one(status: Status | None) -> Run:
        checkers = [Verdict("one", status, "")] if status else []
        verdict = msgspec.structs.replace(run.verdict, status=Status.PASS, checkers=checkers, thresholds=[], attacks=[])
        return msgspec.structs.replace(run, verdict=verdict)

    comparison = compare_runs(with_one(before), with_one(after), AT, Tolerance())
    assert comparison.exit_code == code, comparison.summary
    root = ET.fromstring(junit(comparison))  # noqa: S314 - our own
    assert root.get("errors") == ("1" if code == 3 else "0")


def hostile_comparison() -> Comparison:
    good, bad = a_run(HOSTILE, uneventful()), a_run(HOSTILE, uneventful(scenario=HOSTILE))
    return compare_runs(good, bad, AT, Tolerance())


def test_a_page_shows_hostile_names_as_text_and_loads_nothing() -> None:
    page = comparison_page(hostile_comparison()).decode()
    assert "<script" not in page
    assert "<img" not in page
    assert "{{" not in page.replace("{{ 7*7 }}", "")
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", page)
    assert "default-src 'none'" in page


def test_junit_has_a_case_for_each_line_and_each_check() -> None:
    comparison = hostile_comparison()
    root = ET.fromstring(junit(comparison))  # noqa: S314 - our own
    assert int(root.get("tests", "0")) == len(comparison.lines) + len(comparison.checks)
    unknown = [line.title for line in comparison.lines if line.decision.says is Says.CANNOT_TELL]
    unknown += [check.name for check in comparison.checks if check.unknown]
    assert (root.get("failures"), root.get("errors")) == ("0", str(len(unknown)))
