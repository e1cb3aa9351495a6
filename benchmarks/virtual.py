"""`hatchfarm bench virtual`: heartbeats in virtual time, by CPU time, against the server's bare decision in a loop.

`played` and `many` are a fleet that is up, with all that a run does beside it: its observers, the load of its hardware,
the history. `hour` is all of a run, its machines' registration and its verdict included. Ratios of CPU time say little
on a busy machine: what a run goes through is larger than the caches, and others take those.
"""

from __future__ import annotations

import io
import tempfile
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import trio
from rich.console import Console

from benchmarks import bars
from benchmarks.blaster import METRICS
from benchmarks.measuring import BYTES, Benchmark, BenchmarkError, Figure, Subject, Yardstick
from benchmarks.processes import TOKEN
from benchmarks.registering import register_machines
from reference_server.adapters.memory.clocks import SetClock
from reference_server.adapters.memory.entropy import SeededEntropy
from reference_server.app import make_api
from reference_server.wire.timestamps import format_timestamp
from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.fleet.machine import signed_heartbeat
from simulator.history.rows import History
from simulator.running.run import RunRequest
from simulator.running.virtual import execute_virtually
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
stages = [{{ duration = "{ramp}s", target = {machines} }}]
"""
SEED = 1
INTERVAL_SECONDS = 15
FEW, MANY, MANY_QUICK, MACHINES_AN_HOUR = 1_000, 50_000, 2_000, 10_000
RAMP_SECONDS = 30
HOUR_SECONDS = 3600
BEATS_A_SECOND = 10_000
"""How many are played for each second that a measurement is to take: what a quiet core does."""
QUICK_SECONDS = 1.0
"""Measurements that take less are made in a hurry: of fewer machines, and of no hour."""
IN_MEMORY = {"WORKER_STATUS_STATE_FILE": ""}
UNLIMITED = {"RATE_LIMIT_BURST": "1000000", "RATE_LIMIT_REFILL_PER_SECOND": "1000000"}
"""For who registers all its machines at one moment. The limit is looked at all the same."""
PER_CPU = "/s of CPU"
YARDSTICKS = (
    Yardstick("played", "bare", bars.VIRTUAL_OF_BARE),
    Yardstick("many", "played", bars.VIRTUAL_MANY_OF_FEW),
)
HOUR = (
    Figure("hour", "10,000 machines for an hour, all of it, in CPU time", " s", bars.VIRTUAL_HOUR_SECONDS),
    Figure("hour_memory", "what that takes at its end", BYTES, bars.VIRTUAL_HOUR_BYTES),
)


def _scenario(machines: int, seconds: int) -> str:
    return SCENARIO.format(machines=machines, seconds=seconds, ramp=RAMP_SECONDS)


def played(machines: int, heartbeats: int, environ: Mapping[str, str] = IN_MEMORY) -> tuple[float]:
    """Return how many heartbeats a fleet that is up sends for a second of CPU time, over so many of them or more.

    `environ` has the server's settings.
    """
    begins = RAMP_SECONDS + 2 * INTERVAL_SECONDS
    ends = begins + max(INTERVAL_SECONDS, heartbeats * INTERVAL_SECONDS // machines)
    scenario = parse_scenario(_scenario(machines, HOUR_SECONDS))  # an hour's observers, whatever is measured of it
    history, progress = History(), Progress()
    marks: list[tuple[float, int, int]] = []
    world = VirtualWorld(SEED, TOKEN, environ)

    async def work() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(world.server.run)
            run = FleetRun(world.world, scenario, SEED, world.target, history, progress)
            scope = trio.CancelScope()

            def mark() -> None:
                marks.append((time.process_time(), progress.accepted, progress.connected))

            def end() -> None:
                mark()
                scope.cancel()

            world.clock.at(begins * SECOND_NS, mark)
            world.clock.at(ends * SECOND_NS, end)
            with scope:
                await run.run()
            nursery.cancel_scope.cancel()

    run_seeded(work, seed=SEED, seconds_max=HOUR_SECONDS, clock=world.clock)
    (began, before, _), (ended, after, connected) = marks
    if progress.refused or connected < machines:
        raise BenchmarkError(f"{connected:,} of {machines:,} machines were up, {progress.refused:,} heartbeats refused")
    return ((after - before) / (ended - began),)


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


def hour(machines: int, seconds: int = HOUR_SECONDS) -> tuple[float, float]:
    """Play an hour to its verdict; return the CPU time in seconds, and the memory that is resident at its end."""
    began = time.process_time()
    text = _scenario(machines, seconds)
    with tempfile.TemporaryDirectory() as folder:
        request = RunRequest(
            parse_scenario(text), Path("virtual.toml"), SEED, Path(folder), None, "", scenario_text=text, reports=False,
            virtual=True,
        )  # fmt: skip
        code = execute_virtually(request, Console(file=io.StringIO()))
    if code:
        raise BenchmarkError(f"the run ended with {code}")
    return time.process_time() - began, float(psutil.Process().memory_info().rss)


def benchmark(seconds: float) -> Benchmark:
    """Return the benchmark, each measurement of which takes so many seconds of a quiet core, or some more."""
    quick = seconds < QUICK_SECONDS
    heartbeats, many = int(seconds * BEATS_A_SECOND), MANY_QUICK if quick else MANY
    subjects: Sequence[Subject] = [
        Subject((Figure("bare", "the server's decision alone", PER_CPU),), partial(bare, FEW, heartbeats)),
        Subject((Figure("played", f"{FEW:,} machines", PER_CPU),), partial(played, FEW, heartbeats)),
        Subject((Figure("many", f"{many:,} machines", PER_CPU),), partial(played, many, heartbeats)),
        *([] if quick else [Subject(HOUR, partial(hour, MACHINES_AN_HOUR), once=True)]),
    ]
    return Benchmark("virtual", lambda: nullcontext(subjects), YARDSTICKS)
