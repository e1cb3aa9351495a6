"""Variables that are called nearly as a flag's is: a misspelt target would be passed by in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reference_server.wire.slips import is_one_slip

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PREFIX = "HATCHFARM_"


def misspelt_variables(command: Any, environ: Mapping[str, str]) -> dict[str, str]:
    """Return variables that no flag of a command has, each with the unset one of a flag that it is one slip from."""
    known = {*_variables(command)}
    unset = sorted(known - environ.keys())
    others = sorted(name for name in environ.keys() - known if name.startswith(PREFIX))
    meant = {name: [one for one in unset if is_one_slip(name, one)] for name in others}
    return {name: found[0] for name, found in meant.items() if found}


def _variables(command: Any) -> Iterator[str]:
    """Yield the variables of a command's flags, and of the commands in it."""
    for inner in getattr(command, "commands", {}).values():
        yield from _variables(inner)
    for one in command.params:
        if one.envvar:
            yield one.envvar
