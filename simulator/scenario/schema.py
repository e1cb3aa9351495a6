"""The JSON Schema of a scenario file, by which editors complete keys, explain them, and mark what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from simulator.scenario.kinds import DURATION_PATTERN, Offset
from simulator.scenario.metrics import MEGABYTE, MEMORY, METRIC_ROWS, PART_ROWS, TIMES
from simulator.scenario.thresholds import OPERATIONS
from simulator.scenario.values import Scenario

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.scenario.metrics import Metric

ID = "urn:hatchfarm-harness:scenario:1"
VARIABLE = r"\$\{"
"""A text that a variable of the environment fills may come to anything."""
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"


def json_schema(settings: Mapping[str, Mapping[str, Any]] | None = None) -> dict[str, Any]:
    """Return the JSON Schema of a scenario file. `settings` are the schemas of a server's settings, by their names."""

    def custom(kind: type) -> dict[str, Any]:
        sign = "[+-]?" if kind is Offset else ""
        return {"type": "string", "pattern": rf"^{sign}{DURATION_PATTERN}$"}

    schema = msgspec.json.schema(Scenario, schema_hook=custom)
    for table in schema["$defs"].values():
        for name, field in table["properties"].items():
            if name != "command":  # where `${…}` is the shell's
                table["properties"][name] = _or_variable(field)
    scenario, server = schema["$defs"]["Scenario"], schema["$defs"]["ServerOptions"]
    scenario["properties"]["thresholds"] |= _thresholds()
    metric = schema["$defs"]["AbortOptions"]["properties"]["metric"]
    metric["anyOf"] = [
        {"enum": [one.name for one in METRIC_ROWS]},
        *({"type": "string", "pattern": one} for one in (*_part_patterns(), VARIABLE)),
    ]
    if settings is not None:
        typed = {name: _or_variable(dict(one)) for name, one in settings.items()}
        server["properties"]["settings"] |= {"properties": typed, "additionalProperties": False}
    title = "HatchFarm Harness scenario"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": ID, "title": title, **schema}


def _or_variable(field: dict[str, Any]) -> dict[str, Any]:
    """Allow in place of a value a text that names a variable."""
    kind = field.get("type")
    if "enum" in field:
        others = {name: value for name, value in field.items() if name not in {"enum", "type"}}
        return others | {"anyOf": [{"enum": field["enum"]}, {"type": "string", "pattern": VARIABLE}]}
    if isinstance(kind, list):
        return field | {"pattern": f"{field['pattern']}|{VARIABLE}"} if "pattern" in field else field
    if kind in {"integer", "number", "boolean"}:
        return field | {"type": [kind, "string"], "pattern": VARIABLE}
    if kind == "string" and "pattern" in field:
        return field | {"pattern": f"{field['pattern']}|{VARIABLE}"}
    if kind == "array" and "items" in field:
        return field | {"items": _or_variable(field["items"])}
    return field


def _thresholds() -> dict[str, Any]:
    """Return what `[thresholds]` may hold: each metric with the expressions it takes."""
    parts = [one for kind in PART_ROWS for one in PART_ROWS[kind]]
    return {
        "properties": {one.name: _expressions(one) for one in METRIC_ROWS},
        "patternProperties": dict(zip(_part_patterns(), map(_expressions, parts), strict=True)),
        "additionalProperties": False,
    }


def _part_patterns() -> list[str]:
    """Return a pattern for each metric of a part of a run, in the order of the rows."""
    names = {
        "operation": "|".join(OPERATIONS),
        "attack": r"[a-z0-9.-]+",
        "campaign": "[1-9][0-9]*",
    }
    return [rf"^{kind}\.(?:{names[kind]})\.{one.name}$" for kind, rows in PART_ROWS.items() for one in rows]


def _expressions(metric: Metric) -> dict[str, Any]:
    """Return the schema of a list of expressions of a metric."""
    called = "|".join(rf"p\(\s*{_NUMBER}\s*\)" if one == "p" else one for one in metric.aggregates)
    bound = DURATION_PATTERN if metric.aggregates is TIMES else r"[0-9.]+(?:e-?[0-9]+)?"
    unit = rf"\s*{MEGABYTE}" if metric.name == MEMORY else ""
    pattern = rf"^\s*(?:{called})\s*(?:<=|>=|==|!=|<|>)\s*(?:{bound}){unit}\s*$|{VARIABLE}"
    return {
        "type": "array",
        "minItems": 1,
        "description": f"{metric.meaning[:1].upper()}{metric.meaning[1:]}, like {metric.example}.",
        "items": {"type": "string", "pattern": pattern},
    }
