"""The tables that people wrote name exactly what exists."""

from __future__ import annotations

import re
from typing import Any

import typer

from simulator.checkers import CHECKERS
from simulator.commands.cli import app
from simulator.load.mix import ATTACKER, MACHINE, USERS
from simulator.scenario.schema import json_schema
from tests.support.pages import ROOT, first_cells, in_backticks, page


def test_scenario_table_names_exactly_the_scenarios() -> None:
    """The scenario table and the folder hold the same files."""
    named = set(re.findall(r"^\| `([a-z0-9-]+\.toml)`", page("running"), re.MULTILINE))
    assert {path.name for path in (ROOT / "scenarios").glob("*.toml")} == named


def tables_of(schema: dict[str, Any], definition: str, path: str = "") -> set[str]:
    """Name the tables of a scenario as TOML writes them; stages and steps are written in one line."""
    found = set()
    for name, field in schema["$defs"][definition]["properties"].items():
        many = field.get("type") == "array"
        shapes = [field.get("items", {})] if many else [field, *field.get("anyOf", [])]
        inner = next((one["$ref"].rpartition("/")[2] for one in shapes if "$ref" in one), "")
        if name == "thresholds" or inner not in {"", "Stage", "ClockStep"}:
            found.add(f"[[{path}{name}]]" if many else f"[{path}{name}]")
            found |= tables_of(schema, inner, f"{path}{name}.") if inner else set()
    return found


FREE = {"[server.settings]", "[server.env]"}
"""Tables whose keys a scenario is free to choose."""


def test_the_table_of_a_scenarios_tables_names_exactly_those() -> None:
    named = in_backticks(first_cells(page("reference/scenario"), "table"))
    assert named == tables_of(json_schema(), "Scenario") | FREE


def test_checkers_table_names_exactly_the_checkers() -> None:
    # Statistics are of conducted runs only, and logs of servers that a run has started.
    assert set(first_cells(page("verdicts"), "checker")) == {*CHECKERS, "statistics", "log"}


def test_table_of_locusts_users_names_exactly_the_users() -> None:
    assert in_backticks(first_cells(page("distributed"), "Locust's user")) == {MACHINE, ATTACKER, *USERS.values()}
    assert all(f"`[[load]]` with `{name}`" in page("distributed") for name in USERS)


def test_flags_of_a_conducted_run_have_the_variables_that_the_table_says() -> None:
    rows = re.findall(r"^\| (`--[^|]+) \| (`HATCHFARM_[^|]+) \|", page("distributed"), re.MULTILINE)
    output = {
        flag.split()[0]: variable
        for flags, variables in rows
        for flag, variable in zip(re.findall("`([^`]+)`", flags), re.findall("`([^`]+)`", variables), strict=True)
    }
    run: Any = typer.main.get_command(app)
    parameters = {flag: one.envvar for one in run.commands["run"].params for flag in one.opts}
    assert set(output) == {"--workers", "--web", "--web-port", "--master"}
    assert output == {flag: parameters[flag] for flag in output}
