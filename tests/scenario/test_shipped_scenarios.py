"""The scenarios that come with the project, and the schema that editors check them with."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from simulator.attacks import CATALOGUE
from simulator.attacks.script import ScriptAttack
from simulator.commands.cli import app
from simulator.fleet.hardware import HARDWARE
from simulator.scenario.loading import load_scenario
from simulator.scenario.shipped import SCHEMA_FILE
from tests.support.invoking import invoke

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.scenario.server_problems import ServerSettings

FOLDER = Path(__file__).parent.parent.parent / "scenarios"
SCENARIOS = sorted(FOLDER.glob("*.toml"))
SCHEMA: dict[str, Any] = json.loads((FOLDER / SCHEMA_FILE).read_text(encoding="utf-8"))


def test_there_are_scenarios() -> None:
    assert len(SCENARIOS) >= 7


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_a_shipped_scenario_is_right_and_says_what_it_proves_and_how(path: Path, known: ServerSettings) -> None:
    scenario = load_scenario(path, known)
    text = path.read_text(encoding="utf-8")
    jsonschema.validate(tomllib.loads(text), SCHEMA)
    assert text.startswith(f"#:schema ./{SCHEMA_FILE}\n# Proves ")
    assert scenario.name == path.stem
    assert scenario.description
    assert scenario.thresholds["alerts.errors"] == ("count==0",)
    assert "heartbeat.accepted" in scenario.thresholds
    if scenario.attacks:
        assert scenario.thresholds["attacks.accepted"] == ("count==0",)
        assert "attacks.sent" in scenario.thresholds


def test_shipped_scenarios_pass_validate_together() -> None:
    result = invoke(app, ["validate", *map(str, SCENARIOS)])
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [f"{path}: right" for path in SCENARIOS]


def test_the_published_schema_is_what_the_command_prints() -> None:
    result = invoke(app, ["schema"])
    assert (result.exit_code, result.stdout) == (0, (FOLDER / "scenario.schema.json").read_text(encoding="utf-8"))


def test_the_published_schema_is_a_right_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def fields(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for table, definition in schema["$defs"].items():
        yield table, definition
        for name, field in definition["properties"].items():
            yield f"{table}.{name}", field


def test_every_table_and_field_of_the_schema_is_described() -> None:
    described = dict(fields(SCHEMA))
    assert len(described) > 35
    assert [name for name, field in described.items() if not field.get("description", "").endswith(".")] == []


def test_the_schema_completes_attacks_and_hardware() -> None:
    described = dict(fields(SCHEMA))
    assert described["AttackOptions.name"]["anyOf"][0] == {"enum": list(CATALOGUE)}
    assert described["FleetOptions.hardware"]["anyOf"][0] == {"enum": list(HARDWARE)}


def test_the_schema_takes_every_key_of_the_format_and_nothing_else(whole: str) -> None:
    document = tomllib.loads(whole)
    jsonschema.validate(document, SCHEMA)
    assert set(document) == set(SCHEMA["$defs"]["Scenario"]["properties"])
    assert all(definition["additionalProperties"] is False for definition in SCHEMA["$defs"].values())


def attacks_of(name: str) -> set[str]:
    """Name the attacks of a shipped scenario."""
    document = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    return {attack["name"] for attack in document["attacks"]}


def test_two_scenarios_have_the_whole_catalogue_between_them() -> None:
    straining = {name for name in CATALOGUE if name.startswith("strain.")}
    assert attacks_of("strain") == straining
    assert attacks_of("attack-all") == set(CATALOGUE) - straining


def test_what_needs_http_2_is_tried_where_a_run_speaks_it() -> None:
    """Beside a server that speaks plain HTTP it is named, and not tried."""
    speaking = {path.stem for path in SCENARIOS if load_scenario(path).server.tls}
    needing = {name for name, attack in CATALOGUE.items() if issubclass(attack, ScriptAttack) and attack.needs_http2}
    assert needing == {"strain.rapid-reset"}
    assert needing <= set().union(*map(attacks_of, speaking))
