"""`hatchfarm capacity`: its flags, each with an environment variable."""

from __future__ import annotations

from secrets import token_hex  # noqa: TID251 - the token of a step's own server
from typing import Annotated

import typer

from simulator.commands.failing import exit_with, fail
from simulator.commands.options import RESULTS, OutOption, ProfileOption, ScenarioFile, SeedOption
from simulator.commands.reading import read_scenario
from simulator.commands.target_flags import NO_TOKEN, TargetFlags, aimed
from simulator.limits import CAPACITY_RATE_MAX

MinRate = Annotated[
    int,
    typer.Option(
        help="Heartbeats a second to begin with.", envvar="HATCHFARM_CAPACITY_MIN_RATE", min=1, max=CAPACITY_RATE_MAX
    ),
]
MaxRate = Annotated[
    int,
    typer.Option(
        help="Heartbeats a second to end with.", envvar="HATCHFARM_CAPACITY_MAX_RATE", min=1, max=CAPACITY_RATE_MAX
    ),
]
StepSeconds = Annotated[
    float,
    typer.Option(
        help="How long each step is measured, at least; always two intervals of a machine.",
        envvar="HATCHFARM_CAPACITY_STEP_SECONDS",
        min=1,
        max=600,
    ),
]
Precision = Annotated[
    float,
    typer.Option(
        help="How wide the interval may be, as a share of its upper end.",
        envvar="HATCHFARM_CAPACITY_PRECISION",
        min=0.01,
        max=0.5,
    ),
]
Require = Annotated[
    int | None,
    typer.Option(
        help="Try this rate alone: exits 1 when the server is too slow for it.",
        envvar="HATCHFARM_CAPACITY_REQUIRE",
        min=1,
        max=CAPACITY_RATE_MAX,
    ),
]


@aimed()
def capacity(
    scenario: ScenarioFile,
    *,
    min_rate: MinRate = 100,
    max_rate: MaxRate = 20_000,
    require: Require = None,
    step_seconds: StepSeconds = 5.0,
    precision: Precision = 0.1,
    target: TargetFlags,
    profile: ProfileOption = None,
    seed: SeedOption = None,
    out: OutOption = RESULTS,
) -> None:
    """Find the highest rate of heartbeats at which a scenario's thresholds and all checkers hold.

    Without --target each step has a new server.

    Exit codes: 0 found, or all rates allowed held, 1 the rate that --require names did not, 2 usage or scenario error
    or unreachable target, 3 the server's capacity is not known: not even the lowest rate held, the harness was the
    limit, or the search ended early.
    """
    from reference_server.about import setting_names  # noqa: PLC0415 - slow to load, as is what follows
    from simulator.capacity.driver import execute  # noqa: PLC0415
    from simulator.capacity.search import Bounds  # noqa: PLC0415
    from simulator.judging.facts import with_settings  # noqa: PLC0415
    from simulator.platform.console import make_console  # noqa: PLC0415
    from simulator.running.run import USER_ERRORS, RunRequest  # noqa: PLC0415
    from simulator.scenario.loading import ScenarioError  # noqa: PLC0415

    if min_rate > max_rate:
        fail("capacity", f"--min-rate {min_rate} is above --max-rate {max_rate}")
    if target.url is not None and not target.token:
        fail("capacity", NO_TOKEN)
    try:
        loaded = read_scenario(scenario).scenario
    except ScenarioError as error:
        fail("capacity", str(error))
    own_token = target.token if target.url is not None else token_hex(24)
    loaded = with_settings(loaded, target.aim.settings)
    chosen_seed = loaded.seed if seed is None else seed
    request = RunRequest(
        loaded, scenario, chosen_seed, out, target.url, own_token, frozenset(setting_names()), profile=profile,
        aim=target.aim,
    )  # fmt: skip
    bounds = (
        Bounds(min_rate, max_rate, precision)
        if require is None
        else Bounds(require, require, precision, is_required=True)
    )
    exit_with("capacity", lambda: execute(request, bounds, step_seconds, make_console()), USER_ERRORS)
