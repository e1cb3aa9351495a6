"""Places within a scenario, as messages and `--set` name them: `fleet.stages[0].target`. No I/O."""

from __future__ import annotations

import re
import tomllib
import types
from itertools import pairwise
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

from simulator.scenario.kinds import decode_value
from simulator.scenario.values import Scenario

Part = str | int
_PART = re.compile(r'\.?(?:"([^"]+)"|([A-Za-z0-9_-]+))((?:\[[0-9]{1,6}\])*)')
_THRESHOLDS = re.compile(r"thresholds\.(?!\")([^\[]+?)((?:\[[0-9]{1,6}\])?)")
"""A metric has dots of its own, and stands for one key without quotes, too."""
_NOTHING = object()


class PlaceError(ValueError):
    """A place that is none; the message says why."""


def parts_of(place: str) -> tuple[Part, ...]:
    """Return the keys and indices that lead to a place. Raises PlaceError."""
    if metric := _THRESHOLDS.fullmatch(place):
        place = f'thresholds."{metric[1]}"{metric[2]}'
    parts: list[Part] = []
    end = 0
    while end < len(place):
        match = _PART.match(place, end)
        if match is None or (end > 0) != place.startswith(".", end):
            raise PlaceError(f"{place!r} is no key: write it like fleet.machines or attacks[0].rate")
        parts.append(match[1] or match[2])
        parts += [int(index) for index in re.findall("[0-9]+", match[3])]
        end = match.end()
    if not parts:
        raise PlaceError("a key is missing: write it like fleet.machines=50")
    return tuple(parts)


def place_of_parts(parts: tuple[Part, ...]) -> str:
    """Return a place as messages name it."""
    named = ""
    for part in parts:
        if isinstance(part, int):
            named += f"[{part}]"
        else:
            named += f".{part}" if re.fullmatch("[A-Za-z0-9_-]+", part) else f'."{part}"'
    return named.removeprefix(".")


def put(table: dict[str, Any], parts: tuple[Part, ...], value: Any) -> None:
    """Put a value at a place, and make the tables that lead there. Raises PlaceError."""
    inside: Any = table
    for depth, (part, following) in enumerate(pairwise(parts)):
        step = _step(inside, part, parts[:depth])
        if isinstance(step, str):
            inside = inside.setdefault(step, [] if isinstance(following, int) else {})
        else:
            inside = inside[step]
    inside[_step(inside, parts[-1], parts[:-1])] = value


def _step(inside: Any, part: Part, before: tuple[Part, ...]) -> Part:
    """Return a part that can be looked up in a value. Raises PlaceError."""
    where = place_of_parts(before)
    if isinstance(part, str):
        if not isinstance(inside, dict):
            raise PlaceError(f"{where} is no table" + (", write its index" if isinstance(inside, list) else ""))
        return part
    if not isinstance(inside, list):
        raise PlaceError(f"{where} is no list")
    if part >= len(inside):
        raise PlaceError(f"{where}[{part}]: the scenario has {len(inside)} of them, counted from 0")
    return part


def kind_at(parts: tuple[Part, ...]) -> Any:
    """Return the type that the format gives a place; Any for one it does not know."""
    kind: Any = Scenario
    for part in parts:
        kind = _kind_inside(_bare(kind), part)
    return kind


def _bare(kind: Any) -> Any:
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(_bare(one) for one in get_args(kind) if one is not types.NoneType)
    return kind


def _kind_inside(kind: Any, part: Part) -> Any:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return next((field.type for field in msgspec.structs.fields(kind) if field.encode_name == part), Any)
    return {dict: lambda: get_args(kind)[1], tuple: lambda: get_args(kind)[0]}.get(get_origin(kind), lambda: Any)()


def typed(text: str, kind: Any, *, quoted: bool = False) -> Any:
    """Return what a text says where a type is wanted: the text where that takes one, else what TOML makes of it.

    A text in quotes is TOML's too where it may be `quoted`, and where a list of texts is wanted one stands for it. What
    fits in no way is returned for the scenario's reader to refuse.
    """
    value = _as_toml(text)
    tries: list[Any] = [value] if quoted and isinstance(value, str) else []
    tries += [text, value, [text]]
    for one in tries:
        if one is not _NOTHING and _fits(one, kind):
            return one
    return text if value is _NOTHING else value


def as_number_or_flag(value: Any) -> bool:
    """Return whether a value is a number, yes or no, or a text that says one."""
    return isinstance(_as_toml(value) if isinstance(value, str) else value, int | float)


def _as_toml(text: str) -> Any:
    try:
        table = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return _NOTHING
    return table["value"] if [*table] == ["value"] else _NOTHING


def _fits(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind, dec_hook=decode_value)
    except (msgspec.ValidationError, ValueError, RecursionError):
        return False
    return True
