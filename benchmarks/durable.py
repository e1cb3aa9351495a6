"""`hatchfarm bench durable`: what a state file costs, against the same server without one."""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import bars
from benchmarks.fleet import FEW, MANY, made_state, rate_and_delays
from benchmarks.measuring import Benchmark, BenchmarkError, Figure, Subject, Yardstick
from benchmarks.pacing import PERCENT_99, pace, percentile
from benchmarks.processes import Server, benchmark_server, measuring

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SNAPSHOT_RATE = 500.0
"""Heartbeats a second while the large state is snapshot: often enough that one is due every 2 ms."""
SNAPSHOT_JOURNAL_BYTES = 128 * 1024
"""So that a snapshot begins within a second or two."""
SNAPSHOT_SECONDS = 10.0
SNAPSHOT_PATIENCE_SECONDS = 120.0
YARDSTICKS = (Yardstick("durable", "memory", bars.DURABLE_OF_MEMORY),)


class DurableServer(Server):
    """The reference server with a state file, on its own core; `machines` are credentials of some in it."""

    def __init__(self, state_file: Path, machines: list[dict[str, str]], **settings: str) -> None:
        self.state_file = state_file
        begun = time.perf_counter()
        super().__init__(
            [sys.executable, "-m", "simulator.commands.cli", "serve"],
            {**settings, "HATCHFARM_STATE_FILE": str(state_file)},
            shows_machines=False,
        )
        self.start_up_seconds = time.perf_counter() - begun
        self.machines = machines

    def snapshot_written(self) -> int:
        """Return what tells one snapshot from the next: the state file is another file each time (contract §7)."""
        return self.state_file.stat().st_ino


def _measure(server: Server, seconds: float) -> tuple[float, float]:
    """Measure the rate, and the p99 at half of it."""
    rate, delays = rate_and_delays(server, server.machines, seconds)
    return rate, percentile(delays, PERCENT_99)


def _start_up(server: DurableServer) -> tuple[float]:
    return (server.start_up_seconds,)


def _delay_of_a_snapshot(server: DurableServer) -> tuple[float]:
    """Send heartbeats while a snapshot is written, perhaps more than one; return the worst delay in milliseconds."""
    server.settle()
    before, deadline = server.snapshot_written(), time.monotonic() + SNAPSHOT_PATIENCE_SECONDS
    worst = 0.0
    # A snapshot only begins with a commit, so none can begin unseen between two measurements.
    while server.snapshot_written() == before:
        if time.monotonic() > deadline:
            raise BenchmarkError("no snapshot was written")
        worst = max(worst, percentile(pace(server.url, server.machines, SNAPSHOT_SECONDS, SNAPSHOT_RATE), 1))
    return (worst,)


@contextmanager
def _open_subjects(seconds: float) -> Iterator[Sequence[Subject]]:
    with tempfile.TemporaryDirectory() as folder:
        few, many = made_state(Path(folder), FEW), made_state(Path(folder), MANY)
        with DurableServer(*many):
            pass  # reads it as another implementation's, and leaves its own snapshot when it ends
        start_many = partial(DurableServer, *many)
        start_snapshot = partial(DurableServer, *many, HATCHFARM_JOURNAL_BYTES=str(SNAPSHOT_JOURNAL_BYTES))
        measure = partial(_measure, seconds=seconds)
        yield [
            Subject(
                _figures("memory", "without a state file", None),
                measuring(partial(benchmark_server, "lane", FEW), measure),
            ),
            Subject(
                _figures("durable", "with a state file", bars.DURABLE_P99_MS),
                measuring(partial(DurableServer, *few), measure),
            ),
            Subject(
                (Figure("start_up", "start-up from 100,000 machines", " s", bars.START_SECONDS),),
                measuring(start_many, _start_up),
            ),
            Subject(
                (Figure("snapshot_delay", "worst delay while they are snapshot", " ms", bars.SNAPSHOT_DELAY_MS),),
                measuring(start_snapshot, _delay_of_a_snapshot),
                once=True,
            ),
        ]


def _figures(name: str, title: str, delay_max_ms: float | None) -> tuple[Figure, Figure]:
    return Figure(name, title), Figure(f"{name}_p99", f"p99 at half load, {title}", " ms", delay_max_ms)


def benchmark(seconds: float) -> Benchmark:
    """Return the benchmark, each measurement of which takes so many seconds."""
    return Benchmark("durable", lambda: _open_subjects(seconds), YARDSTICKS)
