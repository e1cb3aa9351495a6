"""`hatchfarm report --compare` and `--open`: two runs side by side, and a page in a browser."""

from __future__ import annotations

import re
import webbrowser
from typing import TYPE_CHECKING

import pytest

from simulator.bundle import manifest
from simulator.comparing.deciding import Tolerance
from simulator.comparing.page import comparison_page
from simulator.comparing.runs import Run, compare_runs
from simulator.comparing.side_by_side import side_by_side
from simulator.report.drawing import Plot
from tests.report.pages import Page
from tests.report.runs import report_input, uneventful, written
from tests.report.test_report_commands import hatchfarm

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.report.report_input import ReportInput


@pytest.fixture
def older(bundle: Path) -> Path:
    """Return a run in which everything held, beside the one in which something failed."""
    folder = bundle.parent / "2026-01-01T00-00-00.000"
    written(folder, uneventful(started_at="2026-01-01T00:00:00.000+00:00", seed=6))
    return folder


def test_two_runs_stand_side_by_side(bundle: Path, older: Path) -> None:
    before = {path: path.read_bytes() for path in bundle.parent.rglob("*") if path.is_file()}
    code, lines, complaints = hatchfarm("report", bundle, "--compare", older)
    path = bundle.parent / f"{bundle.name}-against-{older.name}.html"
    assert (code, lines, complaints) == (0, [f"Comparison: {path}"], "")
    page = Page(path.read_text(encoding="utf-8"))
    assert page.texts("h2")[-3:] == ["Requests", "Side by side", "What they were run with"]
    assert "seed67" in page.texts("tr")
    images = [one for one in page.all("div") if one.attributes.get("role") == "img"]
    assert len(images) == 2 * len(page.texts("h3"))
    identifiers = [one.attributes["id"] for one in page.elements if "id" in one.attributes]
    assert len(identifiers) == len(set(identifiers))
    used = set(re.findall(r'(?:href="|url\()#([^)"]+)', page.source))
    assert used <= set(identifiers)
    assert {path: path.read_bytes() for path in before} == before


def test_a_comparison_goes_where_it_is_sent_and_what_cannot_be_compared_is_named(bundle: Path, older: Path) -> None:
    elsewhere = bundle.parent.parent / "elsewhere"
    assert hatchfarm("report", bundle, HATCHFARM_REPORT_COMPARE=str(older), HATCHFARM_REPORT_TO=str(elsewhere))[0] == 0
    assert len(list(elsewhere.iterdir())) == 1
    code, lines, complaints = hatchfarm("report", bundle, "--compare", "gone")
    assert (code, lines, complaints) == (2, [], "hatchfarm report: gone is no folder of results\n")


def test_a_run_with_less_than_another_is_compared_by_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of an earlier version has no data for some plots, and says less of what it was run with."""

    def drawn(made: ReportInput, bounds: list[object]) -> list[Plot]:
        assert len(bounds) == len(made.history.scrapes)
        return [Plot(name, "", name, "<svg></svg>", "<svg></svg>") for name in ("Rate", *(["Alert"] if bounds else []))]

    monkeypatch.setattr("simulator.comparing.side_by_side.draw_plots", drawn)
    run, history = uneventful()
    history.scrapes.clear()
    before, after = report_input((run, history)), report_input(uneventful(memory_max_bytes=54_000_000))
    found = side_by_side(before, after)
    assert [(one.title, one.before is None, one.after is None) for one in found.plots] == [
        ("Rate", False, False),
        ("Alert", True, False),
    ]
    assert ("most memory of a server", "", "54.0 MB") in found.facts
    runs = [Run(name, one.verdict, one.record, one.history) for name, one in (("a", before), ("b", after))]
    page = Page(comparison_page(compare_runs(runs[0], runs[1], "now", Tolerance()), found).decode())
    assert "The run before has no data for it." in page.texts("p")
    assert "most memory of a servernot known54.0 MB" in page.texts("tr")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the addresses that a browser was given."""
    addresses: list[str] = []

    def note(address: str) -> bool:
        addresses.append(address)
        return True

    monkeypatch.setattr(webbrowser, "open", note)
    return addresses


def test_open_opens_the_page_once_it_is_made(bundle: Path, opened: list[str]) -> None:
    assert hatchfarm("report", bundle, "--open")[0] == 0
    assert opened == [(bundle / "report.html").as_uri()]
    assert hatchfarm("verify", bundle)[0] == 0
    assert manifest.differences(manifest.read_manifest(bundle)[0], bundle) == []


@pytest.mark.parametrize(("name", "opens"), [("report.html", False), ("junit.xml", True)])
def test_a_page_of_before_is_not_opened_for_one_that_could_not_be_made(
    bundle: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch, name: str, *, opens: bool
) -> None:
    def cannot(_: object) -> bytes:
        raise ValueError("no ink")

    assert hatchfarm("report", bundle)[0] == 0
    monkeypatch.setattr("simulator.report.views.VIEWS", {name: cannot})
    assert hatchfarm("report", bundle, "--open")[0] == 1
    assert opened == ([(bundle / "report.html").as_uri()] if opens else [])


def test_nothing_is_opened_unasked(bundle: Path, opened: list[str]) -> None:
    hatchfarm("report", bundle)
    assert opened == []


@pytest.mark.parametrize("way", ["says no", "raises"])
def test_without_a_browser_it_says_what_to_do(bundle: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    def no(_address: str) -> bool:
        if way == "raises":
            raise webbrowser.Error("none")
        return False

    monkeypatch.setattr(webbrowser, "open", no)
    code, lines, complaints = hatchfarm("report", bundle, "--open")
    assert code == 2
    assert lines[1] == f"Report: {bundle / 'report.html'}"
    assert complaints == (
        f"hatchfarm report: no browser could be started: open {bundle / 'report.html'} yourself, "
        "or name one in the variable BROWSER\n"
    )
