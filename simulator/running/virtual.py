"""`hatchfarm run --virtual`: a run in virtual time, against a server in memory, and what it cannot play yet."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import trio

from reference_server.wire.units import SECOND_NS
from simulator.attacks import CATALOGUE
from simulator.attacks.script import ScriptAttack
from simulator.client.checking import check_target
from simulator.client.probing import look_for_features
from simulator.deployment.identity_provider import IdentityProvider
from simulator.deployment.server_process import environ_of
from simulator.deployment.server_watch import ServerWatch
from simulator.limits import VIRTUAL_SECONDS_AFTER
from simulator.load.options import SPREADING
from simulator.running.aborting import LOOK_SECONDS, failed_threshold
from simulator.running.run import RunError, ends_noted, execute, play
from simulator.scenario.metrics import MEMORY
from simulator.scenario.values import NETWORK_FAULTS
from simulator.worlds.harness_failure import describe_failure
from simulator.worlds.players.fault_player import FaultPlayer
from simulator.worlds.players.fleet_run import FleetRun
from simulator.worlds.virtual.faults import VirtualFaults
from simulator.worlds.virtual.scheduling import HangError, run_seeded
from simulator.worlds.virtual.world import VirtualWorld, seeded_token

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rich.console import Console

    from simulator.client.target import Target
    from simulator.running.run import RunRequest, Work
    from simulator.running.run_state import RunState
    from simulator.scenario.values import Scenario
    from simulator.worlds.virtual.scheduling import JumpingClock

VIRTUAL_SERVER = "its own server, in virtual time"
PROVIDER_ORIGIN = "http://127.0.0.1:8090"
"""The origin of the identity provider in the servers' settings. No connection to it is made."""
LOOKING_SHARE = 0.02
"""The interval between two evaluations of thresholds, as a share of the virtual time passed: the cost of an evaluation
grows with the history."""
OUTSIDE = ("REDIS_ADDR", "HATCHFARM_STATE_FILE", "HATCHFARM_SHARED_STATE", "WORKER_STATUS_STATE_FILE", "TLS_CERT_FILE")
"""Settings that make a server use something outside its memory: Redis, files, other instances."""


def _settings_outside(scenario: Scenario) -> str:
    found = [name for name, value in scenario.server.environ().items() if name in OUTSIDE and value]
    return f"settings that reach outside the server's memory ({', '.join(found)})" if found else ""


def _if(there: object, what: str) -> str:
    return what if there else ""


def _proxies_in_front(scenario: Scenario) -> str:
    named = scenario.server.environ().get("PROXY_PROTOCOL", "").lower() in {"true", "1"}
    return _if(named, "proxies in front of its servers (PROXY_PROTOCOL)")


NOT_YET: tuple[Callable[[Scenario], str], ...] = (
    lambda scenario: _if(scenario.server.command, "a command of its own ([server] command)"),
    _settings_outside,
    _proxies_in_front,
)
"""Checks for what virtual time cannot play yet: each returns what a scenario needs of that kind, or an empty string."""


def not_yet_virtual(scenario: Scenario) -> list[str]:
    """Return the parts of a scenario that cannot be played in virtual time yet, as phrases."""
    return [found for wanted in NOT_YET if (found := wanted(scenario))]


def execute_virtually(request: RunRequest, console: Console) -> int:
    """Play the run in virtual time, report, and return the exit code. Raises USER_ERRORS if the run cannot begin."""
    request, start, work = _composed(request)
    return execute(request, console, start, work)


def play_virtually(request: RunRequest, console: Console) -> tuple[RunRequest, RunState]:
    """Play the run in virtual time; return the request as played and the run's state at the end, without judging."""
    request, start, work = _composed(request)
    return request, play(request, console, start, work)


def _composed(request: RunRequest) -> tuple[RunRequest, Callable[..., object], Work]:
    """Return the request with the seed's token, and `start` and `work` for `execute`. Raises RunError, TargetError."""
    if request.target is not None:
        raise RunError("--virtual plays against a server of its own in memory: leave --target away")
    if request.conducted_by is not None:
        raise RunError(f"--virtual plays in one process: leave out {SPREADING}")
    if missing := not_yet_virtual(request.scenario):
        raise RunError(
            f"{request.scenario.name} cannot be played in virtual time, which has not yet: {'; '.join(missing)}. "
            "Take it out of a copy of the scenario, or leave --virtual away"
        )
    request = msgspec.structs.replace(request, token=seeded_token(request.seed))
    environ = environ_of(request.scenario.server.environ(), request.token, request.server_settings)
    server = request.scenario.server
    world = VirtualWorld(
        request.seed, request.token, environ, instances=server.instances, redis=server.redis, durable=server.durable,
        tls=server.tls,
    )  # fmt: skip
    if any(fault.kind in NETWORK_FAULTS for fault in request.scenario.faults):
        world.trouble_network()
    sides = _add_sides(world, request.scenario)
    if request.scenario.faults or sides:  # these make servers log more than belongs in the output of a run
        logging.getLogger("hatchfarm").addHandler(logging.NullHandler())
    seconds_max = request.scenario.duration_ns / SECOND_NS + VIRTUAL_SECONDS_AFTER
    start = partial(_start, partial(run_seeded, seed=request.seed, seconds_max=seconds_max, clock=world.clock))
    return request, start, partial(_work, world, sides)


def _start(
    run: Callable[..., object], main: Callable[..., object], request: RunRequest, outcome: RunState, *more: object
) -> None:
    """Run `main` in virtual time. A run that hangs is ended as a failure of the harness, and its verdict says so."""
    try:
        run(main, request, outcome, *more)
    except HangError as error:
        outcome.failure = error
        outcome.interrupted = describe_failure(error, outcome.progress.elapsed_ns / SECOND_NS)


def _add_sides(world: VirtualWorld, scenario: Scenario) -> dict[str, Target]:
    """Add servers for attacks that need settings of their own; return each attack's server by the attack's name."""
    added: dict[frozenset[tuple[str, str]], Target] = {}
    sides = {}
    provider = IdentityProvider(PROVIDER_ORIGIN)
    for options in scenario.attacks:
        attack = CATALOGUE[options.name]
        if not issubclass(attack, ScriptAttack):
            continue
        if attack.sandbox is not None:
            sides[attack.name] = world.target  # the attack's sandbox runs beside this server
        if attack.needs_settings:
            settings = {**attack.needs_settings, **(provider.settings if attack.needs_identity else {})}
            needed = frozenset(settings.items())
            if needed not in added:
                added[needed] = world.add_beside(settings, provider if attack.needs_identity else None)
            sides[attack.name] = added[needed]
    return sides


async def _work(world: VirtualWorld, sides: Mapping[str, Target], request: RunRequest, outcome: RunState) -> None:
    """Play the run against the server in memory."""
    scenario = request.scenario
    outcome.target = VIRTUAL_SERVER
    if MEMORY in scenario.judged_thresholds:
        outcome.warn(f"{MEMORY} is not judged: in virtual time the server has the harness's own")
    async with trio.open_nursery() as nursery:
        for server in world.servers:
            await nursery.start(server.run)
        async with ends_noted(outcome, ServerWatch(outcome.progress)):
            outcome.authority = world.target.authority
            outcome.baseline = await check_target(world.target)
            outcome.lacks = await look_for_features(world.target, outcome.baseline)
            target = msgspec.structs.replace(world.target, lacks=outcome.lacks)
            LooksNowAndThen(outcome.look_when_due, world.clock)
            history, progress = outcome.history, outcome.progress
            faults = FaultPlayer(scenario, VirtualFaults(world), target, history, progress)
            run = FleetRun(
                world.world, scenario, request.seed, target, history, progress, outcome.tape, sides,
                faults=faults if scenario.faults else None,
            )  # fmt: skip
            with trio.CancelScope() as work:
                if scenario.abort_on_fail:
                    LooksForAnEnd(scenario, outcome, world.clock, work)
                await run.run()
        nursery.cancel_scope.cancel()


class LooksForAnEnd:
    """A repeated check that cancels the work once a threshold ends the run, as `end_early` does in real time.

    Its moments depend on virtual time alone: one second after the last check, or `LOOKING_SHARE` of the time passed if
    that is longer. A check is an event of the clock and not a task, so it does not change the order of tasks.
    """

    def __init__(self, scenario: Scenario, outcome: RunState, clock: JumpingClock, work: trio.CancelScope) -> None:
        self._scenario = scenario
        self._outcome = outcome
        self._clock = clock
        self._work = work
        self._plan()

    def _plan(self) -> None:
        waits_ns = max(int(LOOK_SECONDS * SECOND_NS), int(self._outcome.progress.elapsed_ns * LOOKING_SHARE))
        self._clock.at(self._clock.now_ns + waits_ns, self._look)

    def _look(self) -> None:
        found = failed_threshold(self._scenario, *self._outcome.known(), self._outcome.progress)
        if found is None:
            self._plan()
            return
        self._outcome.note_end(found)
        self._work.cancel()


class LooksNowAndThen:
    """A call of `look_when_due` once per virtual second, which updates the view. It is an event, too, and no task."""

    def __init__(self, look_when_due: Callable[[], None], clock: JumpingClock) -> None:
        self._look_when_due = look_when_due
        self._clock = clock
        self._look()

    def _look(self) -> None:
        self._clock.at(self._clock.now_ns + SECOND_NS, self._look)
        self._look_when_due()
