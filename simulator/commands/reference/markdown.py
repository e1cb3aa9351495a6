"""Writing Markdown that forges and the site read alike: text that means nothing there, code, tables, pages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_CODE = re.compile(r"(`[^`]+`)")
_MEANS_SOMETHING = re.compile(r"([\\*|\[\]<>])")


def prose(text: str) -> str:
    """Return text in which only what stands in backticks means anything, in one line."""
    parts = _CODE.split(" ".join(text.split()))
    return "".join(code(part[1:-1]) if _CODE.fullmatch(part) else _MEANS_SOMETHING.sub(r"\\\1", part) for part in parts)


def code(text: str) -> str:
    """Return text as code, also where it has a bar and stands in a table."""
    if not text:
        return ""
    if "|" not in text:
        return f"`{text}`"
    shown = text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "&#124;")
    return f"<code>{shown}</code>"


def sentence(text: str) -> str:
    """Return text that begins as a sentence does and ends as one."""
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) or not text else f"{text}."


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table, of cells that are Markdown already."""
    lines = [" | ".join(cells).replace("|  |", "| |") for cells in (heading, *rows)]
    first, *rest = [f"| {line} |".replace("|  ", "| ").replace("  |", " |") for line in lines]
    return "\n".join([first, f"|{'---|' * len(heading)}", *rest])


def page(title: str, *blocks: str) -> str:
    """Return a page that says of itself where it comes from."""
    made = "<!-- Made from the code by `make reference`; whatever is changed here is lost. -->"
    return "\n\n".join([f"# {title}", *blocks, made]) + "\n"
