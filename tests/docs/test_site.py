"""The site of the docs: every page is in it, it builds without a warning, and a browser has nothing to say about it."""

from __future__ import annotations

import functools
import http.server
import os
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.support.chromium import chromium
from tests.support.pages import PAGES, ROOT
from tests.support.tiers import SOAK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.chromium import Browser

BUILD_SECONDS = 300
needs_mkdocs = pytest.mark.skipif(find_spec("mkdocs") is None, reason="needs MkDocs: `make docs` adds it")
LOOKED_AT = ("reference/settings.html", "server.html")
"""One with wide tables, one with long lines of code; the soak looks at all pages."""
WIDTHS = (375, 1280)
WIDE = "document.documentElement.scrollWidth - innerWidth"
PAPER = "getComputedStyle(document.body).backgroundColor"
FINDINGS = """axe.run(document, {resultTypes: ["violations"]}).then(found => found.violations.map(
  one => one.id + ": " + one.nodes.map(node => node.html + " " + node.failureSummary).join("; ")))"""


def axe() -> str:
    package = find_spec("axe_core_python")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).with_name("axe.min.js").read_text(encoding="utf-8")


AXE = axe()
pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


def configuration() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8")))


def paths(nav: Any) -> list[str]:
    """Name the pages of a navigation, of all its levels."""
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [path for part in parts for path in paths(part)]


def test_the_sites_navigation_has_every_page_once() -> None:
    named = paths(configuration()["nav"])
    assert sorted(named) == sorted(name.removeprefix("docs/") for name in PAGES if name.startswith("docs/"))


def test_the_lock_pins_the_site_and_names_no_index() -> None:
    lock = (ROOT / "requirements-site.lock").read_text(encoding="utf-8")
    assert "mkdocs-material==" in lock
    assert "--hash=sha256:" in lock
    assert "index-url" not in lock.replace("--no-emit-index-url", "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build it where no network can be reached by accident: whatever is asked for goes to a port that nobody has."""
    folder = tmp_path_factory.mktemp("site")
    nowhere = {f"{scheme}_proxy": "http://127.0.0.1:9" for scheme in ("http", "https")}
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, **nowhere, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_SECONDS,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def looked_at(site: Path) -> list[str]:
    """Return the pages to look at: in a soak all that somebody opens, and none that a server gives in place of one."""
    if not SOAK:
        return [*LOOKED_AT]
    return sorted(str(path.relative_to(site)) for path in site.rglob("*.html") if path.name != "404.html")


@needs_mkdocs
def test_pages_are_silent_fetch_nothing_from_elsewhere_and_fit(browser: Browser, site: Path, address: str) -> None:
    """Read as files as well as from a server, on a phone and at a desk, light and dark; axe finds nothing."""
    screens = [(width, dark) for width in WIDTHS for dark in (False, True)]
    for number, name in enumerate(looked_at(site)):
        papers = set()
        for at, (width, dark) in enumerate(screens if SOAK else (screens[number % 2], screens[3 - number % 2])):
            origin = (address, site.as_uri())[at % 2]
            seen = browser.visit(
                f"{origin}/{name}", width, dark=dark, wide=WIDE, paper=PAPER, axe=f"{AXE};0", found=FINDINGS
            )
            elsewhere = [one for one in seen.requests if not one.startswith((origin, "data:"))]
            assert (name, width, dark, seen.complaints, elsewhere, seen.values["found"]) == (
                name,
                width,
                dark,
                [],
                [],
                [],
            )
            assert seen.values["wide"] <= 0, (name, width)
            papers.add((dark, seen.values["paper"]))
        assert len({paper for _, paper in papers}) == 2, (name, papers)


@needs_mkdocs
def test_a_page_is_found_by_a_word_in_it(browser: Browser, address: str) -> None:
    with browser.tab(f"{address}/index.html", 1280):
        browser.evaluate("document.querySelector('[data-md-toggle=search]').click()")
        browser.write("[data-md-component=search-query]", "nonce_replayed")
        browser.wait("document.querySelector('.md-search-result__link[href*=prometheus]')", 60)
        assert browser.seen().complaints == []
