"""What stands in braces in a server's command: a variable of its environment, its name in lower case. No I/O."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_PLACEHOLDER = re.compile(r"(?<!\$)\{([a-z][a-z0-9_]*)\}")
"""Not behind a `$`, where it is a shell's."""


def variables_in(text: str) -> list[str]:
    """Return the names of the variables that a text has placeholders of, as `PORT` for `{port}`."""
    return [name.upper() for name in _PLACEHOLDER.findall(text)]


def filled(text: str, environ: Mapping[str, str]) -> str:
    """Return a text with each placeholder replaced by its variable, by nothing where that is not set."""
    return _PLACEHOLDER.sub(lambda found: environ.get(found[1].upper(), ""), text)
