"""The page of a scenario's tables and keys, from the types that read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import NODEFAULT, inspect

from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.commands.reference.examples import EXAMPLES
from simulator.commands.reference.markdown import code, page, prose, sentence, table
from simulator.scenario.kinds import Duration, Offset
from simulator.scenario.values import FAULTS, Scenario

if TYPE_CHECKING:
    from collections.abc import Iterator

_IN_ONE_LINE = ("Stage", "ClockStep")
"""Tables that are written inside of another one, in one line."""
_UNITS = (("h", 3600 * SECOND_NS), ("m", 60 * SECOND_NS), ("s", SECOND_NS), ("ms", MILLISECOND_NS))


class _Section(msgspec.Struct, frozen=True):
    """A table: its name as TOML writes it, what it says, its type, or None where its keys are free."""

    name: str
    meaning: str
    shape: inspect.StructType | None


def scenario_page() -> str:
    """Return the page: every table with its keys, their types, defaults and bounds, and an example of each."""
    root = inspect.type_info(Scenario)
    assert isinstance(root, inspect.StructType)  # noqa: S101 - what a Struct's type is
    sections = [*_sections(_Section("top level", "What a scenario is called, and how long it takes.", root))]
    overview = [
        (
            f"[`{one.name}`](#{_anchor(one.name)})" if one.shape is not root else "[top level](#top-level)",
            prose(one.meaning),
        )
        for one in sections
    ]
    blocks = [block for one in sections for block in _described(one)]
    return page(
        "Keys of a scenario",
        "A scenario is TOML. Lengths of time are texts with a unit: `250ms`, `30s`, `1m30s`, `2h`, `1d`; offsets may "
        "have a sign, like `-2m`. Shares are from 0 to 1. A key that is not below is refused, with its line and what "
        "was probably meant. All examples of this page make one scenario, in this order. "
        "[How to write one](../scenarios.md) · `hatchfarm schema scenario` is its JSON Schema.",
        table(("table", "what it says"), overview),
        *blocks,
    )


def _sections(section: _Section) -> Iterator[_Section]:
    """Return a table, and those in it, as they follow one another in a file."""
    yield section
    if section.shape is None:
        return
    prefix = "" if section.name == "top level" else f"{section.name.strip('[]')}."
    for field in section.shape.fields:
        kind, meaning, _ = _unwrapped(field.type)
        many = isinstance(kind, inspect.VarTupleType)
        inner = kind.item_type if isinstance(kind, inspect.VarTupleType) else kind
        shape = _struct_of(inner)
        name = f"[[{prefix}{field.encode_name}]]" if many else f"[{prefix}{field.encode_name}]"
        if shape is not None and shape.cls.__name__ not in _IN_ONE_LINE:
            yield from _sections(_Section(name, _meaning(shape, meaning), shape))
        elif isinstance(inner, inspect.DictType):
            yield _Section(name, meaning, None)


def _meaning(shape: inspect.StructType, meaning: str) -> str:
    return (shape.cls.__doc__ or meaning).partition("\n\n")[0]


def _described(section: _Section) -> Iterator[str]:
    """Write a table's part of the page."""
    yield f"## {section.name if section.name == 'top level' else code(section.name)}".replace("## top", "## Top")
    yield prose(sentence(section.meaning))
    if section.shape is not None:
        yield table(("key", "type", "default", "what it says"), _rows(section.shape, ""))
    if section.name == "[[faults]]":
        kinds = [(code(kind), prose(sentence(what))) for kind, what in FAULTS.items()]
        yield table(("kind of fault", "what happens"), kinds)
    if section.name == "[thresholds]":
        yield "Each key is a [metric](thresholds.md) in quotes, its value a list of expressions; all of them must hold."
    yield f"```toml\n{EXAMPLES[section.name].strip()}\n```"


def _rows(shape: inspect.StructType, prefix: str) -> Iterator[tuple[str, str, str, str]]:
    """Return a row for each key that is no table of its own."""
    for field in shape.fields:
        kind, meaning, bounds = _unwrapped(field.type)
        inner = kind.item_type if isinstance(kind, inspect.VarTupleType) else kind
        struct = _struct_of(inner)
        if isinstance(kind, inspect.DictType) or (struct is not None and struct.cls.__name__ not in _IN_ONE_LINE):
            continue
        default = "required" if field.required else code(_written(_default_of(field)))
        key = code(f"{prefix}{field.encode_name}")
        yield key, prose(_type_of(kind, bounds)), default, prose(sentence(meaning))
        if struct is not None:
            yield from _rows(struct, f"{prefix}{field.encode_name}.")


def _unwrapped(kind: inspect.Type) -> tuple[inspect.Type, str, dict[str, Any]]:
    """Return a type without what is said about it, and that: what it means, and its JSON Schema's more."""
    more: dict[str, Any] = {}
    while isinstance(kind, inspect.Metadata):
        more = {**(kind.extra_json_schema or {}), **more}
        kind = kind.type
    return kind, more.get("description", ""), more


def _struct_of(kind: inspect.Type) -> inspect.StructType | None:
    if isinstance(kind, inspect.UnionType):
        return next((one for one in kind.types if isinstance(one, inspect.StructType)), None)
    return kind if isinstance(kind, inspect.StructType) else None


def _default_of(field: inspect.Field) -> object:
    return field.default if field.default is not NODEFAULT else field.default_factory()


def _type_of(kind: inspect.Type, more: dict[str, Any]) -> str:
    """Say what may be written, with its bounds."""
    kind, _, inner = _unwrapped(kind)
    more = {**inner, **more}
    if isinstance(kind, inspect.VarTupleType):
        if _struct_of(kind.item_type) is not None:
            return "list of tables in one line"
        return f"list of: {_type_of(kind.item_type, {})}"
    if _struct_of(kind) is not None:
        return "table in one line"
    if isinstance(kind, inspect.CustomType):
        return {Duration: "length of time", Offset: "offset in time"}[kind.cls]
    if isinstance(kind, inspect.LiteralType):
        return "one of " + ", ".join(f"`{_text(one)}`" for one in kind.values)
    if isinstance(kind, inspect.BoolType):
        return "`true` or `false`"
    if isinstance(kind, inspect.IntType | inspect.FloatType):
        word = "whole number" if isinstance(kind, inspect.IntType) else "number"
        return word + _range(kind)
    # The names of attacks are too many to list: they have a page of their own.
    if more.get("enum") and len(more["enum"]) < 20:  # noqa: PLR2004 - what a cell holds
        return "one of " + ", ".join(f"`{_text(one)}`" for one in more["enum"])
    return "text"


def _range(kind: inspect.IntType | inspect.FloatType) -> str:
    if kind.ge is not None and kind.ge == kind.le:
        return f", {kind.ge:,}"
    low = f"above {_number(kind.gt)}" if kind.gt is not None else "" if kind.ge is None else f"from {_number(kind.ge)}"
    high = f"below {_number(kind.lt)}" if kind.lt is not None else "" if kind.le is None else f"to {_number(kind.le)}"
    return f", {low} {high}".rstrip() if low or high else ""


def _number(bound: float) -> str:
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:,g}"


def _text(value: object) -> str:
    """Return a text as TOML writes it."""
    return f'"{value}"'


def _written(value: object) -> str:
    """Return a default as TOML writes it; nothing for none."""
    if isinstance(value, Duration | Offset):
        unit, size = next(((unit, size) for unit, size in _UNITS if value and value % size == 0), ("s", SECOND_NS))
        return _text(f"{value / size:g}{unit}")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, str):
        return _text(value)
    return "" if value is None else str(value)


def _anchor(name: str) -> str:
    """Return the anchor of a table's heading, as forges and the site make it."""
    return name.strip("[]").replace(".", "").lower()
