"""What a run writes, in which order, and that no report can cost it its verdict."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from simulator.bundle import writing
from simulator.bundle.verify import verify_bundle
from simulator.bundle.writing import read_scenario, write_bundle
from simulator.judging.judging import judge_run
from simulator.platform.console import make_console
from simulator.report import views
from simulator.report.files import WriteResult
from simulator.running.terminal import show_written
from tests.report.runs import HOSTILE, broken, hostile, uneventful, written

if TYPE_CHECKING:
    from simulator.report.report_input import ReportInput

VIEWS = ("report.html", "junit.xml", "findings.sarif", "summary.md", "metrics.om", "gates.md")


def full_disk(*_arguments: Any) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_everything_is_there_and_nothing_is_left_over(tmp_path: Path) -> None:
    _, done = written(tmp_path / "scenario" / "run", broken())
    assert done.warnings == []
    assert {path.name for path in (tmp_path / "scenario" / "run").iterdir()} == {
        *VIEWS, "verdict.json", "run.json", "scenario.toml", "manifest.json", "history",
    }  # fmt: skip
    assert {path.name for path in (tmp_path / "scenario").iterdir()} == {"run", "latest"}


def test_what_a_release_needs_proven_is_written_without_reports_too(tmp_path: Path) -> None:
    record, history = broken()
    done = write_bundle(tmp_path, judge_run(record, history), record, history, "", reports=False)
    assert done.warnings == []
    assert {name for name in VIEWS if (tmp_path / name).exists()} == {"gates.md"}
    assert verify_bundle(tmp_path, done.digest).genuine


def test_the_verdict_is_written_first_and_the_manifest_last(tmp_path: Path) -> None:
    written(tmp_path / "run", uneventful())
    files = sorted((tmp_path / "run").rglob("*.*"), key=lambda path: path.stat().st_mtime_ns)
    assert (files[0].name, files[-1].name) == ("verdict.json", "manifest.json")


def test_a_report_that_cannot_be_made_is_a_warning_and_the_rest_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(report_input: ReportInput) -> NoReturn:
        del report_input
        raise ValueError("no ink")

    monkeypatch.setattr(views, "VIEWS", {**views.VIEWS, "report.html": cannot})
    _, done = written(tmp_path / "run", uneventful())
    assert done.warnings == ["report.html could not be made (ValueError: no ink)"]
    assert (tmp_path / "run" / "junit.xml").exists()
    assert not (tmp_path / "run" / "report.html").exists()
    assert verify_bundle(tmp_path / "run", done.digest).genuine


@pytest.mark.parametrize("step", ["write_record", "write_history"])
def test_a_history_that_cannot_be_written_keeps_verdict_and_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setattr(writing, step, full_disk)
    _, done = written(tmp_path / "run", uneventful())
    assert done.warnings == [
        "the history could not be written (No space left on device): the verdict cannot be verified later"
    ]
    assert all((tmp_path / "run" / name).exists() for name in ("verdict.json", *VIEWS))


def test_without_a_manifest_the_run_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "write_manifest", full_disk)
    _, done = written(tmp_path / "run", uneventful())
    assert done.digest is None
    assert done.warnings == [f"{tmp_path / 'run'} has no manifest ([Errno 28] No space left on device)"]


def test_a_verdict_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory"):
        written(tmp_path / "file" / "run", uneventful())


def test_the_same_run_gives_the_same_bundle_but_for_nothing(tmp_path: Path) -> None:
    """So a digest stands for a run, not for when or where it was written down."""
    assert written(tmp_path / "one", broken())[1].digest == written(tmp_path / "two", broken())[1].digest


def test_a_run_of_nothing_but_hostile_text_writes_everything(tmp_path: Path) -> None:
    _, done = written(tmp_path / "run", hostile())
    assert done.warnings == []


def test_the_terminal_says_where_the_report_is_and_by_which_digest_to_know_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "report.html").touch()
    show_written(make_console(), tmp_path, WriteResult("sha256:abc", [f"a warning {HOSTILE}"]))
    warning, *lines = capsys.readouterr().out.splitlines()
    assert warning.startswith("warning: a warning </pre>")
    assert "\x1b" not in warning
    assert lines[-3:] == [f"Results: {tmp_path}", f"Report: {tmp_path / 'report.html'}", "Bundle: sha256:abc"]


@pytest.mark.parametrize(
    "value", ['"hunter2"', "'hunter2'", '"""\nhunter2"""', "'''hunter2'''", '"a\\"hunter2"', "hunter2"]
)
@pytest.mark.parametrize(
    "line", ["REDIS_PASSWORD = {}", 'settings = {{ A = 1, "MY_TOKEN_2"={}, B = 2 }}', "A_SECRET ={} # x"]
)
def test_passwords_of_the_server_stay_out_of_the_bundle(tmp_path: Path, line: str, value: str) -> None:
    path = tmp_path / "scenario.toml"
    path.write_text(f"name = 'x'\n{line.format(value)}\nPORT = 1\n", encoding="utf-8")
    text = read_scenario(path)
    assert "hunter2" not in text
    redacted = line.format('"[redacted]"')
    assert text == f"name = 'x'\n{redacted}\nPORT = 1\n"
    path.write_text(text, encoding="utf-8")
    assert read_scenario(path) == text


def test_a_scenario_that_is_gone_leaves_an_empty_place(tmp_path: Path) -> None:
    assert read_scenario(tmp_path / "gone.toml") == ""
    (tmp_path / "odd.toml").write_bytes(b"name = '\xff'\r\n")
    assert read_scenario(tmp_path / "odd.toml") == "name = '\ufffd'\r\n"
    assert read_scenario(Path(os.devnull)) == ""
