"""`hatchfarm bench durable`: what a state file costs, against the same server without one."""

from __future__ import annotations

import math
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.blaster import blast
from benchmarks.heartbeat import MACHINES, RATE_MAX
from benchmarks.measuring import Benchmark, BenchmarkError, Figure, Subject, Yardstick
from benchmarks.pacing import pace
from benchmarks.processes import CLIENT_CORE, ENVIRONMENT, TOKEN, Server, benchmark_server, pin
from benchmarks.state_files import write_state
from reference_server.wire.units import MILLISECOND_NS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MANY = 100_000
SNAPSHOT_RATE = 500.0
"""Heartbeats a second while the large state is snapshot: often enough that one is due every 2 ms."""
SNAPSHOT_JOURNAL_BYTES = 128 * 1024
"""So that a snapshot begins within a second or two."""
SNAPSHOT_SECONDS = 10.0
SNAPSHOT_PATIENCE_SECONDS = 120.0
PERCENT_99 = 0.99
YARDSTICKS = (Yardstick("durable", "memory", 0.4),)
MANY_FIGURES = (
    Figure("start_up", "start-up from 100,000 machines", " s", 10.0),
    Figure("snapshot_delay", "worst delay while they are snapshot", " ms", 100.0),
)


class DurableServer(Server):
    """The reference server with a state file, on its own core; `machines` are credentials of some in it."""

    def __init__(self, state_file: Path, machines: list[dict[str, str]], **settings: str) -> None:
        self.state_file = state_file
        begun = time.perf_counter()
        super().__init__(
            [sys.executable, "-m", "simulator.commands.cli", "serve"],
            {**ENVIRONMENT, **settings, "HATCHFARM_STATE_FILE": str(state_file)},
            shows_machines=False,
        )
        self.start_up_seconds = time.perf_counter() - begun
        self.machines = machines

    def snapshot_written(self) -> int:
        """Return what tells one snapshot from the next: the state file is another file each time (contract §7)."""
        return self.state_file.stat().st_ino


def make_state(folder: Path, machines: int) -> tuple[Path, list[dict[str, str]]]:
    """Make a state file of so many machines; return it, and credentials of some of them."""
    path = folder / f"state-{machines}.json"
    now_ns = time.time_ns()  # noqa: TID251 - a live server judges it
    return path, write_state(path, TOKEN, machines, MACHINES, now_ns)


def percentile(delays: list[int], share: float) -> float:
    """Return a percentile of delays, in milliseconds: the value at its exact rank."""
    return sorted(delays)[math.ceil(share * len(delays)) - 1] / MILLISECOND_NS


def measure_many(folder: Path) -> tuple[float, float]:
    """Start from a large snapshot, and send heartbeats while there is another, perhaps more than one.

    Return the seconds that the start takes, and the worst delay in milliseconds.
    """
    state = make_state(folder, MANY)
    with DurableServer(*state):
        pass  # reads it as another implementation's, and leaves its own snapshot when it ends
    with DurableServer(*state, HATCHFARM_JOURNAL_BYTES=str(SNAPSHOT_JOURNAL_BYTES)) as server:
        server.settle()
        before, deadline = server.snapshot_written(), time.monotonic() + SNAPSHOT_PATIENCE_SECONDS
        worst = 0.0
        # A snapshot only begins with a commit, so none can begin unseen between two measurements.
        while server.snapshot_written() == before:
            if time.monotonic() > deadline:
                raise BenchmarkError("no snapshot was written")
            worst = max(worst, percentile(pace(server.url, server.machines, SNAPSHOT_SECONDS, SNAPSHOT_RATE), 1))
        return server.start_up_seconds, worst


@contextmanager
def _open_subjects(seconds: float) -> Iterator[Sequence[Subject]]:
    pin(0, CLIENT_CORE)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        memory = stack.enter_context(benchmark_server("lane", MACHINES))
        durable = stack.enter_context(DurableServer(*make_state(folder, MACHINES)))

        def measure(server: Server) -> tuple[float, float]:
            """Measure the rate, and the delays at half of it."""
            rate = blast(server.url, server.machines, seconds, RATE_MAX)
            server.settle()
            delays = pace(server.url, server.machines, seconds, rate / 2)
            server.settle()
            return rate, percentile(delays, PERCENT_99)

        yield [
            Subject(_figures("memory", "without a state file", None), lambda: measure(memory)),
            Subject(_figures("durable", "with a state file", 20.0), lambda: measure(durable)),
            Subject(MANY_FIGURES, lambda: measure_many(folder), once=True),
        ]


def _figures(name: str, title: str, delay_max_ms: float | None) -> tuple[Figure, Figure]:
    return Figure(name, title), Figure(f"{name}_p99", f"p99 at half load, {title}", " ms", delay_max_ms)


def benchmark(seconds: float) -> Benchmark:
    """Return the benchmark, each measurement of which takes so many seconds."""
    return Benchmark("durable", lambda: _open_subjects(seconds), YARDSTICKS)
