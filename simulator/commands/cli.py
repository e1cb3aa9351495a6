"""The `hatchfarm` command. Each flag has an environment variable; user errors end with one message and exit code 2."""

from __future__ import annotations

import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from simulator.commands import traces
from simulator.commands.attacks import attack_app
from simulator.commands.bench import bench
from simulator.commands.capacity import capacity
from simulator.commands.compare import compare
from simulator.commands.failing import USAGE_ERROR, fail
from simulator.commands.fuzz import fuzz
from simulator.commands.habits import Commands
from simulator.commands.misspelt import misspelt_variables
from simulator.commands.options import ProfileOption, complete_scenario
from simulator.commands.reading import read_scenario
from simulator.commands.reports import report, verify
from simulator.commands.results import results
from simulator.commands.run import run
from simulator.commands.scenarios import init, metrics, scenarios, validate
from simulator.commands.state import state_app
from simulator.commands.target_flags import TargetFlags, aimed
from simulator.commands.worker import worker
from simulator.platform.console import make_console
from simulator.platform.interrupted import INTERRUPTED, SAID
from simulator.platform.interruptions import ignore_stop_signals, repeat_dropped_interrupts
from simulator.platform.standard_streams import hold_standard_streams

if TYPE_CHECKING:
    from collections.abc import Callable

MACHINES = 1000
"""What the doctor looks for where nobody says how many."""
app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"hatchfarm {version('hatchfarm-harness')}, Python {platform.python_version()}")
        raise typer.Exit


@app.callback()
def hatchfarm(
    context: typer.Context,
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", help="Say which version this is.", callback=_show_version, is_eager=True,
            envvar="HATCHFARM_SHOW_VERSION",
        ),
    ] = False,
) -> None:  # fmt: skip
    """HatchFarm Harness: a reference server for the HatchFarm API, and a simulator that judges any deployment.

    Every flag has an environment variable: `hatchfarm COMMAND --help` names them.
    """
    del version  # it is said before
    for name, meant in misspelt_variables(context.command, os.environ).items():
        typer.echo(f"warning: {name} is no flag's variable; did you mean {meant}?", err=True)


app.command()(run)
app.command()(validate)
app.command()(scenarios)
app.command()(init)
app.command()(metrics)
app.add_typer(attack_app, name="attack")
app.add_typer(state_app, name="state")


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
    print_dashboard: Annotated[
        bool,
        typer.Option(
            "--print-dashboard",
            help="Print a dashboard for Grafana over the server's metrics, and start nothing.",
            envvar="HATCHFARM_PRINT_DASHBOARD",
        ),
    ] = False,
) -> None:
    """Start the reference server, and say where it listens."""
    if print_dashboard:
        from reference_server.dashboard import dashboard_json  # noqa: PLC0415 - the server's modules load only where used

        typer.echo(dashboard_json(), nl=False)
        return
    if print_alert_rules:
        from reference_server.alert_rules import ALERT_RULES  # noqa: PLC0415 - as above

        typer.echo(ALERT_RULES, nl=False)
        return
    from reference_server.app import serve as run_server  # noqa: PLC0415 - as above

    raise typer.Exit(run_server(os.environ, express_lane=express_lane, until_stdin_closes=until_stdin_closes))


@app.command()
def schema(
    of: Annotated[
        str,
        typer.Argument(
            help="scenario, verdict, trace, capacity, bench, comparison, cross-check or openapi",
            envvar="HATCHFARM_SCHEMA_OF",
        ),
    ] = "scenario",
) -> None:
    """Print the JSON Schema of scenarios, verdicts, trace lines, results, comparisons, or the API in OpenAPI."""
    from benchmarks.suite import suite_schema  # noqa: PLC0415 - as above
    from reference_server.about import described_api, setting_schemas  # noqa: PLC0415
    from simulator.capacity.result import capacity_schema  # noqa: PLC0415 - as above
    from simulator.comparing.outcome import comparison_schema  # noqa: PLC0415 - as above
    from simulator.comparing.worlds import cross_check_schema  # noqa: PLC0415 - as above
    from simulator.judging.verdict_file import verdict_schema  # noqa: PLC0415 - as above
    from simulator.scenario.schema import json_schema  # noqa: PLC0415
    from simulator.scenario.server_problems import CHOSEN_BY_THE_RUN  # noqa: PLC0415
    from simulator.traces.format import trace_schema  # noqa: PLC0415

    schemas: dict[str, Callable[[], object]] = {
        "scenario": lambda: json_schema(
            {name: one for name, one in setting_schemas().items() if name not in CHOSEN_BY_THE_RUN}
        ),
        "verdict": verdict_schema,
        "trace": trace_schema,
        "capacity": capacity_schema,
        "bench": suite_schema,
        "comparison": comparison_schema,
        "cross-check": cross_check_schema,
        "openapi": described_api,
    }
    if of not in schemas:
        fail("schema", f"there is a schema of {' and of '.join(schemas)}, not of {of!r}")
    typer.echo(json.dumps(schemas[of](), indent=2))


@app.command()
@aimed()
def doctor(
    scenario: Annotated[
        Path | None,
        typer.Argument(
            help="A scenario: is all there that it needs?",
            envvar="HATCHFARM_SCENARIO",
            autocompletion=complete_scenario,
        ),
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
        loaded = None if scenario is None else read_scenario(scenario).scenario
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
app.command()(results)
app.command()(verify)


def main() -> None:
    """Run the command. One that is interrupted, and does not say itself what that means, says so in a line."""
    try:
        hold_standard_streams()
        repeat_dropped_interrupts()
        app()
    except (KeyboardInterrupt, SystemExit) as end:
        if isinstance(end, SystemExit) and end.code != INTERRUPTED:
            raise
        sys.stderr.write(SAID)
        raise SystemExit(INTERRUPTED) from None
    finally:
        ignore_stop_signals()


if __name__ == "__main__":
    main()
