from __future__ import annotations

import hashlib
import pickle
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from simulator.checkers import CHECKERS, run_checkers
from simulator.report.figures import draw_plots
from tests.report import runs
from tests.support.chromium import chromium

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from simulator.checkers.bounds import ScrapeBounds
    from simulator.checkers.facts import Facts
    from simulator.checkers.verdict import Verdict
    from simulator.history.rows import History
    from simulator.report.drawing import Plot
    from simulator.report.report_input import ReportInput
    from tests.support.chromium import Browser


FIVE = ("alerts", "replay", "answers", "attacks", "generator")


@contextmanager
def five_checkers() -> Iterator[None]:
    """Have five checkers judge, whichever there are: hand-made histories tell what those need to know."""

    def judge(history: History, facts: Facts) -> list[Verdict]:
        return run_checkers(history, facts, {name: CHECKERS[name] for name in FIVE})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simulator.judging.judging.run_checkers", judge)
        yield


@pytest.fixture(scope="module", autouse=True)
def _five_checkers() -> Iterator[None]:
    with five_checkers():
        yield


@pytest.fixture(scope="session", autouse=True)
def _equal_runs_are_drawn_once(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[None]:
    """Keep the plots of pages for all processes of the session: to draw them takes seconds of CPU.

    test_report_plots proves that they come out the same.
    """
    own = tmp_path_factory.getbasetemp()
    kept = (own if worker_id == "master" else own.parent) / "plots"
    kept.mkdir(exist_ok=True)

    def drawn(report_input: ReportInput, bounds: list[ScrapeBounds]) -> list[Plot]:
        record, history = report_input.record, report_input.history
        drawn_of = (history.faults, history.deaths, history.wall_readings, report_input.verdict.attacks)
        key = pickle.dumps(
            (history.rows(), history.generator, bounds, record, report_input.scenario_text, drawn_of)
        )  # all that is drawn
        file = kept / hashlib.sha256(key).hexdigest()
        if not file.exists():
            written = file.with_suffix(f".{worker_id}")
            written.write_bytes(pickle.dumps(draw_plots(report_input, bounds)))
            written.rename(file)
        plots: list[Plot] = pickle.loads(file.read_bytes())  # noqa: S301 - written above
        return plots

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simulator.report.page.draw_plots", drawn)
        patch.setattr("simulator.comparing.side_by_side.draw_plots", drawn)
        yield


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A Chromium that nobody used before; one for all tests, because it takes a second to start."""
    with chromium(tmp_path_factory.mktemp("chromium")) as started:
        yield started


@pytest.fixture(scope="session")
def bundle_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run in which something failed, for everybody to copy."""
    folder = tmp_path_factory.mktemp("bundle") / "run"
    with five_checkers():
        runs.written(folder, runs.broken())
    return folder


@pytest.fixture
def bundle(bundle_once: Path, tmp_path: Path) -> Path:
    """The folder of a run in which something failed, as its scenario's only and latest run."""
    folder = tmp_path / "by-hand" / "2026-01-02T03-04-05.678"
    shutil.copytree(bundle_once, folder)
    (folder.parent / "latest").symlink_to(folder.name)
    return folder
