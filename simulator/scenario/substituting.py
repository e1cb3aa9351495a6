"""Substituting values of a right shape in a scenario's table, so that one fault hides no other. No I/O."""

from __future__ import annotations

import difflib
import re
from typing import Any

import msgspec

from simulator import limits
from simulator.scenario.places import kind_at, typed
from simulator.scenario.values import Scenario

_SAMPLES: dict[str, Any] = {
    "version": 1, "name": "replay.exact", "duration": "168h", "fleet": {"machines": limits.MACHINES_MAX},
    "machines": limits.MACHINES_MAX, "target": 0, "share": 0.0, "at": "0s", "by": "1s", "start": "0s", "rate": 1,
    "user": "owner-dashboard", "kind": "server.kill", "redis": True, "durable": True, "tls": True,
}  # fmt: skip
"""What stands in for a key that must be there, so that nothing else seems wrong beside it."""


def _struct_in(kind: Any) -> type[msgspec.Struct] | None:
    """Find the struct within a field's type: itself, or that of its items."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind
    return next(filter(None, map(_struct_in, getattr(kind, "__args__", ()))), None)


def known_keys(place: str) -> list[str]:
    """Name the keys a table of the file may have, by asking the struct behind it."""
    kind: type[msgspec.Struct] | None = Scenario
    for part in filter(None, re.sub(r"\[[0-9]+\]", "", place).split(".")):
        fields = {field.encode_name: field.type for field in msgspec.structs.fields(kind)} if kind else {}
        kind = _struct_in(fields.get(part))
    return [field.encode_name for field in msgspec.structs.fields(kind)] if kind else []


def substitute(table: dict[str, Any], place: str) -> bool:
    """Put a sample of a right shape at a place, or nothing where none is needed; return whether that was possible."""
    section, quote, rest = place.partition('."')
    parts = [part for part in re.split(r"[.\[\]]+", section) if part]
    parts += [rest.rpartition('"')[0]] if quote else []
    value: Any = table
    for part in parts[:-1]:
        inside = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            inside = value[int(part)]
        value = inside
    if not parts:
        return False
    if isinstance(value, list) and parts[-1].isdecimal() and int(parts[-1]) < len(value):
        del value[int(parts[-1]) :]  # the numbers of those behind it would no longer be those of the file
        return True
    if not isinstance(value, dict):
        return False
    keys = known_keys(section.rpartition(".")[0])
    if not quote and keys and parts[-1] not in keys and parts[-1] in value:
        meant = difflib.get_close_matches(parts[-1], keys, 1, 0.5)
        given = value.pop(parts[-1])
        if meant and meant[0] not in value:
            # A flag's value is a text until it is known where it goes.
            kind = kind_at((*parts[:-1], meant[0]))
            value[meant[0]] = typed(given, kind) if isinstance(given, str) else given
        return True
    sample = _SAMPLES.get(parts[-1])
    before = value.get(parts[-1])
    if quote or sample is None or (before == sample and type(before) is type(sample)):  # `true` equals 1
        return value.pop(parts[-1], None) is not None
    value[parts[-1]] = {**sample} if isinstance(sample, dict) else sample
    return True


def comes_of(place: str, substituted: str) -> bool:
    """Return whether a problem may come of the substitution alone: at that place, in it, or in the same list item."""
    parent = substituted[: max(substituted.rfind("."), 0)]
    if substituted == "server.instances" and place.endswith("].instance"):
        return True
    if substituted.startswith("server.") and place.startswith(("server.command", "server.env", "server.health")):
        return True  # a command may have placeholders of whatever else is there
    return (
        place == substituted
        or place.startswith((f"{substituted}.", f"{substituted}["))
        or (parent.endswith("]") and place.startswith(f"{parent}."))
    )
