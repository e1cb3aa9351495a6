"""The tables that people wrote name exactly what exists."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import typer

from simulator.checkers import CHECKERS
from simulator.checkers.server_log import LogSearch
from simulator.commands.cli import app
from simulator.history.records import PartRecord
from simulator.history.rows import NEVER_NS
from simulator.judging.judging import judge_run
from simulator.load.mix import ATTACKER, MACHINE, USERS
from simulator.scenario.schema import json_schema
from tests.report.runs import uneventful
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
    """Those of a run that several processes played, of whose server somebody read the log and looked what it lacks."""
    run, history = uneventful(log=LogSearch(1, 0, 0, 1, 0))
    history.parts = [PartRecord(0, 2, 0, 0, NEVER_NS)]
    facts = msgspec.structs.replace(run.facts, lacks=())
    judged = [one.name for one in judge_run(msgspec.structs.replace(run, facts=facts), history).checkers]
    assert {*CHECKERS} < {*judged}
    assert sorted(first_cells(page("verdicts"), "checker")) == sorted(judged)


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
