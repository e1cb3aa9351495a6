"""An example of a body or a result, put together from those of its fields."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import inspect


def example_of(kind: Any) -> Any:
    """Return an example of a type, of JSON values. Raises TypeError where a field has none and is not plain."""
    return _example(inspect.type_info(kind))


def _example(kind: inspect.Type) -> Any:
    match kind:
        case inspect.Metadata():
            given = (kind.extra_json_schema or {}).get("examples")
            return given[0] if given else _example(kind.type)
        case inspect.StructType():
            return {
                field.encode_name: _example(field.type) for field in kind.fields if field.default is not msgspec.UNSET
            }
        case inspect.ListType():
            return [_example(kind.item_type)]
        case inspect.DictType():
            return {} if isinstance(kind.value_type, inspect.AnyType) else {"name": _example(kind.value_type)}
        case inspect.LiteralType():
            return kind.values[0]
        case inspect.UnionType():
            return _example(next(one for one in kind.types if not isinstance(one, inspect.NoneType)))
        case inspect.BoolType():
            return True
        case inspect.StrType():
            return "text"
        case _:
            raise TypeError(f"{kind} has no example")
