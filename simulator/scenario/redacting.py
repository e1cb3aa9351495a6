"""What may be secret is taken out of a scenario's text, which stays TOML where it was. No I/O."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

from simulator.platform.secret_names import SECRET_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

REDACTED = "[redacted]"
_PIECE = re.compile(  # backtracking: every character is of one piece, and no piece gives any back
    r'(?P<text>"{3}(?:[^\\"]|\\.|"(?!""))*+"{0,5}|\'{3}(?:[^\']|\'(?!\'\'))*+\'{0,5}'
    r'|"(?:[^"\\\n]|\\[^\n])*+"?|\'[^\'\n]*+\'?)'
    r"|(?P<comment>\#[^\n]*+)|(?P<space>\s++)|(?P<word>[^\s\"'\#=,\[\]{}]++)|(?P<sign>.)",
    re.DOTALL,
)
"""A text ends at the first mark that closes it; an open one ends with the line, or with the file."""
_MARK = re.compile("\"{3}|'{3}|\"|'")
_VARIABLE = re.compile(r""""\$\{\w+\}"|'\$\{\w+\}'""")
"""The name of a variable is no secret; a default may be one."""
_ASSIGNMENT = re.compile(r"""(?<![\w-])([\w-]++)((?:\\?["'])?\s*+=\s*+)(\\"[^"\\\n]*+\\"|"[^"\n]*+"|'[^'\n]*+'|\S++)""")
"""As people and shells write one, in a comment or within a text."""
_NAMED = re.compile(r"""["']?(?:\$(?:\w+|\{\w+\})|\{[a-z][a-z0-9_]*\})["',;)]*""")
"""A value that only names a variable: a shell's, or a placeholder."""


def without_secrets(text: str) -> str:
    """Return a scenario's text without the values whose keys may be a secret's, by their names.

    Comments and texts lose what they assign to such a name. What is no TOML is read as far as it is like it.
    """
    return "".join(_redacted(text))


def without_assignments(prose: str) -> str:
    """Return a text without what it assigns to a name that may be a secret's, names of variables apart."""

    def kept(found: re.Match[str]) -> str:
        name, sign, value = found.groups()
        if not SECRET_NAME.search(name) or _NAMED.fullmatch(value):
            return found[0]
        return f"{name}{sign}{REDACTED}"

    return _ASSIGNMENT.sub(kept, prose)


def _redacted(text: str) -> Iterator[str]:
    """Yield the pieces of a text, what may be secret replaced."""
    key = ""
    hidden, depth = False, 0
    for piece in _PIECE.finditer(text):
        kind, written = piece.lastgroup, piece[0]
        if kind in ("text", "word"):
            key = written
            if hidden:
                yield written if _VARIABLE.fullmatch(written) else f'"{REDACTED}"'
            else:
                yield _text_without_assignments(written) if kind == "text" else written
            hidden = depth > 0
            continue
        yield without_assignments(written) if kind == "comment" else written
        if written == "=":
            hidden = hidden or SECRET_NAME.search(_name(key)) is not None
        elif hidden and written in ("[", "{"):
            depth += 1
        elif hidden and written in ("]", "}"):
            depth = max(0, depth - 1)
            hidden = depth > 0


def _name(key: str) -> str:
    """Return the name that the last part of a key stands for."""
    if key[0:1] not in ('"', "'"):
        return key.rpartition(".")[2]
    try:
        return next(iter(tomllib.loads(f"{key} = 0")))
    except ValueError:
        return key.strip("\"'")


def _text_without_assignments(written: str) -> str:
    opening = _MARK.match(written)
    mark = "" if opening is None else opening[0]
    inner = written[len(mark) :].removesuffix(mark)
    return f"{mark}{without_assignments(inner)}{written[len(mark) + len(inner) :]}"
