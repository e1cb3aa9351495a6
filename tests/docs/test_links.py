"""Every link of the pages leads to a file or heading that there is, and every page can be reached from the README."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from tests.support.pages import FENCE, PAGES, ROOT

README_BYTES_MAX = 6 * 1024
LINK = re.compile(r"(?<!\\)!?\[(?:[^][]|\[[^][]*\])*\]\(([^)\s]+)\)")
CODE = re.compile(r"`[^`\n]+`")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
EVERYWHERE = re.compile(r"https?://")


def prose(text: str) -> str:
    """Return a page without what stands in it as code."""
    return CODE.sub("", FENCE.sub("", text))


def anchors(text: str) -> set[str]:
    """Return a page's anchors, as forges and the site make them of headings; both must agree."""
    found = [re.sub(r"[^\w\- ]", "", heading.lower()).strip() for heading in HEADING.findall(FENCE.sub("", text))]
    return {heading.replace(" ", "-") for heading in found if "  " not in heading and "--" not in heading}


def targets(name: str, text: str) -> list[tuple[str, str]]:
    """Return where a page's own links lead: a path from the root, and an anchor or nothing."""
    found = []
    for link in LINK.findall(prose(text)):
        if EVERYWHERE.match(link):
            continue
        path, _, anchor = link.partition("#")
        parts: list[str] = []
        for part in (PurePosixPath(name).parent / path).parts if path else PurePosixPath(name).parts:
            parts = parts[:-1] if part == ".." else [*parts, part]
        found.append(("/".join(parts), anchor))
    return found


def broken(pages: dict[str, str]) -> list[str]:
    """Name the links that lead nowhere."""
    return [
        f"{name}: {path}#{anchor}"
        for name, text in pages.items()
        for path, anchor in targets(name, text)
        if not (path in pages or (ROOT / path).is_file()) or (anchor and anchor not in anchors(pages.get(path, "")))
    ]


def test_every_link_leads_somewhere() -> None:
    assert sum(len(targets(name, text)) for name, text in PAGES.items()) > 50
    assert broken(PAGES) == []


def test_a_link_that_leads_nowhere_is_found() -> None:
    pages = {
        "docs/a.md": "# A\n\n[b](b.md#two) [c](c.md) [d](b.md#three) [top](#a) ![e](none.svg) `[f](none.md)`\n",
        "docs/b.md": "# B\n\n## Two\n\n[up](../README.md)\n",
    }
    assert broken(pages) == ["docs/a.md: docs/c.md#", "docs/a.md: docs/b.md#three", "docs/a.md: docs/none.svg#"]


def test_pages_of_the_site_link_to_nothing_outside_of_it() -> None:
    """Whoever reads the site has nothing but the site."""
    outside = [
        (name, path)
        for name, text in PAGES.items()
        if name.startswith("docs/")
        for path, _ in targets(name, text)
        if not path.startswith("docs/")
    ]
    assert outside == []


def test_every_page_can_be_reached() -> None:
    reached, todo = set(), ["README.md"]
    while todo:
        name = todo.pop()
        if name not in reached:
            reached.add(name)
            todo += [path for path, _ in targets(name, PAGES[name]) if path in PAGES]
    # The site's own first page has the README's place there.
    assert set(PAGES) - reached == {"docs/index.md"}


def test_the_first_page_of_the_site_names_every_page() -> None:
    named = {path for path, _ in targets("docs/index.md", PAGES["docs/index.md"])}
    assert named >= {name for name in PAGES if name.startswith("docs/") and name.count("/") == 1} - {"docs/index.md"}


def test_every_page_begins_with_its_title_and_says_what_it_is_about() -> None:
    wrong = [
        name
        for name, text in PAGES.items()
        if not re.match(r"# [^\n]+\n\n[A-Za-z`*][^\n]+\n", text)
        or len(re.findall(r"^# ", FENCE.sub("", text), re.MULTILINE)) != 1
    ]
    assert wrong == []


def test_the_readme_is_short_and_begins_with_two_commands() -> None:
    readme = PAGES["README.md"]
    assert len(readme.encode()) <= README_BYTES_MAX
    first = FENCE.findall(readme)[0][1]
    assert [line.split("#")[0].strip() for line in first.splitlines()] == ["make demo", "make test"]
