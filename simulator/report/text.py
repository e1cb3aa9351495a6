"""Text from servers made fit to be shown: nothing in it acts on a terminal, a page, a table or a parser.

A server under test chooses its error messages, ids and metric names, so all of them are taken for hostile.
"""

from __future__ import annotations

import re

from reference_server.wire.visible_text import visible
from simulator.platform.wording import plural

_MARKDOWN = re.compile(
    r"[\\`*{}\[\]<>&#|~@$^]"  # what may begin something anywhere
    r"|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])"  # emphasis, which cannot begin or end inside a word
    r"|:(?=\S)|(?<=www)\."  # addresses that become links by themselves, and emoji
    r"|^[-+=]|^[0-9]+(?=[.)](?:\s|$))",  # lists and headings, which begin a line
    re.IGNORECASE,
)
_COMMAND = re.compile(r"::(?=[A-Za-z])|##\[")
"""What makes GitHub Actions take a line for a command, indented or not: of the second, anywhere in it."""


def one_line(text: str) -> str:
    """Do the same for a place with a single line."""
    return visible(text).replace("\n", "\\n").replace("\t", " ")


def printed(text: str) -> str:
    r"""Do the same for a line of a log, in which no CI job finds a command: `::error` becomes `\x3a:error`.

    Wherever it stands in a line, for a table breaks lines where it likes.
    """
    return _COMMAND.sub(lambda match: f"\\x{ord(match[0][0]):02x}{match[0][1:]}", one_line(text))


def shortened(text: str, length: int) -> str:
    """Cut a text, and say how much is missing."""
    return text if len(text) <= length else f"{text[:length]} … ({plural(len(text) - length, 'more character')})"


def markdown(text: str) -> str:
    """Write a text so that Markdown shows it as it is, on one line, in a table's cell or outside of one.

    HTML entities, because a backslash does not keep a pipe from ending a cell everywhere.
    """
    return _MARKDOWN.sub(lambda match: "".join(f"&#{ord(one)};" for one in match[0]), one_line(text))
