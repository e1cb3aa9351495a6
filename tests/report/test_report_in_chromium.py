"""`report.html` in a real browser: silent, offline, and readable on a phone."""

from __future__ import annotations

import functools
import http.server
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from simulator.report.page import report_page
from tests.report.runs import broken, failing, hostile, long_run, report_input, unknown, with_verdicts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.chromium import Browser, Visit

PHONE, DESK = 360, 1280
WIDTHS = (PHONE, 390, 768, DESK)
WIDTH = "document.documentElement.scrollWidth"
UNFOLD = "document.querySelectorAll('details').forEach(one => one.open = true)"
WIDER_THAN_THE_PAGE = """[...document.querySelectorAll('body *')]
  .filter(one => !one.closest('svg') && one.getBoundingClientRect().right > innerWidth + 0.5)
  .map(one => one.outerHTML.slice(0, 80))"""
SHOWN = "['wide', 'narrow'].filter(name => document.querySelector('.plot .' + name).offsetWidth > 0)"
CLIPPED_LABELS = """[...document.querySelectorAll('.plot svg')].filter(one => one.clientWidth > 0).flatMap(svg =>
  [...svg.querySelectorAll('text')].filter(text => {
    const [inner, outer] = [text.getBoundingClientRect(), svg.getBoundingClientRect()];
    return inner.left < outer.left - 2 || inner.right > outer.right + 2;
  }).map(text => text.textContent))"""
SMALLEST_LABEL = """Math.min(...[...document.querySelectorAll('.plot svg text')]
  .map(one => one.getBoundingClientRect().height).filter(height => height > 0))"""
CONTRAST = """(() => {
  const light = text => text.match(/[0-9.]+/g).slice(0, 3).map(Number)
    .map(one => one / 255).map(one => one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
    .reduce((sum, one, place) => sum + one * [0.2126, 0.7152, 0.0722][place], 0);
  const paper = light(getComputedStyle(document.documentElement).backgroundColor);
  const ratio = colour => { const [a, b] = [light(colour), paper].sort(); return (b + 0.05) / (a + 0.05); };
  return Math.min(...[...document.querySelectorAll('main p, main td, main th, main summary, main .status, main a')]
    .map(one => ratio(getComputedStyle(one).color)));
})()"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    made = {
        "broken": report_input(broken()),
        "unknown": report_input(unknown()),
        "hostile": report_input(hostile()),
        "long": report_input(long_run()),
        "many": with_verdicts(
            report_input(broken()), *(failing(f"a-checker-{number}", 20, request="x" * 3000) for number in range(9))
        ),
    }
    paths = {}
    for name, one in made.items():
        paths[name] = folder / f"{name}.html"
        paths[name].write_bytes(report_page(one))
    return paths


@contextmanager
def serving(handler: Any) -> Iterator[str]:
    """Serve files on loopback; gives the address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


NAMES = ("broken", "unknown", "hostile", "long", "many")


@pytest.fixture(scope="module")
def unfolded(browser: Browser, pages: dict[str, Path]) -> Callable[[str, int], Visit]:
    """Return what opens a page on a screen of a width and unfolds all of it, once: it takes a second of CPU."""

    def visit(name: str, width: int) -> Visit:
        return browser.visit(pages[name], width, unfold=UNFOLD, wide=WIDTH, wider=WIDER_THAN_THE_PAGE)

    return functools.cache(visit)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_it_opens_without_a_complaint_or_a_request(
    unfolded: Callable[[str, int], Visit], pages: dict[str, Path], name: str, width: int
) -> None:
    visit = unfolded(name, width)
    assert visit.requests == [pages[name].as_uri()]
    assert visit.complaints == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_screen(unfolded: Callable[[str, int], Visit], name: str, width: int) -> None:
    """Unfolded too."""
    visit = unfolded(name, width)
    assert visit.values["wide"] <= width
    assert visit.values["wider"] == []


@pytest.mark.parametrize(("width", "shape"), [(PHONE, "narrow"), (DESK, "wide")])
def test_plots_fit_the_screen_and_can_be_read(browser: Browser, pages: dict[str, Path], width: int, shape: str) -> None:
    visit = browser.visit(pages["long"], width, shown=SHOWN, clipped=CLIPPED_LABELS, smallest=SMALLEST_LABEL)
    assert visit.values["shown"] == [shape]
    assert visit.values["clipped"] == []
    assert visit.values["smallest"] > 9


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_stands_out_from_the_page_in_either_theme(browser: Browser, pages: dict[str, Path], *, dark: bool) -> None:
    """WCAG 2.2 asks for a contrast of 4.5 to 1."""
    visit = browser.visit(pages["broken"], DESK, dark=dark, contrast=CONTRAST)
    assert visit.values["contrast"] >= 4.5


def test_a_browser_that_is_asked_to_complain_does(browser: Browser, tmp_path: Path) -> None:
    """So that silence means something."""
    page = tmp_path / "loud.html"
    page.write_text(
        "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'\"><script>alert(1)</script>"
        "<img src=x.png><div style='width:2000px'>wide</div>",
        encoding="utf-8",
    )
    visit = browser.visit(page, PHONE, wide=WIDTH)
    assert len(visit.complaints) >= 2
    assert visit.values["wide"] > PHONE


def test_over_http_it_asks_for_nothing_but_itself(browser: Browser, pages: dict[str, Path]) -> None:
    """Not even for an icon. As CI systems show it."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_request(self, code: object = "-", size: object = "-") -> None:
            del code, size
            asked.append(self.path)

    folder = pages["broken"].parent
    with serving(functools.partial(Handler, directory=str(folder))) as base:
        visit = browser.visit(f"{base}/broken.html", DESK)
    assert (visit.complaints, asked) == ([], ["/broken.html"])
