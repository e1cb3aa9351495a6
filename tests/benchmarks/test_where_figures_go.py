"""A benchmark takes minutes, so where its figures cannot be written is said before them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from simulator.commands.bench import bench_app

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", ["heartbeat", "durable", "memory", "redis", "conduct", "rivals"])
@pytest.mark.parametrize(
    ("flag", "place", "why"),
    [
        ("--json", "folder", "is a folder: name a file to write the figures to"),
        ("--json", "file/figures.json", "results cannot be written to"),
        ("--out", "file/folder", "results cannot be written to"),
    ],
)
def test_figures_that_could_not_be_written_are_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, flag: str, place: str, why: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setattr("benchmarks.measuring.run", lambda *_: pytest.fail("it was measured"))
    result = CliRunner().invoke(bench_app, [name, flag, str(tmp_path / place)])
    assert result.exit_code == 2, result.output
    assert why in result.stderr
    assert (tmp_path / "file").read_text() == "not a folder"
