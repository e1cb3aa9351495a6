"""Reports and comparisons in Chromium: at a phone's width and a desk's, light and dark, axe finds nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from simulator.comparing.deciding import Tolerance
from simulator.comparing.page import comparison_page
from simulator.comparing.runs import Run, compare_runs
from simulator.comparing.side_by_side import side_by_side
from simulator.report.page import report_page
from tests.report.runs import broken, report_input, uneventful
from tests.support.axe import FINDINGS, axe
from tests.support.tiers import SOAK

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.chromium import Browser

pytestmark = pytest.mark.long
PHONE, DESK = 375, 1280
SCREENS = [(PHONE, True), (DESK, False)]
"""Ordinarily: what is wrong with a width or a theme shows on one of them."""
ALL_SCREENS = [(width, dark) for width in (PHONE, DESK) for dark in (False, True)]
UNFOLD = "document.querySelectorAll('details').forEach(one => one.open = true)"
WIDTH = "document.documentElement.scrollWidth"
POINTED_AT = """(rect => { const box = rect.getBoundingClientRect();
  const found = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
  return found === rect && found.querySelector('title').textContent; })([...document.querySelectorAll('.hover rect')]
  .find(one => one.getBoundingClientRect().width > 0 && (one.scrollIntoView({block: 'center'}), true)))"""
FILES = ("verdict.json", "history/rows.npz")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    sides = [report_input(uneventful()), report_input(broken())]
    runs = [Run(name, one.verdict, one.record, one.history) for name, one in zip(("old", "new"), sides, strict=True)]
    made = {
        "report": report_page(type(sides[1])(sides[1].verdict, *broken(), sides[1].scenario_text, FILES)),
        "comparison": comparison_page(compare_runs(runs[0], runs[1], "now", Tolerance()), side_by_side(*sides)),
    }
    paths = {name: folder / f"{name}.html" for name in made}
    for name, page in made.items():
        paths[name].write_bytes(page)
    return paths


@pytest.mark.parametrize("name", ["report", "comparison"])
@pytest.mark.parametrize(("width", "dark"), ALL_SCREENS if SOAK else SCREENS)
def test_axe_finds_nothing_and_nothing_is_wider_than_the_screen(
    browser: Browser, pages: dict[str, Path], name: str, width: int, *, dark: bool
) -> None:
    visit = browser.visit(pages[name], width, dark=dark, unfold=UNFOLD, wide=WIDTH, axe=f"{axe()};0", found=FINDINGS)
    assert visit.values["found"] == []
    assert visit.values["wide"] <= width
    assert visit.requests == [pages[name].as_uri()]


@pytest.mark.parametrize("name", ["report", "comparison"])
def test_a_page_opens_without_a_complaint_and_what_is_pointed_at_has_words(
    browser: Browser, pages: dict[str, Path], name: str
) -> None:
    visit = browser.visit(pages[name], DESK, pointed=POINTED_AT)
    assert visit.complaints == []
    assert "attack: replay.exact" in visit.values["pointed"]


def test_axe_finds_what_is_wrong(browser: Browser, tmp_path: Path) -> None:
    """So that nothing found means something."""
    page = tmp_path / "wrong.html"
    page.write_text("<!doctype html><html><body><img src='data:,'></body></html>", encoding="utf-8")
    assert len(browser.visit(page, DESK, axe=f"{axe()};0", found=FINDINGS).values["found"]) >= 2
