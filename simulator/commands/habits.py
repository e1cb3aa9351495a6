"""What people type who know other tools: answered with what it is here, where this program has no such thing."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import typer

from simulator.platform.program import as_called, this_program

FLAGS = {
    "--vus": "--machines",
    "--users": "--machines",
    "-u": "--machines",
    "--host": "--target",
    "--url": "--target",
    "--run-time": "--duration",
    "-t": "--duration",
    "-d": "--duration",
    "--env": "--set",
    "-e": "--set",
    "--output": "--out",
    "-o": "--out",
    "--seed": "--seeds",
    "--numprocesses": "--jobs",
    "-n": "--jobs",
    "-j": "--jobs",
}
"""Flags of load generators and test runners, each with the one that does it here, of commands that have that."""
WORDS = {
    "test": "run",
    "start": "run",
    "check": "validate",
    "lint": "validate",
    "list": "scenarios",
    "new": "init",
    "server": "serve",
    "diff": "compare",
    "record": "run --record",
    "version": "--version",
    "help": "--help",
}
"""Commands of other tools, each with what it is here."""
SCENARIO_VARIABLE = "HATCHFARM_SCENARIO"
UsageError: Any = typer.BadParameter.__base__
"""All that is wrong with a command line; typer itself gives no name to it."""


class Commands(typer.core.TyperGroup):
    """The program's commands, which also say what a habit of another tool is here."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that was asked for; where there is none, say which one was meant."""
        try:
            return super().resolve_command(ctx, args)
        except UsageError as error:
            typed = args[0]
            if typed in WORDS:
                error.message = f"No such command {typed!r}. Here it is `{this_program()} {WORDS[typed]}`."
            elif _is_scenario(typed):
                command = f"{this_program()} run {shlex.quote(typed)}"
                error.message = f"No such command {typed!r}. It is a scenario: `{command}` runs it."
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run what was asked for; where a flag or scenario is missing, say what there is."""
        try:
            return super().invoke(ctx)
        except UsageError as error:
            _explain(error)
            raise


def _explain(error: Any) -> None:
    """Add to an error of the command line what may be done about it."""
    parameter = getattr(error, "param", None)
    if isinstance(error, typer.BadParameter) and not error.message and _is_of_scenarios(parameter):
        error.message = as_called("`hatchfarm scenarios` lists those that can be named")
    typed = getattr(error, "option_name", "")
    if typed.startswith("--") and getattr(error.ctx, "info_name", "") == "serve":
        _name_setting(error, typed)
    meant = FLAGS.get(typed)
    if meant is None or error.ctx is None:
        return
    if any(meant in one.opts for one in error.ctx.command.params):
        error.message += f". Here it is {meant}"
        error.possibilities = None


def _name_setting(error: Any, typed: str) -> None:
    """Say where the server's settings are, which has no flags for them."""
    from reference_server.about import setting_names  # noqa: PLC0415 - loads only where it is used

    variable = typed.removeprefix("--").replace("-", "_").upper()
    if variable in setting_names():
        error.message += f". Here it is the variable {variable}"
        error.possibilities = None


def _is_of_scenarios(parameter: Any) -> bool:
    return parameter is not None and parameter.envvar == SCENARIO_VARIABLE


def _is_scenario(typed: str) -> bool:
    from simulator.scenario.shipped import shipped_names  # noqa: PLC0415 - loads only where it is used

    return typed in shipped_names() or Path(typed).suffix == ".toml"
