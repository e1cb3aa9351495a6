"""How a test looks at the pages for people: as a browser would ask for them, and what then stands in them."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING

from tests.logins.browsing import SAME_ORIGIN

if TYPE_CHECKING:
    from tests.core.server_under_test import Answer
    from tests.logins.browsing import Browser

PAGES = ("/", "/my/fleet", "/my/jobs", "/my/wallet", "/my/audit", "/my/key")
VOID = {"meta", "link", "br", "path", "rect", "option"}


class Page(HTMLParser):
    """A page: its tags with their attributes, its text, and the rows of its tables as the texts of their cells."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.status = answer.status
        self.headers = answer.headers
        self.source = answer.body.decode()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.styles: list[str] = []
        self.rows: list[list[str]] = []
        self._open: list[str] = []
        self.feed(self.source)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in {"th", "td"}:
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "style":
            self.styles.append(data)
            return
        self.text += data
        if {"th", "td"} & {*self._open}:
            self.rows[-1][-1] += data

    def links(self) -> list[str]:
        return [attrs["href"] for tag, attrs in self.tags if tag == "a"]

    def forms(self) -> list[tuple[str, str]]:
        return [(attrs["method"], attrs["action"]) for tag, attrs in self.tags if tag == "form"]

    def secret(self) -> str:
        """Return the key that the page shows; nothing where it shows none."""
        _, _, after = self.source.partition('<pre class="secret"')
        return after.partition(">")[2].partition("<")[0]


async def look(browser: Browser, path: str = "/", query: str = "") -> Page:
    """Look at a page."""
    return Page(await browser.ask("GET", path, query=query, prefix=""))


async def post(browser: Browser, path: str) -> Page:
    """Send a form, and follow the redirect, as browsers do."""
    answer = await browser.ask("POST", path, SAME_ORIGIN, prefix="")
    if answer.status != 303:
        return Page(answer)
    assert answer.body == b""
    return await look(browser, answer.headers["location"])
