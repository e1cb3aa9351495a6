"""The tables of the scenario that was run: its file's, with what flags and variables put in place of values."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

from simulator.scenario.overriding import OverrideError, apply

if TYPE_CHECKING:
    from simulator.report.report_input import ReportInput


def table_of(report_input: ReportInput, name: str) -> dict[str, Any] | None:
    """Return a table of the scenario, empty where it has none; None where its text cannot be read any more.

    What may be secret is in none: the text is kept without it, and it is among no changes.
    """
    try:
        scenario = tomllib.loads(report_input.scenario_text.removeprefix("\ufeff"))
        apply(scenario, report_input.record.changes)
    except (ValueError, RecursionError, OverrideError):
        return None
    table = scenario.get(name, {})
    return table if isinstance(table, dict) else None
