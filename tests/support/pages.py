"""What people read: the README and the pages of docs/, and what can be taken out of them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
}
"""Each page's text, by its path from the root."""
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def page(name: str) -> str:
    """Return a page of docs/ as it is written."""
    return PAGES[f"docs/{name}.md"]


def blocks(language: str) -> list[str]:
    """Return the blocks of a language, of all pages of docs/ and the README."""
    pages = [text for name, text in PAGES.items() if name != "CONTRIBUTING.md"]
    return [block for text in pages for kind, block in FENCE.findall(text) if kind == language]


def block(language: str, containing: str) -> str:
    """Return the one block that contains a text."""
    (one,) = [block for block in blocks(language) if containing in block]
    return one


def first_cells(text: str, heading: str) -> list[str]:
    """Return the first cells of the one table whose heading has this as its first cell."""
    (table,) = re.findall(rf"^\| {re.escape(heading)} \|[^\n]*\n\|[-|]+\|\n((?:\|[^\n]*\n)+)", text, re.MULTILINE)
    return [line.split(" | ")[0].strip("| ") for line in table.splitlines()]


def in_backticks(cells: list[str]) -> set[str]:
    """Return what stands in backticks in any of some cells."""
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
