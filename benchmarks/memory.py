"""`hatchfarm bench memory`: what a machine costs the server, idle and connected, and the simulator, at its peak.

Each connected one beats once a second, so that within 50 s the server holds the 75 live nonces for it that it holds for
one that beats every five seconds under the default settings, and full audit streams of its owners. At its end a run
reads up to 60,000 audit events, which are in its peak. The verdict, which unpacks them again, is not.
"""

from __future__ import annotations

import gc
import re
from contextlib import nullcontext
from pathlib import Path

import msgspec
import psutil
import trio

from benchmarks import bars
from benchmarks.measuring import BYTES, Benchmark, BenchmarkError, Figure, Subject
from benchmarks.processes import TOKEN, benchmark_server
from simulator.client.checking import check_target
from simulator.client.target import parse_target
from simulator.deployment.server_process import own_server
from simulator.history.rows import History
from simulator.scenario.loading import parse_scenario
from simulator.worlds.live.world import run_fleet
from simulator.worlds.progress import Phase, Progress

SCENARIO = """
version = 1
name = "memory"
duration = "{seconds}s"
[fleet]
machines = {machines}
owners = 20
heartbeat_interval = "1s"
stages = [{{ duration = "{ramp}s", target = {machines} }}]
"""
STEADY_SECONDS = 50
IDLE_MACHINES = 20_000
BARS_FROM_MACHINES = 5_000
"""Of fewer, what a server or a run has whoever is connected is more than what each machine costs."""
CONNECTED = (
    Figure("server", "the server, for each connected machine", BYTES, bars.CONNECTED_SERVER_BYTES),
    Figure("simulator", "the simulator, for each of them, at its peak", BYTES, bars.CONNECTED_SIMULATOR_BYTES),
    Figure("playing", "the same while they beat: before the audit lists are read", BYTES),
    Figure("server_base", "the server without any", BYTES),
    Figure("simulator_base", "the simulator without any", BYTES),
    Figure("request", "the history, for each request", BYTES),
)
IDLE = (Figure("idle", "the server, for each machine that is registered alone", BYTES, bars.IDLE_MACHINE_BYTES),)


def _measure_idle() -> tuple[float]:
    """Compare a server of many machines with one of none."""
    resident = []
    for machines in (0, IDLE_MACHINES):
        with benchmark_server("lane", machines) as server:
            server.settle()
            resident.append(server.resident_bytes())
    return ((resident[1] - resident[0]) / IDLE_MACHINES,)


def _high_water(pid: int) -> int:
    """Return the most that a process had resident so far, in bytes; 0 where the system does not keep that.

    What lasts for less than a second at the end of a run counts as well.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0
    found = re.search(r"^VmHWM:\s*([0-9]+) kB$", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


async def _measure(machines: int) -> tuple[float, ...]:
    ramp = max(5, machines // 100)
    scenario = parse_scenario(SCENARIO.format(machines=machines, ramp=ramp, seconds=ramp + STEADY_SECONDS))
    history, progress = History(), Progress()
    peak = {"server": 0, "simulator": 0}
    playing = 0
    async with own_server({}, TOKEN) as server:
        processes = {"server": psutil.Process(server.pid), "simulator": psutil.Process()}
        target = parse_target(server.url, TOKEN)
        await check_target(target)
        gc.collect()
        base = {name: process.memory_info().rss for name, process in processes.items()}
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                nonlocal playing
                while True:
                    await trio.sleep(1)
                    for name, process in processes.items():
                        peak[name] = max(peak[name], process.memory_info().rss)
                    if progress.phase is Phase.RUNNING:
                        playing = peak["simulator"]

            nursery.start_soon(watch)
            await run_fleet(scenario, 1, target, history, progress)
            nursery.cancel_scope.cancel()
        for name, process in processes.items():
            peak[name] = max(peak[name], _high_water(process.pid))
    if progress.connected_max < machines:
        raise BenchmarkError(f"only {progress.connected_max:,} of {machines:,} machines were connected")
    history_bytes = history.rows().nbytes
    return (
        (peak["server"] - base["server"]) / machines,
        (peak["simulator"] - base["simulator"] - history_bytes) / machines,
        (playing - base["simulator"] - history_bytes) / machines,
        float(base["server"]),
        float(base["simulator"]),
        history_bytes / max(1, len(history)),
    )


def benchmark(machines: float) -> Benchmark:
    """Return the benchmark of so many connected machines; of few of them without bars."""
    barred = machines >= BARS_FROM_MACHINES
    figures = CONNECTED if barred else tuple(msgspec.structs.replace(one, at_most=None) for one in CONNECTED)
    subjects = (
        # Sizes hardly differ from one round to the next, and those of connected machines take more than a minute.
        Subject(figures, lambda: trio.run(_measure, int(machines)), once=True),
        Subject(IDLE, _measure_idle, once=True),
    )
    return Benchmark("memory", lambda: nullcontext(subjects))
