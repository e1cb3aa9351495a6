"""The console that commands print to. It imports nothing that only runs need, so that `serve` starts quickly."""

from __future__ import annotations

import os
import sys
from typing import IO, Any, cast

from rich.console import Console
from rich.rule import Rule

from simulator.platform.standard_streams import steady

PLAIN_COLUMNS = 1000
"""The width outside of a terminal: each verdict stays on one line."""
RULE_COLUMNS = 100
"""The greatest width of a horizontal rule, outside of a terminal."""


class _Unpadded:
    """A text stream that drops the trailing spaces with which Rich pads lines of tables. Rich writes whole lines."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write `text` without spaces at the ends of lines."""
        *lines, rest = text.split("\n")
        self._stream.write("".join(f"{line.rstrip(' ')}\n" for line in lines) + rest)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        """Return any other attribute of the stream."""
        return getattr(self._stream, name)


def make_console() -> Console:
    """Make the console: animation only on a terminal, colours only there and without NO_COLOR. Printing never fails.

    Outside of a terminal, lines are neither wrapped nor padded.
    """
    console = Console(
        file=steady(sys.stdout), no_color=bool(os.environ.get("NO_COLOR")), highlight=False, soft_wrap=True, emoji=False
    )
    if not console.is_terminal:
        console.width = PLAIN_COLUMNS
        console.file = cast("IO[str]", _Unpadded(console.file))
    return console


def print_rule(console: Console, title: str) -> None:
    """Draw a horizontal rule with a title, as wide as the terminal, or RULE_COLUMNS outside of one."""
    console.print(Rule(title), width=min(console.width, RULE_COLUMNS) if not console.is_terminal else None)
