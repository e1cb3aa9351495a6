"""`hatchfarm bench durable`: what a state file costs, against the same server without one, in alternation."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.blaster import BenchmarkError, blast
from benchmarks.environment import ENVIRONMENT, TOKEN
from benchmarks.heartbeat import CLIENT_CORE, MACHINES, RATE_MAX, SERVER_CORE, Server, pin
from benchmarks.pacing import pace
from benchmarks.state_files import write_state

if TYPE_CHECKING:
    from collections.abc import Iterator

MANY = 100_000
SNAPSHOT_RATE = 500.0
"""Heartbeats a second while the large state is snapshot: often enough that one is due every 2 ms."""
SNAPSHOT_JOURNAL_BYTES = 128 * 1024
"""So that a snapshot begins within a second or two."""
SNAPSHOT_SECONDS = 10.0
SNAPSHOT_PATIENCE_SECONDS = 120.0
MILLISECOND_NS = 1_000_000
PERCENT_99 = 0.99
HALF_LOAD = "p99 at half load"
BARS = {
    "durable/memory": (">=", 0.4, ""),
    f"{HALF_LOAD}, durable": ("<=", 20.0, " ms"),
    "start-up from 100,000 machines": ("<=", 10.0, " s"),
    "worst delay while they are snapshot": ("<=", 100.0, " ms"),
}


class DurableServer(Server):
    """The reference server with a state file, on its own core; `machines` are credentials of some in it."""

    def __init__(self, state_file: Path, machines: list[dict[str, str]], **settings: str) -> None:
        self.state_file = state_file
        self.machines = machines
        begun = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "simulator.commands.cli", "serve"],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **ENVIRONMENT, **settings, "HATCHFARM_STATE_FILE": str(self.state_file)},
        )
        pin(self._process.pid, SERVER_CORE)
        if self._process.stdout is None:
            raise BenchmarkError("no pipe")
        self.url = self._process.stdout.readline().strip().rpartition(" ")[2]
        self.start_up_seconds = time.perf_counter() - begun
        if not self.url:
            raise BenchmarkError("the durable server did not start")

    def snapshot_written(self) -> int:
        """Tell one snapshot from the next: the state file is another file each time (contract §7)."""
        return self.state_file.stat().st_ino


def make_state(folder: Path, machines: int) -> tuple[Path, list[dict[str, str]]]:
    """Make a state file of so many machines; give it, and credentials of some of them."""
    path = folder / f"state-{machines}.json"
    now_ns = time.time_ns()  # noqa: TID251 - a live server judges it
    return path, write_state(path, TOKEN, machines, MACHINES, now_ns)


def percentile(delays: list[int], share: float) -> float:
    """Return a percentile of delays, in milliseconds: the value at its exact rank."""
    return sorted(delays)[math.ceil(share * len(delays)) - 1] / MILLISECOND_NS


def measure_rates(folder: Path, rounds: int, seconds: float) -> Iterator[tuple[str, float]]:
    """Measure both servers in turn, `rounds` times over: the rate, and the delays at half of it."""
    with ExitStack() as stack:
        memory = stack.enter_context(Server("lane", MACHINES))
        durable = stack.enter_context(DurableServer(*make_state(folder, MACHINES)))
        servers = {"memory": memory, "durable": durable}
        for number in range(rounds):
            # Alternate the order too, so that a drifting machine favours nobody.
            for name in list(servers) if number % 2 == 0 else list(reversed(servers)):
                server = servers[name]
                rate = blast(server.url, server.machines, seconds, RATE_MAX["a"])
                server.settle()
                yield name, rate
                delays = pace(server.url, server.machines, seconds, rate / 2)
                yield f"{HALF_LOAD}, {name}", percentile(delays, PERCENT_99)
                server.settle()


def measure_many(folder: Path) -> Iterator[tuple[str, float]]:
    """Start from a large snapshot, and send heartbeats while there is another, perhaps more than one."""
    state = make_state(folder, MANY)
    with DurableServer(*state):
        pass  # reads it as another implementation's, and leaves its own snapshot when it ends
    with DurableServer(*state, HATCHFARM_JOURNAL_BYTES=str(SNAPSHOT_JOURNAL_BYTES)) as server:
        yield "start-up from 100,000 machines", server.start_up_seconds
        server.settle()
        before, deadline = server.snapshot_written(), time.monotonic() + SNAPSHOT_PATIENCE_SECONDS
        worst = 0.0
        # A snapshot only begins with a commit, so none can begin unseen between two measurements.
        while server.snapshot_written() == before:
            if time.monotonic() > deadline:
                raise BenchmarkError("no snapshot was written")
            worst = max(worst, percentile(pace(server.url, server.machines, SNAPSHOT_SECONDS, SNAPSHOT_RATE), 1))
        yield "worst delay while they are snapshot", worst


def summarise(figures: dict[str, list[float]]) -> dict[str, Any]:
    """Return each figure's median and spread over the rounds, and the ratio's."""
    figures = figures | {
        "durable/memory": [over / under for over, under in zip(figures["durable"], figures["memory"], strict=True)]
    }
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),  # noqa: TID251 - when these figures are from
        "figures": {
            name: {
                "median": statistics.median(each),
                "min": min(each),
                "max": max(each),
                "rounds": each,
                "bar": BARS.get(name, (None, None))[1],
            }
            for name, each in figures.items()
        },
    }


def main(rounds: int, seconds: float, out: Path) -> int:
    """Measure, print a table, write JSON. Gives 0, or 1 when a measurement could not be made."""
    console = Console(highlight=False)
    pin(0, CLIENT_CORE)
    figures: dict[str, list[float]] = {}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
    )
    try:
        with tempfile.TemporaryDirectory() as folder, Progress(*columns, console=console) as progress:
            task = progress.add_task("starting servers", total=rounds * 4 + 2)
            for measured in (measure_rates(Path(folder), rounds, seconds), measure_many(Path(folder))):
                for name, figure in measured:
                    figures.setdefault(name, []).append(figure)
                    progress.update(task, advance=1, description=f"{name}: {figure:,.5g}")
    except BenchmarkError as error:
        console.print(f"hatchfarm bench: {error}", markup=False)
        return 1
    summary = summarise(figures)
    table = Table("", "median", "spread", "bar", box=None)
    for name, figure in summary["figures"].items():
        sign, bar, unit = BARS.get(name, ("", None, " ms" if name.startswith(HALF_LOAD) else " a second"))
        shown = [
            f"{figure[key]:,.3g}" if bar is not None else f"{figure[key]:,.0f}" for key in ("median", "min", "max")
        ]
        table.add_row(name, shown[0] + unit, f"{shown[1]} - {shown[2]}", "" if bar is None else f"{sign} {bar:g}{unit}")
    console.print(table)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "bench-durable.json"
    path.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    console.print(f"Figures: {path}", markup=False)
    return 0
