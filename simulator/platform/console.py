"""The console that commands print to. It loads nothing that only runs need: a server starts at once."""

from __future__ import annotations

import os
import sys
from typing import IO, Any, cast

from rich.console import Console
from rich.rule import Rule

from simulator.platform.standard_streams import steady

PLAIN_COLUMNS = 1000
"""Off a terminal a verdict is one line, whatever its length."""
RULE_COLUMNS = 100
"""What of it a rule takes, which says nothing by its length."""


class _Unpadded:
    """A text stream without the spaces by which tables fill their lines. Rich writes whole lines."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write it without the spaces at the ends of lines."""
        *lines, rest = text.split("\n")
        self._stream.write("".join(f"{line.rstrip(' ')}\n" for line in lines) + rest)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        """Be the stream in everything else."""
        return getattr(self._stream, name)


def make_console() -> Console:
    """Make the console: movement on a terminal only, and colours there without NO_COLOR. Printing to it never fails.

    What is no terminal gets lines as long as they are, which end where their text does.
    """
    console = Console(
        file=steady(sys.stdout), no_color=bool(os.environ.get("NO_COLOR")), highlight=False, soft_wrap=True, emoji=False
    )
    if not console.is_terminal:
        console.width = PLAIN_COLUMNS
        console.file = cast("IO[str]", _Unpadded(console.file))
    return console


def print_rule(console: Console, title: str) -> None:
    """Draw a line with a title, as wide as a terminal, and no wider than a page elsewhere."""
    console.print(Rule(title), width=min(console.width, RULE_COLUMNS) if not console.is_terminal else None)
