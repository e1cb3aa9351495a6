"""Text that others chose, made fit to be shown to people: nothing in it acts on a page or a terminal."""

from __future__ import annotations

import re
import unicodedata

_PLAIN = re.compile(r"[\n\t -~]*")
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Controls, formats (they turn the direction of text, or have no width), surrogates, what is no character, and line
ends that only some programs know."""


def visible(text: str) -> str:
    r"""Write every character that is not seen as an escape, like `\x1b`; line feeds and tabs stay.

    What is left is also all that XML 1.0 and UTF-8 allow.
    """
    if _PLAIN.fullmatch(text):
        return text
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in _HIDDEN:
        return character
    code = ord(character)
    if code <= 0xFF:  # noqa: PLR2004 - two digits hold it
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - four digits hold it
