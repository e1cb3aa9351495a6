"""The `hatchfarm` command. Each flag has an environment variable; user errors end with one message and exit code 2."""

from __future__ import annotations

import json
import os
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from secrets import token_hex  # noqa: TID251 - the token of a run's own server
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from simulator.commands import traces
from simulator.commands.attacks import attack_app
from simulator.commands.bench import bench
from simulator.commands.capacity import capacity
from simulator.commands.compare import compare
from simulator.commands.failing import USAGE_ERROR, exit_with, fail
from simulator.commands.fuzz import fuzz
from simulator.commands.options import RESULTS, OutOption, ProfileOption, ScenarioFile, SeedOption
from simulator.commands.reports import report, verify
from simulator.commands.state import state_app
from simulator.commands.target_flags import NO_TOKEN, TargetFlags, aimed
from simulator.commands.traces import Record, WithSecrets, recording_of
from simulator.commands.worker import WEB_PORT, Master, Web, WebPort, Workers, host_and_port, worker
from simulator.platform.console import make_console
from simulator.platform.interruptions import ignore_stop_signals
from simulator.platform.standard_streams import hold_standard_streams

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from simulator.running.run import RunRequest
    from simulator.scenario.values import Scenario

MACHINES = 1000
"""What the doctor looks for where nobody says how many."""
app = typer.Typer(
    help="HatchFarm Harness: a reference server for the HatchFarm API, and a simulator that judges any deployment.\n\n"
    "Every flag has an environment variable: `hatchfarm COMMAND --help` names them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
app.add_typer(attack_app, name="attack")
app.add_typer(state_app, name="state")

Virtual = Annotated[
    bool,
    typer.Option(
        "--virtual",
        help="Play in virtual time against a server in memory: as fast as can be, and the same for the same seed.",
        envvar="HATCHFARM_VIRTUAL",
    ),
]
Reports = Annotated[
    bool,
    typer.Option(
        "--reports/--no-reports",
        help="Draw report.html and the other reports; `hatchfarm report` can do it later.",
        envvar="HATCHFARM_REPORTS",
    ),
]


def _load(path: Path) -> tuple[Scenario, bytes]:
    """Read a scenario, and hold its server settings against the server's own list; return also what was read.

    Raises ScenarioError.
    """
    from reference_server.about import setting_names, settings_problem  # noqa: PLC0415 - loads only where it is used
    from simulator.scenario.loading import load_with_source  # noqa: PLC0415
    from simulator.scenario.server_problems import ServerSettings  # noqa: PLC0415

    return load_with_source(path, ServerSettings(setting_names(), settings_problem))


def _virtual_player() -> Callable[[RunRequest, Console], int]:
    from simulator.running.virtual import execute_virtually  # noqa: PLC0415 - it loads the server

    return execute_virtually


def _settings_epilog() -> str:
    from reference_server.about import settings_help  # noqa: PLC0415 - the server's modules load only where they are used

    rows = [f"  {name} ({default or 'unset'}): {purpose}" for name, default, purpose in settings_help()]
    return "\b\nSettings, as environment variables:\n" + "\n".join(rows)


class _ServeCommand(typer.core.TyperCommand):
    """Lists the settings below the options of `serve --help`."""

    def format_epilog(self, ctx: object, formatter: object) -> None:
        """Write the settings as they are, one a line."""
        del ctx
        formatter.write("\n" + _settings_epilog().removeprefix("\b\n") + "\n")  # type: ignore[attr-defined]


@app.command(cls=_ServeCommand)
def serve(
    *,
    express_lane: Annotated[
        bool,
        typer.Option(
            "--express-lane/--no-express-lane",
            help="Answer plain HTTP/1.1 without Hypercorn and Quart.",
            envvar="HATCHFARM_EXPRESS_LANE",
        ),
    ] = True,
    until_stdin_closes: Annotated[
        bool,
        typer.Option(
            "--until-stdin-closes",
            help="Also stop when standard input closes, so as not to outlive the parent process.",
            envvar="HATCHFARM_UNTIL_STDIN_CLOSES",
        ),
    ] = False,
    print_alert_rules: Annotated[
        bool,
        typer.Option(
            "--print-alert-rules",
            help="Print Prometheus alerting rules over the server's gauges, and start nothing.",
            envvar="HATCHFARM_PRINT_ALERT_RULES",
        ),
    ] = False,
) -> None:
    """Start the reference server, and say where it listens."""
    if print_alert_rules:
        from reference_server.alert_rules import ALERT_RULES  # noqa: PLC0415 - as above

        typer.echo(ALERT_RULES, nl=False)
        return
    from reference_server.app import serve as run_server  # noqa: PLC0415 - as above

    raise typer.Exit(run_server(os.environ, express_lane=express_lane, until_stdin_closes=until_stdin_closes))


@app.command()
@aimed()
def run(
    scenario: ScenarioFile,
    out: OutOption = RESULTS,
    seed: SeedOption = None,
    workers: Workers = None,
    master: Master = None,
    *,
    target: TargetFlags,
    profile: ProfileOption = None,
    web: Web = False,
    web_port: WebPort = WEB_PORT,
    record: Record = False,
    with_secrets: WithSecrets = False,
    reports: Reports = True,
    virtual: Virtual = False,
) -> None:
    """Run a scenario and judge what the server did.

    Exit codes: 0 everything held, 1 a check or threshold failed, 2 usage or scenario error or unreachable target,
    3 the harness could not know.
    """
    from reference_server.about import setting_names  # noqa: PLC0415 - slow to load, as are numpy and trio
    from simulator.bundle.writing import stored_scenario  # noqa: PLC0415
    from simulator.judging.facts import with_settings  # noqa: PLC0415
    from simulator.load.options import conductor_options  # noqa: PLC0415
    from simulator.running.run import USER_ERRORS, RunRequest, execute  # noqa: PLC0415
    from simulator.scenario.loading import ScenarioError  # noqa: PLC0415
    from simulator.scenario.remarks import remarks  # noqa: PLC0415

    try:
        loaded, source = _load(scenario)
    except ScenarioError as error:
        fail("run", str(error))
    loaded = with_settings(loaded, target.aim.settings)
    for remark in remarks(loaded, source):
        typer.echo(f"hatchfarm run: {remark.at(scenario)}", err=True)
    if target.url is not None and not target.token:
        fail("run", NO_TOKEN)
    if target.url is None and master is not None:
        fail(
            "run", "--master lets other hosts take part, which need --target: a run's own server is for this host only"
        )
    own_token = target.token if target.url is not None else token_hex(24)
    chosen_seed = loaded.seed if seed is None else seed
    recording = recording_of(record=record, with_secrets=with_secrets)
    try:
        address = None if master is None else host_and_port(master)
    except ValueError as error:
        fail("run", str(error))
    conducted_by = conductor_options(loaded, workers, address, web_port if web else None)
    if conducted_by is not None and record:
        fail("run", "--record takes what one process plays: leave out [[load]], --workers, --master and --web")
    request = RunRequest(
        loaded, scenario, chosen_seed, out, target.url, own_token, frozenset(setting_names()), recording, conducted_by,
        reports, stored_scenario(source), profile, target.aim, virtual,
    )  # fmt: skip
    play = _virtual_player() if virtual else execute
    exit_with("run", lambda: play(request, make_console()), USER_ERRORS)


@app.command()
def validate(
    scenarios: Annotated[list[Path], typer.Argument(help="Scenario files.", envvar="HATCHFARM_SCENARIO")],
) -> None:
    """Check scenario files offline, and say what is wrong where."""
    from simulator.running.in_ci import problems_of  # noqa: PLC0415 - as above
    from simulator.scenario.loading import ScenarioError  # noqa: PLC0415 - as above
    from simulator.scenario.remarks import remarks  # noqa: PLC0415

    wrong = 0
    for path in scenarios:
        try:
            for remark in remarks(*_load(path)):
                typer.echo(remark.at(path))
            typer.echo(f"{path}: right")
        except ScenarioError as error:
            wrong += 1
            typer.echo(str(error), err=True)
            for line in problems_of(error.problems, path, os.environ):
                typer.echo(line)
    raise typer.Exit(USAGE_ERROR if wrong else 0)


@app.command()
def schema(
    of: Annotated[
        str,
        typer.Argument(
            help="scenario, verdict, trace, capacity, bench, comparison or openapi", envvar="HATCHFARM_SCHEMA_OF"
        ),
    ] = "scenario",
) -> None:
    """Print the JSON Schema of scenarios, verdicts, trace lines, results, comparisons, or the API in OpenAPI."""
    from benchmarks.suite import suite_schema  # noqa: PLC0415 - as above
    from reference_server.about import described_api  # noqa: PLC0415
    from simulator.capacity.result import capacity_schema  # noqa: PLC0415 - as above
    from simulator.comparing.outcome import comparison_schema  # noqa: PLC0415 - as above
    from simulator.judging.verdict_file import verdict_schema  # noqa: PLC0415 - as above
    from simulator.scenario.values import json_schema  # noqa: PLC0415
    from simulator.traces.format import trace_schema  # noqa: PLC0415

    schemas: dict[str, Callable[[], object]] = {
        "scenario": json_schema,
        "verdict": verdict_schema,
        "trace": trace_schema,
        "capacity": capacity_schema,
        "bench": suite_schema,
        "comparison": comparison_schema,
        "openapi": described_api,
    }
    if of not in schemas:
        fail("schema", f"there is a schema of {' and of '.join(schemas)}, not of {of!r}")
    typer.echo(json.dumps(schemas[of](), indent=2))


@app.command()
@aimed()
def doctor(
    scenario: Annotated[
        Path | None, typer.Argument(help="A scenario: is all there that it needs?", envvar="HATCHFARM_SCENARIO")
    ] = None,
    machines: Annotated[
        int | None,
        typer.Option(
            help="How large a fleet to look for; the scenario's, or 1000.", envvar="HATCHFARM_MACHINES", min=1
        ),
    ] = None,
    *,
    target: TargetFlags,
    profile: ProfileOption = None,
) -> None:
    """Look at what a run needs: this machine, with --target the deployment, and what a scenario needs besides."""
    from simulator.client.target import TargetError, parse_target  # noqa: PLC0415
    from simulator.contract.profiles import profile_of  # noqa: PLC0415
    from simulator.running.doctor import look  # noqa: PLC0415 - as above
    from simulator.running.scenario_needs import check_scenario, connections_held  # noqa: PLC0415
    from simulator.scenario.loading import ScenarioError  # noqa: PLC0415

    aim = target.aim
    try:
        loaded = None if scenario is None else _load(scenario)[0]
        found = None if target.url is None else parse_target(target.url, target.token, aim.access, aim.addresses)
        judged_by = profile_of(profile, given_target=True)
        if loaded is None:
            checks = look(machines or MACHINES, found, judged_by, aim)
        else:
            held = connections_held(loaded)
            checks = look(machines or loaded.fleet.machines, found, judged_by, aim, held=held, scenario=loaded)
            checks += check_scenario(loaded, found)
    except (ScenarioError, TargetError) as error:
        fail("doctor", str(error))
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for check in checks:
        mark = "[green]right[/]" if check.right else ("[red]wrong[/]" if check.fatal else "[yellow]beware[/]")
        table.add_row(mark, check.name, escape(check.found) + ("" if check.right else f"\n-> {escape(check.hint)}"))
    make_console().print(table)
    raise typer.Exit(USAGE_ERROR if any(check.fatal and not check.right for check in checks) else 0)


traces.register(app)
app.command()(bench)
app.command()(capacity)
app.command()(compare)
app.command()(fuzz)
app.command()(worker)
app.command()(report)
app.command()(verify)


def main() -> None:
    """Run the command."""
    hold_standard_streams()
    try:
        app()
    finally:
        ignore_stop_signals()


if __name__ == "__main__":
    main()
