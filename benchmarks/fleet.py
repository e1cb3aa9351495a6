"""`hatchfarm bench fleet`: heartbeats, and their delays at half load, with 1,000 machines and with 100,000."""

from __future__ import annotations

import tempfile
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import bars
from benchmarks.blaster import blast
from benchmarks.measuring import Benchmark, Figure, Subject, Yardstick
from benchmarks.pacing import PERCENT_99, pace, percentile
from benchmarks.processes import TOKEN, benchmark_server, measuring
from benchmarks.state_files import write_state

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.processes import Server

FEW, MANY = 1_000, 100_000
YARDSTICKS = (Yardstick("many", "few", bars.MANY_OF_FEW),)


def made_state(folder: Path, machines: int, shown: int = FEW) -> tuple[Path, list[dict[str, str]]]:
    """Make a state file of so many machines; return it, and credentials of `shown` of them."""
    path = folder / f"state-{machines}.json"
    now_ns = time.time_ns()  # noqa: TID251 - a live server judges it
    return path, write_state(path, TOKEN, machines, shown, now_ns)


def rate_and_delays(server: Server, machines: list[dict[str, str]], seconds: float) -> tuple[float, list[int]]:
    """Return the rate, and the delays in nanoseconds at half of it."""
    rate = blast(server.url, machines, seconds)
    server.settle()
    return rate, pace(server.url, machines, seconds, rate / 2)


def _measure(server: Server, machines: list[dict[str, str]], seconds: float) -> tuple[float, float, float]:
    rate, delays = rate_and_delays(server, machines, seconds)
    return rate, percentile(delays, PERCENT_99), percentile(delays, 1)


@contextmanager
def _open_subjects(seconds: float) -> Iterator[Sequence[Subject]]:
    with tempfile.TemporaryDirectory() as folder:
        subjects = []
        for name, machines, pause_ms in (("few", FEW, None), ("many", MANY, bars.PAUSE_MS)):
            path, credentials = made_state(Path(folder), machines)
            title = f"{machines:,} machines"
            figures = (
                Figure(name, f"heartbeats, {title}"),
                Figure(f"{name}_p99", f"p99 at half load, {title}", " ms", bars.P99_MS),
                Figure(f"{name}_pause", f"the longest delay of them, {title}", " ms", pause_ms),
            )
            start = partial(benchmark_server, "lane", state_file=path)
            subjects.append(
                Subject(figures, measuring(start, partial(_measure, machines=credentials, seconds=seconds)))
            )
        yield subjects


def benchmark(seconds: float) -> Benchmark:
    """Return the benchmark, each measurement of which takes so many seconds."""
    return Benchmark("fleet", lambda: _open_subjects(seconds), YARDSTICKS)
