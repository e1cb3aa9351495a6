"""On which line of a scenario file something stands, and what is wrong there. No I/O."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_HEADER = re.compile(r"\s*(\[\[?)([\w.\s-]+)\]")
_KEY = re.compile(r'\s*("[^"]*"|[\w.-]+)\s*=')
PLACE_MAX_CHARACTERS = 1000
"""Of a place whose line is looked for; each part of it may be looked up."""


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong, or worth a warning. `line` counts from 1, and is 0 where it is nobody's."""

    line: int
    what: str

    def at(self, path: Path | None) -> str:
        """Write it as compilers do, so that terminals and editors lead to the line."""
        if path is None:
            return f"line {self.line}: {self.what}" if self.line else self.what
        return f"{path}:{self.line}: {self.what}" if self.line else f"{path}: {self.what}"


def line_at(lines: Mapping[str, int], place: str) -> int:
    """Return the line of a key; of what it stands in, where it has no line of its own; or 0."""
    place = place.replace('"', "")[:PLACE_MAX_CHARACTERS]
    while place and place not in lines:
        place = place[: max(place.rfind("."), place.rfind("["), 0)]
    return lines[place] if place else 0


def lines_of(text: str) -> dict[str, int]:
    """Number the lines on which tables and keys begin, by place as messages name it."""
    lines: dict[str, int] = {}
    counts: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.split("\n"), 1):
        if header := _HEADER.match(line):
            table = ""
            for part in header[2].strip().split("."):
                if table in counts:
                    table += f"[{counts[table]}]"
                table = f"{table}.{part.strip()}".lstrip(".")
            lines.setdefault(table, number)
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table += f"[{counts[table]}]"
                lines[table] = number
        elif key := _KEY.match(line):
            lines.setdefault(f"{table}.{key[1]}".lstrip(".").replace('"', ""), number)
    return lines
