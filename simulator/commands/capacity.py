"""`hatchfarm capacity`: its flags, each with an environment variable."""

from __future__ import annotations

import sys
from pathlib import Path
from secrets import token_hex  # noqa: TID251 - the token of a step's own server
from typing import Annotated, NoReturn

import typer

from simulator.commands.options import ProfileOption  # noqa: TC001 - typer reads the annotations
from simulator.commands.target_flags import NO_TOKEN, TargetFlags, aimed
from simulator.limits import CAPACITY_RATE_MAX, SEED_MAX

USAGE_ERROR = 2


@aimed()
def capacity(
    scenario: Annotated[Path, typer.Argument(help="A scenario file (TOML).", envvar="HATCHFARM_SCENARIO")],
    *,
    min_rate: Annotated[
        int,
        typer.Option(
            help="Heartbeats a second to begin with.",
            envvar="HATCHFARM_CAPACITY_MIN_RATE",
            min=1,
            max=CAPACITY_RATE_MAX,
        ),
    ] = 100,
    max_rate: Annotated[
        int,
        typer.Option(
            help="Heartbeats a second to end with.", envvar="HATCHFARM_CAPACITY_MAX_RATE", min=1, max=CAPACITY_RATE_MAX
        ),
    ] = 20_000,
    step_seconds: Annotated[
        float,
        typer.Option(
            help="How long each step is measured, at least; always two intervals of a machine.",
            envvar="HATCHFARM_CAPACITY_STEP_SECONDS",
            min=1,
            max=600,
        ),
    ] = 5.0,
    precision: Annotated[
        float,
        typer.Option(
            help="How wide the interval may be, as a share of its upper end.",
            envvar="HATCHFARM_CAPACITY_PRECISION",
            min=0.01,
            max=0.5,
        ),
    ] = 0.1,
    target: TargetFlags,
    profile: ProfileOption = None,
    seed: Annotated[
        int | None, typer.Option(help="Instead of the scenario's.", envvar="HATCHFARM_SEED", min=0, max=SEED_MAX)
    ] = None,
    out: Annotated[Path, typer.Option(help="Where results go.", envvar="HATCHFARM_OUT")] = Path("results"),
) -> None:
    """Find the highest rate of heartbeats at which a scenario's thresholds and all checkers hold.

    Without --target each step has a new server.

    Exit codes: 0 found, or all rates allowed held, 2 usage or scenario error or unreachable target, 3 the server's
    capacity is not known: not even the lowest rate held, the harness was the limit, or the search ended early.
    """
    from reference_server.app import setting_names, settings_problem  # noqa: PLC0415 - slow to load, as is what follows
    from simulator.capacity.driver import execute  # noqa: PLC0415
    from simulator.capacity.search import Bounds  # noqa: PLC0415
    from simulator.judging.facts import with_settings  # noqa: PLC0415
    from simulator.platform.console import make_console  # noqa: PLC0415
    from simulator.running.run import USER_ERRORS, RunRequest  # noqa: PLC0415
    from simulator.scenario.loading import ScenarioError, load_scenario  # noqa: PLC0415
    from simulator.scenario.server_problems import ServerSettings  # noqa: PLC0415

    if min_rate > max_rate:
        _fail(f"--min-rate {min_rate} is above --max-rate {max_rate}")
    if target.url is not None and not target.token:
        _fail(NO_TOKEN)
    names = setting_names()
    try:
        loaded = load_scenario(scenario, ServerSettings(names, settings_problem))
    except ScenarioError as error:
        _fail(str(error))
    own_token = target.token if target.url is not None else token_hex(24)
    loaded = with_settings(loaded, target.aim.settings)
    chosen_seed = loaded.seed if seed is None else seed
    request = RunRequest(
        loaded, scenario, chosen_seed, out, target.url, own_token, frozenset(names), profile=profile, aim=target.aim
    )  # fmt: skip
    problem = ""
    code = 0
    try:
        code = execute(request, Bounds(min_rate, max_rate, precision), step_seconds, make_console())
    except* USER_ERRORS as group:
        error_: BaseException = group
        while isinstance(error_, BaseExceptionGroup):
            error_ = error_.exceptions[0]
        problem = str(error_)
    if problem:
        _fail(problem)
    raise typer.Exit(code)


def _fail(message: str) -> NoReturn:
    sys.stderr.write(f"hatchfarm capacity: {message}\n")
    raise typer.Exit(USAGE_ERROR)
