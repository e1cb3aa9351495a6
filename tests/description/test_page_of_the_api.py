"""The page that shows the API to people: it is all of this server, and says what the document does."""

from __future__ import annotations

import gzip
import json
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from reference_server.about import described_api
from tests.core.server_under_test import Server
from tests.load.processes import serving
from tests.support.chromium import chromium

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.chromium import Browser

WIDTHS = (1280, 390)
SHOWN = "document.querySelectorAll('.opblock').length"
SHOWN_SECONDS = 60.0
OPERATIONS = sum(map(len, described_api()["paths"].values()))


class References(HTMLParser):
    """What a page loads or leads to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, _tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in {"src", "href"}]


def test_the_page_is_of_this_server_alone() -> None:
    server, references = Server(), References()
    page = server.send("GET", "/docs", prefix="")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    references.feed(page.body.decode())
    for reference in references.found:
        if not reference.startswith("data:"):
            assert server.send("GET", reference, prefix="").status == 200, reference


@pytest.mark.parametrize("path", ["/docs", "/docs/start.js", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js"])
def test_its_files_say_what_they_are_and_may_load_nothing_else(path: str) -> None:
    answer = Server().send("GET", path, prefix="")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert re.findall(r"(?:https?:|\*)", policy) == []
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.body


@pytest.mark.parametrize("path", ["/docs", "/docs/start.js", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js"])
def test_who_reads_gzip_is_sent_the_same_in_it(path: str) -> None:
    server = Server()
    plain = server.send("GET", path, prefix="")
    packed = server.send("GET", path, None, {"accept-encoding": "br, gzip"}, prefix="")
    assert (packed.headers["content-encoding"], gzip.decompress(packed.body)) == ("gzip", plain.body)
    assert "content-encoding" not in plain.headers


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("GZIP", "gzip"),
        ("br;q=1, gzip;q=0.001", "gzip"),
        ("gzip;q=0", None),
        ("deflate, gzip ; q=0.000", None),
        ("identity", None),
        ("notgzip", None),
    ],
)
def test_who_refuses_gzip_is_not_sent_it(accepted: str, coding: str | None) -> None:
    answer = Server().send("GET", "/docs", None, {"accept-encoding": accepted}, prefix="")
    assert answer.headers.get("content-encoding") == coding


def test_no_other_file_of_the_package_is_served() -> None:
    for path in ("/docs/", "/docs/LICENSE", "/docs/swagger-ui.js", "/docs/../app.py", "/docs/index.html"):
        assert Server().send("GET", path, prefix="").status == 404


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as started:
        yield started


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving({"HATCHFARM_API_TOKEN": "owners-token", "WORKER_STATUS_STATE_FILE": ""}) as url:
        yield url


@pytest.mark.parametrize("width", WIDTHS)
def test_a_browser_shows_every_operation_and_asks_nobody_else(browser: Browser, url: str, width: int) -> None:
    with browser.tab(f"{url}/docs", width):
        browser.wait(f"{SHOWN} === {OPERATIONS}", SHOWN_SECONDS)
        visit = browser.seen()
    hosts = {request.split("/")[2] for request in visit.requests if not request.startswith("data:")}
    assert hosts == {url.split("/")[2]}
    assert [json.loads(one) for one in visit.complaints] == []
