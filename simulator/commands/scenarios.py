"""Commands about scenarios that run none: are they right, which are shipped, a new one, and what thresholds are of."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from simulator.commands.failing import USAGE_ERROR, fail
from simulator.commands.options import DurationOption, MachinesOption, ScenarioFiles, SetOption, overrides_of
from simulator.commands.reading import read_scenario, see_input_is_read_once
from simulator.platform.console import make_console
from simulator.platform.program import as_called, this_program
from simulator.platform.wording import nearest, plural

_NAME = re.compile("[a-z0-9][a-z0-9.-]{0,63}")
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.", envvar="HATCHFARM_JSON")]


def validate(
    scenarios: ScenarioFiles,
    duration: DurationOption = None,
    machines: MachinesOption = None,
    values: SetOption = None,
) -> None:
    """Check scenarios offline, and say what is wrong where.

    Exit codes: 0 all are right, 2 one is not.
    """
    from simulator.running.in_ci import problems_of  # noqa: PLC0415 - slow to load, as is what follows
    from simulator.scenario.loading import ScenarioError  # noqa: PLC0415
    from simulator.scenario.remarks import remarks  # noqa: PLC0415

    see_input_is_read_once("validate", scenarios)
    wrong = 0
    for path in scenarios:
        try:
            loaded = read_scenario(path, overrides_of(duration, machines, values))
        except ScenarioError as error:
            wrong += 1
            typer.echo(as_called(str(error)), err=True)
            for line in problems_of(error.problems, path, os.environ):
                typer.echo(line)
            continue
        for remark in remarks(loaded.scenario, loaded.source):
            typer.echo(remark.at(path))
        typer.echo(f"{path}: right")
    if wrong and len(scenarios) > 1:
        typer.echo(f"{wrong} of {plural(len(scenarios), 'scenario')} cannot be run", err=True)
    raise typer.Exit(USAGE_ERROR if wrong else 0)


def scenarios(*, as_json: AsJson = False) -> None:
    """List the scenarios that are shipped: `hatchfarm run NAME` runs one in any folder."""
    from simulator.scenario.loading import parse_scenario  # noqa: PLC0415 - as above
    from simulator.scenario.shipped import read_shipped, shipped_names  # noqa: PLC0415 - as above

    rows: list[dict[str, Any]] = []
    for name in shipped_names():
        one = parse_scenario(read_shipped(name).decode("utf-8"))
        rows.append({
            "name": name,
            "description": one.description,
            "duration_seconds": one.duration_ns / 1e9,
            "machines": one.fleet.machines,
            "attacks": len(one.attacks),
        })  # fmt: skip
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table("scenario", "seconds", "machines", "what it proves", box=None, padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(row["name"], f"{row['duration_seconds']:.0f}", f"{row['machines']:,}", escape(row["description"]))
    make_console().print(table)


def init(
    name: Annotated[
        str, typer.Argument(help="What the scenario is called, and its file.", envvar="HATCHFARM_INIT_NAME")
    ] = "my-scenario",
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Write over a file that is there.", envvar="HATCHFARM_INIT_FORCE")
    ] = False,
) -> None:
    """Write a scenario to begin with, NAME.toml, with comments; and beside it the schema by which editors check it."""
    from simulator.platform.output_files import write_whole  # noqa: PLC0415 - as above
    from simulator.scenario.shipped import SCHEMA_FILE, read_schema  # noqa: PLC0415 - as above
    from simulator.scenario.starter import starter_scenario  # noqa: PLC0415 - as above

    name = name.removesuffix(".toml")
    if not _NAME.fullmatch(name):
        fail("init", f"{name!r} is no name: write it in lower-case letters, digits, '.' and '-', 64 at most")
    path, schema = Path(f"{name}.toml"), Path(SCHEMA_FILE)
    if path.exists() and not force:
        fail("init", f"{path} is there already: give another name, or --force to write over it")
    try:
        write_whole(path, [starter_scenario(name).encode()])
        if not schema.exists() or force:
            write_whole(schema, [read_schema()])
    except OSError as error:
        fail("init", f"{path} cannot be written ({error.strerror})")
    typer.echo(f"{path} is a scenario to change, and {schema} lets your editor check it.")
    program = this_program()
    typer.echo(f"Check it with: {program} validate {path}\nRun it with: {program} run {path}")


def metrics(
    name: Annotated[
        str | None,
        typer.Argument(help="Only one metric, or those whose names begin so.", envvar="HATCHFARM_METRIC"),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Explain the metrics that thresholds are of: what each measures, and what may be asked of it."""
    from simulator.scenario.metrics import AGGREGATES, METRIC_ROWS, PART_EXAMPLES, PART_ROWS  # noqa: PLC0415 - as above

    rows = {one.name: one for one in METRIC_ROWS}
    examples = {metric: metric for metric in rows}
    for kind, found in PART_ROWS.items():
        for one in found:
            rows[f"{kind}.{kind.upper()}.{one.name}"] = one
            examples[f"{kind}.{kind.upper()}.{one.name}"] = f"{kind}.{PART_EXAMPLES[kind]}.{one.name}"
    if name is not None:
        chosen = {metric: one for metric, one in rows.items() if metric.startswith(name)}
        if not chosen:
            fail("metrics", f"no metric is or begins like {name!r}; {nearest(name, rows)}")
        rows = chosen
    if as_json:
        described = [
            {
                "name": metric,
                "aggregates": one.aggregates,
                "meaning": one.meaning,
                "example": {examples[metric]: [one.example]},
            }
            for metric, one in rows.items()
        ]
        typer.echo(json.dumps(described, indent=2))
        return
    for metric, one in rows.items():
        example = f'"{examples[metric]}" = ["{one.example}"]'
        typer.echo(f"{metric}\n    {one.meaning}\n    {', '.join(one.aggregates)}; like {example}")
    if name is None:
        typer.echo("\nWhat may be asked of them:")
        for aggregate, what in AGGREGATES.items():
            typer.echo(f"    {aggregate:7} {what}")
