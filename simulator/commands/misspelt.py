"""Variables that are called nearly as a flag's is: a misspelt target would be passed by in silence."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from reference_server.settings import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PREFIX = "HATCHFARM_"
ALIKE = 0.85
"""How alike what comes after the prefix must be, from 0 to 1: the tests' own variables and a run's are no flags."""


def misspelt_variables(command: Any, environ: Mapping[str, str]) -> dict[str, str]:
    """Return variables that no flag of a command has, each with the unset one of a flag that it nearly is called."""
    known = {*_variables(command), *(one.variable for one in SETTINGS)}
    unset = [name.removeprefix(PREFIX) for name in sorted(known - environ.keys()) if name.startswith(PREFIX)]
    found = {}
    for name in sorted(environ.keys() - known):
        if name.startswith(PREFIX):
            for meant in difflib.get_close_matches(name.removeprefix(PREFIX), unset, 1, ALIKE):
                found[name] = PREFIX + meant
    return found


def _variables(command: Any) -> Iterator[str]:
    """Yield the variables of a command's flags, and of the commands in it."""
    for inner in getattr(command, "commands", {}).values():
        yield from _variables(inner)
    for one in command.params:
        if one.envvar:
            yield one.envvar
