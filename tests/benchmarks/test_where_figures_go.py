"""A benchmark takes minutes, so where its figures cannot be written is said before them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.catalogue import CATALOGUE
from simulator.commands.cli import app
from tests.support.invoking import invoke

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.suite import Chosen, Outputs


IS_A_FOLDER, NOT_IN_A_FOLDER = "Is a directory", "Not a directory"


@pytest.mark.parametrize("names", [["heartbeat"], ["memory", "redis"], ["all"]])
@pytest.mark.parametrize(
    ("flag", "place", "why"),
    [
        ("--json", "folder", IS_A_FOLDER),
        ("--json", "file/figures.json", NOT_IN_A_FOLDER),
        ("--junit", "folder", IS_A_FOLDER),
        ("--bencher", "file/figures.json", NOT_IN_A_FOLDER),
        ("--custom-bigger-is-better", "folder", IS_A_FOLDER),
        ("--custom-smaller-is-better", "file/figures.json", NOT_IN_A_FOLDER),
        ("--out", "file/folder", NOT_IN_A_FOLDER),
    ],
)
def test_figures_that_could_not_be_written_are_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], flag: str, place: str, why: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setattr("benchmarks.suite.run", lambda *_, **_more: pytest.fail("it was measured"))
    result = invoke(app, ["bench", *names, flag, str(tmp_path / place)])
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith(f"hatchfarm bench: {tmp_path / place}")
    assert result.stderr.endswith(f" cannot be written ({why}): give another {flag}\n")
    assert (tmp_path / "file").read_text() == "not a folder"


@pytest.mark.parametrize("flag", ["--json", "--junit", "--bencher"])
def test_figures_that_the_disk_has_no_room_for_are_printed_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flag: str
) -> None:
    monkeypatch.setattr("benchmarks.catalogue.load", lambda *_: [])
    result = invoke(app, ["bench", "heartbeat", "--out", str(tmp_path), flag, "/dev/full"])
    assert (result.exit_code, result.stdout) == (2, "Bars: 0 held.\n")
    why = "/dev/full cannot be written (No space left on device)"
    assert result.stderr == f"hatchfarm bench: {why}: give another {flag}\n"


RUN = {"HATCHFARM_BENCH_ROUNDS": "2", "HATCHFARM_BENCH_SECONDS": "0.5", "HATCHFARM_OUT": "x"}


@pytest.mark.parametrize(
    ("arguments", "env", "expected"),
    [
        (["heartbeat"], {}, (["heartbeat"], 5, "results/bench-heartbeat.json", 0.0)),
        (["heartbeat"], RUN, (["heartbeat"], 2, "x/bench-heartbeat.json", 0.0)),
        ([], {**RUN, "HATCHFARM_BENCH": "memory redis"}, (["redis", "memory"], 2, "x/bench.json", 0.0)),
        (["conduct"], {"HATCHFARM_BENCH_JSON": "y/z.json"}, (["conduct"], 5, "y/z.json", 0.0)),
        (["--quick"], {}, (["heartbeat", "mixed", "limited"], 5, "results/bench.json", 0.3)),
        (["tls"], {"HATCHFARM_BENCH_QUICK": "1"}, (["tls"], 5, "results/bench-tls.json", 0.3)),
    ],
)
def test_the_suite_takes_its_flags_from_the_environment_too(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    env: dict[str, str],
    expected: tuple[list[str], int, str, float],
) -> None:
    calls: list[tuple[list[str], int, str, float]] = []

    def run(chosen: list[Chosen], outputs: Outputs, *_: object, margin: float) -> int:
        calls.append(([one.benchmark.name for one in chosen], chosen[0].rounds, str(outputs.json), margin))
        return 3

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("benchmarks.suite.run", run)
    assert invoke(app, ["bench", *arguments], env=env).exit_code == 3
    assert calls == [expected]


def test_without_a_name_the_benchmarks_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.suite.run", lambda *_, **_more: pytest.fail("it was measured"))
    result = invoke(app, ["bench"])
    assert result.exit_code == 0
    for entry in CATALOGUE:
        assert f"\n{entry.name} " in f"\n{result.stdout}"
        assert entry.summary in result.stdout


def test_an_unknown_benchmark_is_a_usage_error() -> None:
    result = invoke(app, ["bench", "heartbeet"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("hatchfarm bench: 'heartbeet' is no benchmark: did you mean 'heartbeat'?")
