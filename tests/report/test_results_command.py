"""`hatchfarm results`: the stored runs, newest first, however many and however odd."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from simulator.bundle.listing import list_results
from tests.report.test_report_commands import hatchfarm

if TYPE_CHECKING:
    from pathlib import Path


def store(out: Path, scenario: str, started_at: str, folder: str = "", **more: object) -> Path:
    """Write a verdict as a run of some version leaves it, and no more of it than is needed."""
    verdict = {"scenario": scenario, "status": "pass", "started_at": started_at, **more}
    path = out / scenario.replace("/", "_") / (folder or started_at.replace(":", "-"))
    path.mkdir(parents=True)
    (path / "verdict.json").write_text(json.dumps(verdict), encoding="utf-8")
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    out = tmp_path / "results"
    store(out, "older", "2026-01-01T00:00:00+00:00", status="fail", duration_s=10, requests={"heartbeats_accepted": 50})
    newest = store(
        out, "newer", "2026-01-03T02:00:00+02:00", duration_s=4.0, requests={"heartbeats_accepted": 4_000},
        latency_s={"p50": 0.001, "p99": 0.0125},
    )  # fmt: skip
    store(out, "newer", "2026-01-02T00:00:00+00:00", duration_s=0, latency_s={"p99": None})
    (newest.parent / "latest").symlink_to(newest.name)
    (out / "newer" / "odd").mkdir()
    (out / "newer" / "odd" / "verdict.json").write_text('{"scenario": 1}', encoding="utf-8")
    return out


def test_runs_are_listed_newest_first(out: Path) -> None:
    code, lines, complaints = hatchfarm("results", "--out", out, COLUMNS="200")
    assert (code, complaints) == (0, "")
    assert lines[0].split() == ["when", "(UTC)", "scenario", "verdict", "rate", "p99", "path"]
    assert [" ".join(line.split()[:6]) for line in lines[1:4]] == [
        "2026-01-03 00:00:00 newer pass 1,000/s 12.5",
        "2026-01-02 00:00:00 newer pass - -",
        "2026-01-01 00:00:00 older fail 5/s -",
    ]
    assert lines[4:] == ["1 folder with a verdict that cannot be read"]


def test_as_json_each_run_has_all_that_a_program_needs(out: Path) -> None:
    code, lines, _ = hatchfarm("results", "--out", out, "--json", "--limit", "1")
    (one,) = json.loads("\n".join(lines))
    assert code == 0
    assert one == {
        "started_at": "2026-01-03T00:00:00.000+00:00", "scenario": "newer", "verdict": "pass", "rate": 1000.0,
        "p99_ms": 12.5, "path": str(out / "newer" / "2026-01-03T02-00-00+02-00"),
    }  # fmt: skip


def test_a_limit_says_how_many_more_there_are(out: Path) -> None:
    _, lines, _ = hatchfarm("results", "--out", out, "--limit", "1", COLUMNS="200")
    assert lines[2] == "and 2 older: --limit shows more"


def test_an_empty_folder_says_how_to_fill_it(tmp_path: Path) -> None:
    code, lines, _ = hatchfarm("results", "--out", tmp_path, COLUMNS="200")
    assert (code, lines) == (0, [f"There are no results in {tmp_path}: `hatchfarm run` makes some."])
    assert hatchfarm("results", "--out", tmp_path / "gone", "--json")[:2] == (0, ["[]"])


def test_no_more_runs_are_read_than_the_bound_and_those_are_the_last_by_name(out: Path) -> None:
    found = list_results(out, read_max=2)
    assert (len(found.lines), found.unreadable, found.left_out) == (1, 1, 2)
    assert found.lines[0].started_at.startswith("2026-01-03")


def test_what_a_verdict_says_does_nothing_to_a_terminal(out: Path) -> None:
    store(out, "\x1b[31m[red]::error", "2026-01-09T00:00:00+00:00")
    _, lines, _ = hatchfarm("results", "--out", out, COLUMNS="300")
    assert r"\x1b[31m[red]\x3a:error" in lines[1]


def test_the_run_of_a_test_is_listed(bundle: Path) -> None:
    (one,) = list_results(bundle.parent.parent).lines
    assert (one.scenario, one.verdict, one.path) == ("by-hand", "fail", str(bundle))
    assert one.rate == pytest.approx(78 / 40)
