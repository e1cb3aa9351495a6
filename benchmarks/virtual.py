"""`hatchfarm bench virtual`: heartbeats in virtual time, by CPU time, against the server's bare decision in a loop.

What is played is a fleet that is up, with all that a run does beside it: its observers, the load of its hardware, the
history. `virtual_long` plays a whole hour, and a fleet that grows. Ratios of CPU time say little on a busy machine:
what a run goes through is larger than the caches, and others take those.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import trio

from benchmarks import bars
from benchmarks.blaster import METRICS
from benchmarks.measuring import Benchmark, BenchmarkError, Figure, Subject, Yardstick
from benchmarks.processes import TOKEN
from benchmarks.registering import register_machines
from reference_server.adapters.memory.clocks import SetClock
from reference_server.adapters.memory.entropy import SeededEntropy
from reference_server.app import make_api
from reference_server.wire.timestamps import format_timestamp
from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.fleet.machine import signed_heartbeat
from simulator.history.rows import History
from simulator.scenario.loading import parse_scenario
from simulator.worlds.players.fleet_run import FleetRun
from simulator.worlds.progress import Progress
from simulator.worlds.virtual.scheduling import run_seeded
from simulator.worlds.virtual.world import VirtualWorld

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SCENARIO = """
version = 1
name = "virtual"
duration = "{seconds}s"
metrics_interval = "15s"
[fleet]
machines = {machines}
owners = 20
heartbeat_interval = "15s"
certificate_rotation = "{rotation}s"
stages = [{stages}]
"""
SEED = 1
INTERVAL_SECONDS = 15
MACHINES = 1_000
RAMP_SECONDS = 30
HOUR_SECONDS, DAY_SECONDS = 3600, 86_400
ROTATION_SECONDS = 720
"""What a scenario has by itself."""
BEATS_A_SECOND = 10_000
"""How many are played for each second that a measurement is to take: what a quiet core does."""
IN_MEMORY = {"WORKER_STATUS_STATE_FILE": ""}
LASTING = {"MACHINE_CERT_TTL_SECONDS": str(DAY_SECONDS)}
UNLIMITED = {**LASTING, "RATE_LIMIT_BURST": "1000000", "RATE_LIMIT_REFILL_PER_SECOND": "1000000"}
"""For who registers all its machines at one moment, and renews no certificate."""
PER_CPU = "/s of CPU"
YARDSTICKS = (Yardstick("played", "bare", bars.VIRTUAL_OF_BARE),)


class Stage(NamedTuple):
    """Machines that are up from a moment on, in seconds of the run; they come within `RAMP_SECONDS` before it."""

    machines: int
    from_seconds: int


def scenario_of(*stages: Stage, seconds: int = HOUR_SECONDS, rotation: int = ROTATION_SECONDS) -> str:
    """Return a scenario of a fleet in these stages, as a file has it, for so many seconds.

    Its machines renew their certificates every `rotation` seconds.
    """
    written, at_seconds, up = [], 0, 0
    for machines, from_seconds in stages:
        begins = from_seconds - RAMP_SECONDS
        written += [f'{{ duration = "{begins - at_seconds}s", target = {up} }}'] if begins > at_seconds else []
        written += [f'{{ duration = "{RAMP_SECONDS}s", target = {machines} }}']
        at_seconds, up = from_seconds, machines
    return SCENARIO.format(machines=up, seconds=seconds, rotation=rotation, stages=", ".join(written))


class Mark(NamedTuple):
    """How far a world has come at a moment: its CPU time in seconds, and accepted heartbeats."""

    cpu_seconds: float
    accepted: int

    def cost_since(self, before: Mark) -> float:
        """Return the CPU time of each heartbeat since another, in seconds."""
        return (self.cpu_seconds - before.cpu_seconds) / (self.accepted - before.accepted)


def marks_at(text: str, moments: Sequence[int], environ: Mapping[str, str] = IN_MEMORY) -> list[Mark]:
    """Play a scenario up to the last of these moments, in seconds of the run; return how far it had come at each.

    `environ` has the server's settings. Raises BenchmarkError where not all machines were up at the end.
    """
    scenario = parse_scenario(text)
    history, progress = History(), Progress()
    marks: list[Mark] = []
    world = VirtualWorld(SEED, TOKEN, environ)

    async def work() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(world.server.run)
            run = FleetRun(world.world, scenario, SEED, world.target, history, progress)
            scope = trio.CancelScope()

            def mark() -> None:
                marks.append(Mark(time.process_time(), progress.accepted))
                if len(marks) == len(moments):
                    connected.append(progress.connected)
                    scope.cancel()

            for moment in moments:
                world.clock.at(moment * SECOND_NS, mark)
            with scope:
                await run.run()
            nursery.cancel_scope.cancel()

    connected: list[int] = []
    run_seeded(work, seed=SEED, seconds_max=HOUR_SECONDS, clock=world.clock)
    if progress.refused or connected[0] < scenario.fleet.machines:
        raise BenchmarkError(
            f"{connected[0]:,} of {scenario.fleet.machines:,} machines were up, {progress.refused:,} heartbeats refused"
        )
    return marks


def played(machines: int, heartbeats: int, environ: Mapping[str, str] = IN_MEMORY) -> tuple[float]:
    """Return how many heartbeats a fleet that is up sends for a second of CPU time, over so many of them or more.

    `environ` has the server's settings.
    """
    begins = RAMP_SECONDS + 2 * INTERVAL_SECONDS
    ends = begins + max(INTERVAL_SECONDS, heartbeats * INTERVAL_SECONDS // machines)
    before, after = marks_at(scenario_of(Stage(machines, RAMP_SECONDS)), (begins, ends), environ)
    return (1 / after.cost_since(before),)


def bare(machines: int, heartbeats: int) -> tuple[float]:
    """Return how many heartbeats the server decides in a second of CPU time, called in a loop with their bytes."""
    clock = SetClock()
    api = make_api({**IN_MEMORY, **UNLIMITED, "HATCHFARM_API_TOKEN": TOKEN}, SeededEntropy("bare"), clock)
    shown = register_machines(api, machines, shown_max=machines, clock=clock)
    spent, done = 0.0, 0
    while done < heartbeats:
        clock.advance(INTERVAL_SECONDS)
        now = clock.now()
        timestamp = format_timestamp(now.wall_ns // MILLISECOND_NS * MILLISECOND_NS)
        calls = []
        for place, one in enumerate(shown):
            worker_id, token = one["worker_id"], one["token"]
            nonce = f"{done + place:024x}"
            body = signed_heartbeat(token.encode(), worker_id, timestamp, nonce, one["policy_id"], METRICS)
            calls.append((worker_id, token, one["certificate_id"], body, f"10.0.{place >> 8}.{place & 255}", now))
        began = time.process_time()
        accepted = sum(api.handle_heartbeat(*call).status == 200 for call in calls)  # noqa: PLR2004 - OK
        spent += time.process_time() - began
        if accepted < len(calls):
            raise BenchmarkError(f"{accepted:,} of {len(calls):,} heartbeats were accepted")
        done += accepted
    return (done / spent,)


def benchmark(seconds: float) -> Benchmark:
    """Return the benchmark, each measurement of which takes so many seconds of a quiet core, or some more."""
    heartbeats = int(seconds * BEATS_A_SECOND)
    subjects: Sequence[Subject] = [
        Subject((Figure("bare", "the server's decision alone", PER_CPU),), partial(bare, MACHINES, heartbeats)),
        Subject((Figure("played", f"{MACHINES:,} machines", PER_CPU),), partial(played, MACHINES, heartbeats)),
    ]
    return Benchmark("virtual", lambda: nullcontext(subjects), YARDSTICKS)
