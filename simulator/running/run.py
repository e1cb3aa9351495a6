"""One run from scenario to verdict: starting the server, playing the fleet, judging and writing the results."""

from __future__ import annotations

import os
import time
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import trio
from rich.markup import escape

from reference_server.wire.units import SECOND_NS
from simulator.bundle.writing import write_bundle
from simulator.client.access import Access
from simulator.client.addresses import with_known_addresses
from simulator.client.aim import Aim
from simulator.client.checking import check_target, read_target_clock, stale_seconds_of
from simulator.client.patience import PATIENCE, Patience
from simulator.client.probing import look_for_features
from simulator.client.target import Target, TargetError, is_on_this_machine, parse_target
from simulator.contract.metrics import WORKERS
from simulator.deployment.own import own_deployment, own_network
from simulator.deployment.server_process import ServerError
from simulator.deployment.server_watch import ServerWatch
from simulator.deployment.side_servers import side_servers
from simulator.history.rows import History
from simulator.history.starvation import HARNESS
from simulator.judging.facts import (
    STALE_SECONDS,
    addresses_of,
    bounds_of,
    clock_facts,
    command_warnings,
    settings_warnings,
)
from simulator.judging.judging import judge_run
from simulator.load.conductor import Conductor
from simulator.load.options import ConductorError, ConductorOptions, see_that_the_web_ui_can_be_served
from simulator.platform.interruptions import HeldSignal, signals_held, stop_signals
from simulator.platform.output_files import OutputError, folder_of, see_writable
from simulator.platform.program import NAME
from simulator.platform.wording import plural
from simulator.report.text import printed
from simulator.running.aborting import end_early
from simulator.running.doctor import check_open_files
from simulator.running.in_ci import annotations_of, place_of, tell_ci
from simulator.running.interrupting import interrupt, watch_signals
from simulator.running.leaving import leave_and_show, write_others
from simulator.running.recorded import origin_of, record_of
from simulator.running.run_state import RunState
from simulator.running.scenario_needs import connections_held, faults_problem, target_warnings
from simulator.traces.recording import Recording
from simulator.traces.tape import Tape
from simulator.view.sampling import Sampling
from simulator.view.serving import ServingError, serving
from simulator.view.showing import View
from simulator.worlds.harness_failure import describe_failure, leaf_errors
from simulator.worlds.live.world import run_fleet
from simulator.worlds.players.fault_player import FaultPlayer
from simulator.worlds.players.onboarding import SetUpError
from simulator.worlds.progress import Phase, Progress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from rich.console import Console

    from simulator.contract.profiles import Profile
    from simulator.deployment.own import Deployment
    from simulator.judging.record import RunRecord
    from simulator.judging.verdict_file import RunVerdict
    from simulator.report.files import WriteResult
    from simulator.scenario.overriding import Change
    from simulator.scenario.values import Scenario

    Work = Callable[["RunRequest", "RunState"], Awaitable[None]]

OWN_SERVER = "its own server"


class RunError(Exception):
    """Raised when the run cannot begin; the message says why and what to do."""


class RunRequest(msgspec.Struct, frozen=True):
    """What to run, and how. `target` is a URL, or None for a server of the run's own."""

    scenario: Scenario
    path: Path
    seed: int
    out: Path
    target: str | None
    token: str
    server_settings: frozenset[str] = frozenset()
    """Environment variables that the run's own server takes from the scenario alone, never from this environment."""
    record: Recording = Recording.NOTHING
    conducted_by: ConductorOptions | None = None
    """How Locust conducts the run; None if this process plays the fleet."""
    reports: bool = True
    """Whether reports are written at the end of the run; `hatchfarm report` can write them later."""
    scenario_text: str = ""
    """The text of the scenario file for the bundle, read together with the scenario."""
    profile: Profile | None = None
    """The profile asked for; None for the default."""
    aim: Aim = Aim()
    """What the user stated about the target."""
    virtual: bool = False
    """Whether the run is in virtual time, against a server in memory."""
    metrics_port: int | None = None
    """The port of 127.0.0.1 where the run serves its metrics while it lasts; 0 for any free port, None for nowhere."""
    changes: tuple[Change, ...] = ()
    """Values that replace those of the scenario's text: other processes that play the run parse the text again."""
    options: tuple[str, ...] = ()
    """The command-line flags that ask for `changes`."""
    on_verdict: Callable[[RunVerdict, Path], None] | None = None
    """Called with the verdict and the folder of the results once they are shown."""
    patience: Patience = PATIENCE
    """The timeouts for the target, if this process plays the run in real time."""
    held: HeldSignal | None = None
    """The state of signals of a caller that holds them around this run; None if no caller does."""
    program: str = NAME
    """The command that called the program, quoted for a shell."""


def execute(
    request: RunRequest, console: Console, start: Callable[..., object] = trio.run, work: Work | None = None
) -> int:
    """Play the run, write and show its results, and return the exit code. Raises USER_ERRORS if it cannot begin.

    `start` runs an async function as `trio.run` does, and `work` plays the run in it. The defaults play in real time.
    """
    if request.target is not None and (problem := faults_problem(request.scenario)):
        raise RunError(problem)
    if not request.virtual:
        see_open_files_suffice(request.scenario.fleet.machines, connections_held(request.scenario))
    see_writable(request.out / request.scenario.name)
    if request.conducted_by is not None and (web := see_that_the_web_ui_can_be_served(request.conducted_by)):
        console.print(f"Web UI: {web}", markup=False)
    with signals_held(request.held) as held, ExitStack() as stack:
        outcome = _before(request)
        view = _view_of(request, outcome, console)
        held.acknowledge = partial(view.acknowledge, again=False)
        _introduce(request, console)
        if request.metrics_port is not None:
            url = stack.enter_context(serving(request.metrics_port, lambda: view.latest))
            console.print(f"Metrics: {url}", markup=False)
        stack.enter_context(view)
        start(_run, request, outcome, view, held, work or _work)
        return _report(request, outcome, view, console)


def play(
    request: RunRequest, console: Console, start: Callable[..., object] = trio.run, work: Work | None = None
) -> RunState:
    """Play the run like `execute`, and return its state at the end without judging or writing anything."""
    outcome = _before(request)
    with _view_of(request, outcome, console) as view:
        start(_run, request, outcome, view, HeldSignal(), work or _work)
    return outcome


def observe(request: RunRequest, console: Console) -> tuple[RunRecord, History]:
    """Play the run, and return its record and history without judging or writing. Raises what `execute` raises."""
    outcome = play(request, console)
    return record_of(request, outcome), outcome.history


def _before(request: RunRequest) -> RunState:
    """Return the state of a run that has not begun."""
    tape = None if request.record is Recording.NOTHING else Tape()
    progress = Progress()
    progress.started_ns = time.monotonic_ns()  # replaced when the run begins; events before that need a time, too
    return RunState(History(), progress, {}, request.target or OWN_SERVER, datetime.now(UTC), [], tape=tape)  # noqa: TID251 - when this run was


def _introduce(request: RunRequest, console: Console) -> None:
    scenario = request.scenario
    console.print(
        f"[bold]{scenario.name}[/]: {plural(scenario.fleet.machines, 'machine')}, "
        f"{scenario.duration_ns / SECOND_NS:.0f}s, seed {request.seed}",
    )
    if scenario.description:
        console.print(f"[dim]{escape(printed(scenario.description.strip()))}[/]")


def _view_of(request: RunRequest, outcome: RunState, console: Console) -> View:
    scenario, progress = request.scenario, outcome.progress
    sampling = Sampling(
        scenario,
        request.seed,
        outcome.history,
        progress,
        outcome.known,
        time.monotonic,
        time.thread_time,
        virtual=request.virtual,
    )
    view = View(console, sampling, progress, scenario.duration_ns, time.monotonic)
    outcome.look_when_due, outcome.tell = view.look_when_due, view.warn
    return view


def see_open_files_suffice(machines: int, held: int = 0) -> None:
    """Raise RunError if `machines`, and `held` connections of attacks, need more open files than are allowed."""
    files = check_open_files(machines, held)
    if not files.right:
        raise RunError(f"{files.name}: {files.found}; {files.hint} (`hatchfarm doctor` looks at the rest)")


def _report(request: RunRequest, outcome: RunState, view: View, console: Console) -> int:
    """Judge the run, write the results and then show them; return the exit code, 2 if they could not be written."""
    view.enter(Phase.JUDGING)
    record = record_of(request, outcome)
    verdict = judge_run(record, outcome.history)
    folder = folder_of(request.out, request.scenario.name, outcome.started_at)
    others = partial(write_others, outcome.failure, outcome.tape, origin_of(request, outcome), request)
    annotations = annotations_of(verdict, request.scenario, place_of(request.path, os.environ), request.scenario_text)

    def write() -> WriteResult:
        view.enter(Phase.WRITING)
        return write_bundle(
            folder, verdict, record, outcome.history, request.scenario_text, reports=request.reports, others=others
        )

    def show() -> None:
        view.close()
        tell_ci(console, os.environ, annotations, folder)

    code = leave_and_show(console, request.out, folder, verdict, write, show)
    if request.on_verdict is not None:
        request.on_verdict(verdict, folder)
    return code


async def _run(request: RunRequest, outcome: RunState, view: View, held: HeldSignal, work_in: Work) -> None:
    """Play the run, with its signal handling and its view, to its end or to a signal. Results are in `outcome`."""
    with trio.open_signal_receiver(*stop_signals()) as signals:
        async with trio.open_nursery() as nursery:
            work = trio.CancelScope()
            if held.number is not None:
                interrupt(held.number, outcome, work)
            nursery.start_soon(watch_signals, signals, held, outcome, view, work)
            if not request.virtual:  # virtual time updates the view by an event: a task would change the order of tasks
                nursery.start_soon(view.keep)
            with work:
                await work_in(request, outcome)
            nursery.cancel_scope.cancel()


async def _work(request: RunRequest, outcome: RunState) -> None:
    """Play the run against the target, or against a server started for it, and watch the server meanwhile."""
    scenario, watch, ending = request.scenario, ServerWatch(outcome.progress), outcome.progress.ending
    watch.add_processes(HARNESS, lambda: (os.getpid(),))
    async with AsyncExitStack() as stack:
        deployment: Deployment | None = None
        sides: dict[str, Target] = {}
        if request.target is None:
            deployment = await stack.enter_async_context(
                own_deployment(
                    scenario.server, request.token, request.server_settings, outcome.started_at, scenario.faults, ending
                )
            )
            watch.add_deployment(deployment)
            deployment = await stack.enter_async_context(own_network(deployment, scenario, request.seed))
            sides = await side_servers(
                scenario, request.token, request.server_settings, stack, deployment, outcome.started_at, watch, ending
            )
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch.until_death, nursery.cancel_scope)
                async with ends_noted(outcome, watch):
                    await _set_up_and_play(request, outcome, deployment, sides, watch)
                nursery.cancel_scope.cancel()
        finally:
            outcome.history.deaths += watch.deaths
            outcome.history.cpu_waits += watch.cpu_waits()
            outcome.interrupted = outcome.interrupted or watch.why_down or None
    if request.target is None:
        outcome.log = watch.search_logs(outcome.secrets, others_play=request.conducted_by is not None)


async def _set_up_and_play(
    request: RunRequest,
    outcome: RunState,
    deployment: Deployment | None,
    sides: dict[str, Target],
    watch: ServerWatch,
) -> None:
    """Check and probe the target, and play the scenario against it."""
    scenario = request.scenario
    faults = None
    stated = request.aim.addresses or scenario.target.addresses
    if deployment is None:
        target = parse_target(request.target or "", request.token, request.aim.access, stated, request.patience)
    else:
        target = parse_target(
            deployment.url, request.token, Access(trusted=deployment.trusted), patience=request.patience
        )
    outcome.target = OWN_SERVER if deployment is not None else target.url
    outcome.authority = target.authority
    outcome.baseline = await check_target(target)
    if deployment is None:
        if is_on_this_machine(target):
            watch.add_target(target.port)
        target, problem = await with_known_addresses(target, stated, scenario.server.environ())
        outcome.addresses = addresses_of(target)
        outcome.warn(*request.aim.access.warnings, *([problem] if problem else []))
    outcome.lacks = await look_for_features(target, outcome.baseline)
    noted = {"lacks": outcome.lacks, "secrets": None if deployment is None else outcome.secrets}
    target = msgspec.structs.replace(target, **noted)
    sides = {name: msgspec.structs.replace(side, **noted, patience=request.patience) for name, side in sides.items()}
    if deployment is not None:
        known = not scenario.server.command  # a foreign program may have settings that the scenario does not give
        target = msgspec.structs.replace(target, others=deployment.other_ports, settings_known=known)
        faults = FaultPlayer(scenario, deployment, target, outcome.history, outcome.progress)
    over_hosts = request.conducted_by is not None and bool(request.conducted_by.master)
    workers = 0 if deployment is not None else int(outcome.baseline.get(WORKERS, 0))
    outcome.warn(*target_warnings(target, workers, over_hosts=over_hosts))
    if deployment is None or scenario.server.command:
        outcome.stale_seconds = await stale_seconds_of(target)
    if deployment is not None:
        outcome.warn(*command_warnings(scenario, outcome.stale_seconds))
    else:
        stated_stale = request.aim.strict_settings or STALE_SECONDS in request.aim.settings
        outcome.warn(*settings_warnings(scenario, outcome.stale_seconds, stale_is_stated=stated_stale))
        outcome.clock = clock_facts(await read_target_clock(target))
    clock_offset_ns = outcome.clock.used_ns if outcome.clock else 0
    async with trio.open_nursery() as nursery:
        progress = outcome.progress
        nursery.start_soon(end_early, scenario, outcome.known, progress, outcome.note_end, nursery.cancel_scope)
        await _play(request, outcome, target, sides, clock_offset_ns, faults)
        nursery.cancel_scope.cancel()
    if outcome.clock is not None:
        after = await read_target_clock(target)
        outcome.clock = msgspec.structs.replace(outcome.clock, after=bounds_of(after))


async def _play(
    request: RunRequest,
    outcome: RunState,
    target: Target,
    sides: dict[str, Target],
    clock_offset_ns: int,
    faults: FaultPlayer | None,
) -> None:
    """Play the scenario in this process, or in other processes that Locust conducts."""
    scenario, seed = request.scenario, request.seed
    if request.conducted_by is None:
        history, progress = outcome.history, outcome.progress
        await run_fleet(scenario, seed, target, history, progress, outcome.tape, sides, clock_offset_ns, faults)
        return
    conductor = Conductor(
        scenario, request.scenario_text, seed, target, outcome.history, outcome.progress, request.conducted_by,
        sides, clock_offset_ns, faults, changes=request.changes,
    )  # fmt: skip
    outcome.conducted = conductor.known
    try:
        await conductor.run()
    finally:
        outcome.history = conductor.merged()
        outcome.interrupted = outcome.interrupted or conductor.problem or None
        outcome.warnings += conductor.losses


@asynccontextmanager
async def ends_noted(outcome: RunState, watch: ServerWatch) -> AsyncIterator[None]:
    """Keep the results of a run that ends because a server dies or the harness itself fails, and note why it ended.

    USER_ERRORS, such as an unusable target, are raised again, with two exceptions: the target was usable until the run
    was to be set up (`SetUpError`), or it was the run's own server and has ended. Then the run is judged as it is.
    """
    try:
        yield
        await watch.look()
    except Exception as error:
        faults = [one for one in leaf_errors(error) if not isinstance(one, USER_ERRORS)]
        unserved = [one for one in leaf_errors(error) if isinstance(one, SetUpError)]
        if not faults and await watch.died():
            return
        if unserved and not faults:
            outcome.interrupted = f"the run could not be set up: {unserved[0]}"
            return
        if not faults:
            raise
        outcome.failure = error
        outcome.interrupted = describe_failure(faults[0], outcome.progress.elapsed_ns / SECOND_NS)


USER_ERRORS = (RunError, ConductorError, TargetError, ServerError, OutputError, ServingError)
"""The errors of `execute` with a message for users."""
