"""`hatchfarm bench memory`: what a connected machine costs the server and the simulator, at a steady state.

Each machine beats once a second, so that within 50 s the server holds the 75 live nonces for it that it holds for one
that beats every five seconds under the default settings, and full audit streams of its owners.
"""

from __future__ import annotations

import gc
from contextlib import nullcontext

import psutil
import trio

from benchmarks.measuring import Benchmark, BenchmarkError, Figure, Subject
from benchmarks.processes import TOKEN
from simulator.client.checking import check_target
from simulator.client.target import parse_target
from simulator.deployment.server_process import own_server
from simulator.history.rows import History
from simulator.scenario.loading import parse_scenario
from simulator.worlds.live.world import run_fleet
from simulator.worlds.progress import Progress

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
FIGURES = (
    Figure("server", "the server, for each machine", " bytes", 15_000.0),
    Figure("simulator", "the simulator, for each machine", " bytes", 12_000.0),
    Figure("server_base", "the server without any", " bytes"),
    Figure("simulator_base", "the simulator without any", " bytes"),
    Figure("request", "the history, for each request", " bytes"),
    Figure("connected", "machines connected", ""),
    Figure("accepted", "heartbeats accepted", ""),
)


async def _measure(machines: int) -> tuple[float, ...]:
    ramp = max(5, machines // 100)
    scenario = parse_scenario(SCENARIO.format(machines=machines, ramp=ramp, seconds=ramp + STEADY_SECONDS))
    history, progress = History(), Progress()
    peak = {"server": 0, "simulator": 0}
    async with own_server({}, TOKEN) as server:
        processes = {"server": psutil.Process(server.pid), "simulator": psutil.Process()}
        target = parse_target(server.url, TOKEN)
        await check_target(target)
        gc.collect()
        base = {name: process.memory_info().rss for name, process in processes.items()}
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                while True:
                    await trio.sleep(1)
                    for name, process in processes.items():
                        peak[name] = max(peak[name], process.memory_info().rss)

            nursery.start_soon(watch)
            await run_fleet(scenario, 1, target, history, progress)
            nursery.cancel_scope.cancel()
    if progress.connected_max < machines:
        raise BenchmarkError(f"only {progress.connected_max:,} of {machines:,} machines were connected")
    history_bytes = history.rows().nbytes
    return (
        (peak["server"] - base["server"]) / machines,
        (peak["simulator"] - base["simulator"] - history_bytes) / machines,
        float(base["server"]),
        float(base["simulator"]),
        history_bytes / max(1, len(history)),
        float(progress.connected_max),
        float(progress.accepted),
    )


def benchmark(machines: int) -> Benchmark:
    """Return the benchmark of so many connected machines."""
    subject = Subject(FIGURES, lambda: trio.run(_measure, machines))
    return Benchmark("memory", lambda: nullcontext((subject,)))
