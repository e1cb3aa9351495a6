"""`hatchfarm run`: its flags, each with an environment variable, and what they ask for."""

from __future__ import annotations

from secrets import token_hex  # noqa: TID251 - the token of a run's own server
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from simulator.commands.failing import exit_with, fail
from simulator.commands.options import (
    RESULTS,
    DurationOption,
    MachinesOption,
    OutOption,
    ProfileOption,
    ScenarioFiles,
    SeedOption,
    ServeMetrics,
    SetOption,
    overrides_of,
)
from simulator.commands.reading import read_scenario
from simulator.commands.target_flags import NO_TOKEN, TargetFlags, aimed
from simulator.commands.traces import Record, WithSecrets, recording_of
from simulator.commands.worker import WEB_PORT, Master, Web, WebPort, Workers, host_and_port
from simulator.platform.console import make_console
from simulator.platform.program import this_program

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rich.console import Console

    from simulator.contract.profiles import Profile
    from simulator.running.run import RunRequest
    from simulator.scenario.loading import Loaded
    from simulator.scenario.overriding import Overrides
    from simulator.traces.recording import Recording

Virtual = Annotated[
    bool,
    typer.Option(
        "--virtual",
        help="Play in virtual time against a server in memory: as fast as can be, and the same for the same seed.",
        envvar="HATCHFARM_VIRTUAL",
    ),
]
CrossCheck = Annotated[
    bool,
    typer.Option(
        "--cross-check",
        help="Play in virtual time and then live, and compare verdicts, counts and alert times of the two.",
        envvar="HATCHFARM_CROSS_CHECK",
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


class _Wanted(msgspec.Struct, frozen=True):
    """What the flags ask for, of each scenario alike."""

    out: Path
    seed: int | None
    workers: int | None
    master: tuple[str, int] | None
    web_port: int | None
    recording: Recording
    reports: bool
    virtual: bool
    cross_check: bool
    metrics_port: int | None
    profile: Profile | None
    target: TargetFlags


@aimed()
def run(
    scenarios: ScenarioFiles,
    out: OutOption = RESULTS,
    seed: SeedOption = None,
    duration: DurationOption = None,
    machines: MachinesOption = None,
    values: SetOption = None,
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
    cross_check: CrossCheck = False,
    serve_metrics: ServeMetrics = None,
) -> None:
    """Run scenarios one after the other, and judge what the server did.

    Exit codes: 0 everything held, 1 a check or threshold failed, 2 usage or scenario error or unreachable target,
    3 the harness could not know. Of several scenarios it is the worst: 1 counts before 2, and 2 before 3. With
    --cross-check 0 says as well that both worlds agree, 1 that they differ, 3 that it cannot be told.
    """
    from simulator.running.several import run_all  # noqa: PLC0415 - slow to load, as are numpy and trio

    loaded = _read_all(scenarios, overrides_of(duration, machines, values))
    if target.url is not None and not target.token:
        fail("run", NO_TOKEN)
    if cross_check and virtual:
        fail("run", "--cross-check plays in virtual time and live: leave --virtual away")
    address = None if master is None else _master_address(master, len(scenarios), target)
    recording = recording_of(record=record, with_secrets=with_secrets)
    wanted = _Wanted(
        out,
        seed,
        workers,
        address,
        web_port if web else None,
        recording,
        reports,
        virtual,
        cross_check,
        serve_metrics,
        profile,
        target,
    )
    requests = [_request(path, one, wanted) for path, one in zip(scenarios, loaded, strict=True)]
    play, errors = _player(wanted)
    if len(requests) == 1:
        exit_with("run", lambda: play(requests[0], make_console()), errors)
    raise typer.Exit(run_all(requests, play, errors, make_console()))


def _master_address(master: str, scenarios: int, target: TargetFlags) -> tuple[str, int]:
    """Return where workers of other hosts are awaited, if they can take part at all."""
    if target.url is None:
        fail(
            "run", "--master lets other hosts take part, which need --target: a run's own server is for this host only"
        )
    if scenarios > 1:
        fail(
            "run",
            "--master is for one scenario: workers of other hosts end with its run, and the next would wait for "
            "nobody. Run each in a call of its own",
        )
    try:
        return host_and_port(master)
    except ValueError as error:
        fail("run", str(error))


def _read_all(scenarios: list[Path], overrides: Overrides) -> list[Loaded]:
    """Read every scenario, before any is run; what is wrong with all of them is one message."""
    from simulator.scenario.loading import ScenarioError  # noqa: PLC0415 - as above
    from simulator.scenario.remarks import remarks  # noqa: PLC0415 - as above

    loaded, problems = [], []
    for path in scenarios:
        try:
            loaded.append(read_scenario(path, overrides))
        except ScenarioError as error:
            problems.append(str(error))
    if problems:
        fail("run", "\n".join(problems))
    for path, one in zip(scenarios, loaded, strict=True):
        for remark in remarks(one.scenario, one.source):
            typer.echo(f"hatchfarm run: {remark.at(path)}", err=True)
    return loaded


def _request(path: Path, loaded: Loaded, wanted: _Wanted) -> RunRequest:
    """Return what is asked for of one scenario."""
    from reference_server.about import setting_names  # noqa: PLC0415 - as above
    from simulator.bundle.writing import stored_scenario  # noqa: PLC0415 - as above
    from simulator.judging.facts import with_settings  # noqa: PLC0415 - as above
    from simulator.load.options import conductor_options  # noqa: PLC0415 - as above
    from simulator.running.run import RunRequest  # noqa: PLC0415 - as above
    from simulator.scenario.network_problems import DUPLICATION  # noqa: PLC0415 - as above
    from simulator.traces.recording import Recording  # noqa: PLC0415 - as above

    target = wanted.target
    scenario = with_settings(loaded.scenario, target.aim.settings)
    conducted_by = conductor_options(scenario, wanted.workers, wanted.master, wanted.web_port)
    if wanted.virtual and conducted_by is not None and not conducted_by.asked_for:
        conducted_by = None  # what a scenario has spread out is one process's there
    if conducted_by is not None and wanted.recording is not Recording.NOTHING:
        fail("run", "--record takes what one process plays: leave out [[load]], --workers, --master and --web")
    if conducted_by is not None and any(fault.kind == DUPLICATION for fault in scenario.faults):
        fail(
            "run",
            f"{DUPLICATION} is for a run in one process, where copies are told from other requests: leave out "
            "--workers, --master and --web",
        )
    return RunRequest(
        scenario,
        path,
        scenario.seed if wanted.seed is None else wanted.seed,
        wanted.out,
        target.url,
        target.token if target.url is not None else token_hex(24),
        frozenset(setting_names()),
        wanted.recording,
        conducted_by,
        wanted.reports,
        stored_scenario(loaded.source),
        wanted.profile,
        target.aim,
        wanted.virtual,
        wanted.metrics_port,
        loaded.changes,
        loaded.options,
        program=this_program(),
    )


def _player(wanted: _Wanted) -> tuple[Callable[[RunRequest, Console], int], tuple[type[Exception], ...]]:
    """Return what plays a request, and what it raises for people to read."""
    from simulator.running.run import USER_ERRORS, execute  # noqa: PLC0415 - as above

    if wanted.cross_check:
        from simulator.comparing.cross_checking import cross_check  # noqa: PLC0415 - it loads the server
        from simulator.errors import BundleError  # noqa: PLC0415 - as above

        return cross_check, (*USER_ERRORS, BundleError)
    if not wanted.virtual:
        return execute, USER_ERRORS
    from simulator.running.virtual import execute_virtually  # noqa: PLC0415 - it loads the server

    return execute_virtually, USER_ERRORS
