"""The reference pages are what the code makes of them, have everything that there is, and their examples can be run."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
import typer

from reference_server.about import setting_names, settings_problem
from simulator.attacks import CATALOGUE
from simulator.checkers import CHECKERS
from simulator.commands.cli import app
from simulator.commands.reference import PAGES, reference_pages
from simulator.commands.reference.examples import EXAMPLES
from simulator.judging.rules import known_rules
from simulator.scenario.loading import parse_scenario
from simulator.scenario.metrics import PART_EXAMPLES
from simulator.scenario.remarks import remarks
from simulator.scenario.schema import json_schema
from simulator.scenario.server_problems import ServerSettings
from simulator.scenario.thresholds import METRICS, PARTS, parse_threshold
from simulator.scenario.values import Scenario
from tests.core.server_under_test import Server, owner_headers
from tests.support.pages import FENCE, ROOT, first_cells, in_backticks, page

MAKE = "`make reference` writes docs/reference anew"
WHOLE = "\n".join(block for kind, block in FENCE.findall(page("reference/scenario")) if kind == "toml")
KNOWN = ServerSettings(setting_names(), settings_problem)


def written_keys(value: Any, prefix: str = "") -> set[str]:
    """Name every key of a table and of the tables in it, as `fleet.clocks.share`."""
    if isinstance(value, list):
        return {key for one in value for key in written_keys(one, prefix)}
    if not isinstance(value, dict):
        return set()
    inner = {key for name, one in value.items() for key in written_keys(one, f"{prefix}{name}.")}
    return {f"{prefix}{name}" for name in value} | inner


def schema_keys(schema: dict[str, Any], definition: str = "Scenario", prefix: str = "") -> set[str]:
    """Name every key that a scenario may have, as above; where keys are free, the table's alone."""
    found = set()
    for name, field in schema["$defs"][definition]["properties"].items():
        found.add(f"{prefix}{name}")
        for shape in (field, field.get("items", {}), *field.get("anyOf", [])):
            if "$ref" in shape:
                found |= schema_keys(schema, shape["$ref"].rpartition("/")[2], f"{prefix}{name}.")
    return found


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_code_makes_of_it(name: str) -> None:
    assert page(f"reference/{name}") == PAGES[name](), MAKE


def test_there_is_no_other_page_beside_them() -> None:
    assert {path.name for path in (ROOT / "docs/reference").iterdir()} == {*reference_pages()}, MAKE


OF_CLOCKS = {"faults.by", "faults.drift_ppm"}


def test_all_examples_of_the_scenario_page_are_one_scenario() -> None:
    assert remarks(parse_scenario(WHOLE, KNOWN), WHOLE.encode()) == []


def test_every_key_of_a_scenario_has_an_example() -> None:
    """A new key's stands in simulator/commands/reference/examples.py; one that goes with few others, in its page."""
    assert schema_keys(json_schema()) - written_keys(tomllib.loads(WHOLE)) == OF_CLOCKS
    assert all(f"\n{key.partition('.')[2]} = " in page("faults") for key in OF_CLOCKS)


def test_a_scenario_written_from_the_page_is_right_the_first_time() -> None:
    """Two attacks, three faults, owners at work and three thresholds, each as its example is written."""
    parts = ("top level", "[fleet]", "[[attacks]]", "[[faults]]", "[[load]]")
    copied = [EXAMPLES[part] for part in parts]
    assert all(example.strip() in WHOLE for example in copied)
    thresholds = re.findall(r'^"\S+" = .*$', EXAMPLES["[thresholds]"], re.MULTILINE)[:3]
    text = "\n".join([*copied, "[thresholds]", *thresholds])
    scenario = parse_scenario(text, KNOWN)
    assert remarks(scenario, text.encode()) == []
    assert [len(part) for part in (scenario.attacks, scenario.faults, scenario.load, scenario.thresholds)] == [
        2,
        3,
        1,
        3,
    ]
    assert scenario.load[0].user.startswith("owner-")


def test_defaults_are_those_of_a_scenario_that_says_nothing() -> None:
    least = parse_scenario('version = 1\nname = "least"\nduration = "1s"\n[fleet]\nmachines = 10\n')
    assert isinstance(least, Scenario)
    (rows,) = re.findall(r"^## `\[fleet\]`\n(.*?)^```", page("reference/scenario"), re.MULTILINE | re.DOTALL)
    shown = dict(re.findall(r"^\| `(\w+)` \| [^|]* \| `([^`]*)` \|", rows, re.MULTILINE))
    assert shown["heartbeat_interval"] == f'"{least.fleet.heartbeat_interval_ns / 1e9:g}s"'
    assert shown["certificate_rotation"] == f'"{least.fleet.certificate_rotation_ns / 60e9:g}m"'
    assert (shown["owners"], shown["jitter"], shown["hardware"]) == (
        str(least.fleet.owners),
        str(least.fleet.jitter),
        f'"{least.fleet.hardware}"',
    )


def test_every_setting_has_its_row() -> None:
    assert sorted(re.findall(r"^\| `(\w+)` \|", page("reference/settings"), re.MULTILINE)) == sorted(setting_names())


def test_every_attack_has_its_heading_and_every_rule_its_row() -> None:
    assert re.findall(r"^### (\S+)$", page("reference/attacks"), re.MULTILINE) == sorted(CATALOGUE)
    rules = re.findall(r"^\| `(checker/\S+)` \|", page("reference/rules"), re.MULTILINE)
    assert sorted([*rules, *(f"attack/{name}" for name in CATALOGUE)]) == sorted(known_rules())
    assert set(CHECKERS) <= set(re.findall(r"^## Checker (\w+)$", page("reference/rules"), re.MULTILINE))


def test_every_metric_has_a_row_whose_example_is_a_threshold() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| `[^|]*` \| `([^`]+)` \|", page("reference/thresholds"), re.MULTILINE)
    parts = {f"{kind}.{PART_EXAMPLES[kind]}.{what}" for kind in PARTS for what in PARTS[kind]}
    assert {name for name, _ in rows} == {*METRICS, *parts}
    assert [name for name, example in rows if parse_threshold(name, example).checks_nothing()] == []


def test_every_command_has_its_heading() -> None:
    root: Any = typer.main.get_command(app)
    named = []
    for name, command in root.commands.items():
        inner = getattr(command, "commands", None)
        named += [f"hatchfarm {name}"] if inner is None else [f"hatchfarm {name} {one}" for one in inner]
    assert sorted(re.findall(r"^## (hatchfarm .*)$", page("reference/commands"), re.MULTILINE)) == sorted(named)


def test_what_every_server_shows_is_what_the_page_says_that_it_shows() -> None:
    always = page("reference/metrics").partition("\n## Always\n")[2].partition("\n## ")[0]
    shown = Server().send("GET", "/metrics", None, owner_headers(), prefix="").body.decode()
    assert in_backticks(first_cells(always, "metric")) == set(re.findall(r"^# TYPE (\S+)", shown, re.MULTILINE))
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)", shown, re.MULTILINE):
        assert f"| `{name}` | {kind} |" in always


def test_metrics_that_only_some_servers_show_are_there() -> None:
    """Found in the source, since nobody makes them all at once."""
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "reference_server").rglob("*.py"))
    named = set(re.findall(r'"(hatchfarm_[a-z_]+)"', sources))
    shown = {name.removesuffix("_total") for name in re.findall(r"hatchfarm_\w+", page("reference/metrics"))}
    assert len(named) > 20
    assert {name.removesuffix("_total") for name in named} - shown == set()
