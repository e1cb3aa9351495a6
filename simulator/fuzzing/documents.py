"""A scenario as a document: the content of its TOML file as plain values that can be changed and written again."""

from __future__ import annotations

import json
from typing import Any

Document = dict[str, Any]
"""Tables, lists and values as `tomllib` reads them; durations are strings."""


def as_toml(document: Document) -> str:
    """Return the TOML text of a scenario; reading the text gives `document` again."""
    return "\n".join(_table(document, ())) + "\n"


def _table(table: Document, path: tuple[str, ...]) -> list[str]:
    """Return the lines of a table: first its values, then the tables in it, then its arrays of tables."""
    tables = {key: value for key, value in table.items() if isinstance(value, dict)}
    arrays = {key: value for key, value in table.items() if _is_array(value) and not path}
    lines = [f"{_key(key)} = {_value(value)}" for key, value in table.items() if key not in {*tables, *arrays}]
    for key, inner in tables.items():
        inside = (*path, key)
        only_tables = inner and all(isinstance(one, dict) for one in inner.values())
        lines += [*([] if only_tables else ["", f"[{'.'.join(map(_key, inside))}]"]), *_table(inner, inside)]
    for key, items in arrays.items():
        for item in items:
            lines += ["", f"[[{_key(key)}]]", *_table(item, (key,))]
    return lines


def _is_array(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_value(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # TOML, unlike JSON, needs it escaped
