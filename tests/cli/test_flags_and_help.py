"""Every command's help, and that every flag has an environment variable which works."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer

from reference_server.settings import SETTINGS, Settings
from simulator.commands.cli import app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.conftest import Hatchfarm

ROOT = Path(__file__).parent.parent.parent
SCENARIO_SCHEMA = "scenarios/scenario.schema.json"


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


COMMANDS = dict(commands(typer.main.get_command(app)))
OF_TYPER = {"install_completion", "show_completion"}
"""Flags that the library brings, without variables of their own."""
LEAVES = {path: command for path, command in COMMANDS.items() if not hasattr(command, "commands")}


def test_the_commands_are_these() -> None:
    assert {" ".join(path) for path in LEAVES} == {
        "serve",
        "run",
        "validate",
        "scenarios",
        "init",
        "metrics",
        "schema",
        "doctor",
        "capacity",
        "compare",
        "fuzz",
        "report",
        "results",
        "verify",
        "worker",
        "replay",
        "trace show",
        "trace export",
        "trace filter",
        "trace import",
        "trace redact",
        "attack list",
        "attack show",
        "bench",
        "state check",
        "state show",
    }


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_and_each_of_its_flags(hatchfarm: Hatchfarm, path: tuple[str, ...]) -> None:
    shown = hatchfarm.invoke(*path, "--help", env={"COLUMNS": "200"})
    assert (shown.code, shown.err) == (0, "")
    assert shown.lines[0].startswith("Usage: ")
    assert " ".join(path) in shown.lines[0]
    text = " ".join(shown.out.split())
    for parameter in COMMANDS[path].params:
        assert parameter.help.strip(".") in text
        for flag in [*parameter.opts, *parameter.secondary_opts]:
            assert flag in text
        assert parameter.name in OF_TYPER or f"[env var: {parameter.envvar}" in text
    for inner in getattr(COMMANDS[path], "commands", {}):
        assert re.search(rf"^  {inner}  +[A-Z]", shown.out, re.MULTILINE)


def test_the_help_of_the_whole_points_to_environment_variables(hatchfarm: Hatchfarm) -> None:
    text = " ".join(hatchfarm.invoke("--help").out.split())
    assert "Every flag has an environment variable: `hatchfarm COMMAND --help` names them." in text


def test_without_a_command_the_help_is_shown_as_an_error(hatchfarm: Hatchfarm) -> None:
    for path in ((), ("attack",)):
        shown = hatchfarm.invoke(*path)
        assert shown.code == 2
        assert "Usage: " in shown.err + shown.out
    assert hatchfarm.invoke("nonsense").code == 2


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_flag_and_argument_has_one_environment_variable_of_ours(path: tuple[str, ...]) -> None:
    variables = [parameter.envvar for parameter in LEAVES[path].params]
    assert all(re.fullmatch(r"HATCHFARM_[A-Z_]+", variable or "") for variable in variables)
    assert len(set(variables)) == len(variables)


def test_the_help_of_serve_lists_every_setting_with_its_default_and_purpose(hatchfarm: Hatchfarm) -> None:
    lines = hatchfarm.invoke("serve", "--help").lines
    defaults = Settings()
    for setting in SETTINGS:
        default = getattr(defaults, setting.field)
        output = str(default).lower() if isinstance(default, bool) else str(default)
        shown = {"": "unset", (): "unset", ("http://localhost:3000",): "http://localhost:3000"}.get(default, output)
        assert f"  {setting.variable} ({shown}): {setting.purpose}" in lines
    listed = [line for line in lines if re.match(r"  [A-Z_]+ \(", line)]
    assert len(listed) == len(SETTINGS)


@pytest.mark.parametrize(
    ("env", "arguments", "expected"),
    [
        ({}, (), {"express_lane": True, "until_stdin_closes": False}),
        ({"HATCHFARM_EXPRESS_LANE": "false"}, (), {"express_lane": False, "until_stdin_closes": False}),
        ({"HATCHFARM_EXPRESS_LANE": "true"}, (), {"express_lane": True, "until_stdin_closes": False}),
        ({"HATCHFARM_UNTIL_STDIN_CLOSES": "1"}, (), {"express_lane": True, "until_stdin_closes": True}),
        ({}, ("--no-express-lane", "--until-stdin-closes"), {"express_lane": False, "until_stdin_closes": True}),
        ({"HATCHFARM_EXPRESS_LANE": "false"}, ("--express-lane",), {"express_lane": True, "until_stdin_closes": False}),
    ],
)
def test_serve_takes_its_flags_from_the_environment_too(
    hatchfarm: Hatchfarm,
    monkeypatch: pytest.MonkeyPatch,
    env: dict[str, str],
    arguments: tuple[str, ...],
    expected: dict[str, bool],
) -> None:
    calls: list[dict[str, bool]] = []

    def serve(environ: object, **flags: bool) -> int:
        del environ
        calls.append(flags)
        return 5

    monkeypatch.setattr("reference_server.app.serve", serve)
    assert hatchfarm.invoke("serve", *arguments, env=env).code == 5
    assert calls == [expected]


def test_validate_takes_several_files_from_the_environment(hatchfarm: Hatchfarm) -> None:
    paths = [str(hatchfarm.folder / hatchfarm.write(name, duration="1s")) for name in ("a.toml", "b.toml")]
    shown = hatchfarm.invoke("validate", env={"HATCHFARM_SCENARIO": ":".join(paths)})
    assert (shown.code, shown.lines) == (0, [f"{path}: right" for path in paths])


@pytest.mark.parametrize(
    ("of", "published"),
    [
        ("", SCENARIO_SCHEMA),
        ("scenario", SCENARIO_SCHEMA),
        ("verdict", "simulator/judging/verdict.schema.json"),
        ("capacity", "simulator/capacity/capacity.schema.json"),
        ("bench", "benchmarks/bench.schema.json"),
        ("comparison", "simulator/comparing/comparison.schema.json"),
        ("cross-check", "simulator/comparing/cross-check.schema.json"),
    ],
)
def test_schema_prints_the_published_schema_it_is_asked_for(hatchfarm: Hatchfarm, of: str, published: str) -> None:
    schema = json.loads((ROOT / published).read_text(encoding="utf-8"))
    assert json.loads(hatchfarm.invoke("schema", *filter(None, [of])).out) == schema
    assert json.loads(hatchfarm.invoke("schema", env={"HATCHFARM_SCHEMA_OF": of}).out) == schema


def test_schema_of_anything_else_exits_with_2(hatchfarm: Hatchfarm) -> None:
    refused = hatchfarm.invoke("schema", "farm")
    assert (refused.code, refused.out) == (2, "")
    kinds = ("scenario", "verdict", "trace", "capacity", "bench", "comparison", "cross-check", "openapi")
    known = " and of ".join(kinds)
    assert refused.err == f"hatchfarm schema: there is a schema of {known}, not of 'farm'\n"
