"""`hatchfarm bench memory`: what a connected machine costs the server and the simulator, at a steady state.

Each machine beats once a second, so that within 50 s the server holds the 75 live nonces for it that it holds for one
that beats every five seconds under the default settings, and full audit streams of its owners.
"""

from __future__ import annotations

import gc
import json
from typing import TYPE_CHECKING, Any

import psutil
import trio
from rich.console import Console
from rich.table import Table

from simulator.client.checking import check_target
from simulator.client.target import parse_target
from simulator.deployment.server_process import own_server
from simulator.history.rows import History
from simulator.scenario.loading import parse_scenario
from simulator.worlds.live.world import run_fleet
from simulator.worlds.progress import Progress

if TYPE_CHECKING:
    from pathlib import Path

TOKEN = "benchmark"  # noqa: S105 - for a server on loopback that lives for minutes
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
BARS_BYTES = {"server": 15_000, "simulator": 12_000}


async def _measure(machines: int, console: Console) -> dict[str, Any]:
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
                    seconds = round(progress.elapsed_ns / 1e9)
                    if seconds % 10 == 0:
                        console.print(
                            f"{seconds:4}s {progress.connected} connected, {progress.accepted} accepted, "
                            f"server {peak['server'] >> 20} MiB, simulator {peak['simulator'] >> 20} MiB",
                        )

            nursery.start_soon(watch)
            await run_fleet(scenario, 1, target, history, progress)
            nursery.cancel_scope.cancel()
    rows = len(history)
    history_bytes = history.rows().nbytes
    figures = {
        "machines": machines,
        "connected": progress.connected_max,
        "heartbeats": progress.accepted,
        "history_bytes_per_request": history_bytes / max(1, rows),
    }
    for name, value in peak.items():
        above = value - base[name] - (history_bytes if name == "simulator" else 0)
        figures[f"{name}_base_bytes"] = base[name]
        figures[f"{name}_bytes_per_machine"] = above / machines
    return figures


def main(machines: int, out: Path) -> int:
    """Measure, print a table, write JSON."""
    console = Console(highlight=False)
    figures = trio.run(_measure, machines, console)
    table = Table("", "bytes a machine", "bar", "base", box=None)
    for name, bar in BARS_BYTES.items():
        per_machine, base = figures[f"{name}_bytes_per_machine"], figures[f"{name}_base_bytes"]
        table.add_row(name, f"{per_machine:,.0f}", f"<= {bar:,}", f"{base >> 20} MiB")
    console.print(table)
    console.print(
        f"{figures['connected']} machines connected, {figures['heartbeats']} heartbeats accepted, "
        f"history {figures['history_bytes_per_request']:.0f} bytes a request",
    )
    out.mkdir(parents=True, exist_ok=True)
    path = out / "bench-memory.json"
    path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    console.print(f"Figures: {path}", markup=False)
    return 0
