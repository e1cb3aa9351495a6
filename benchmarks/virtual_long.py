"""`hatchfarm bench virtual_long`: an hour of 10,000 machines to its verdict, and a fleet that grows fiftyfold.

Each is measured once, for each takes minutes. The fleet that grows is measured in one process before and after, within
minutes, and in stretches: what differs is its size, and how busy the machine was.
"""

from __future__ import annotations

import io
import tempfile
import time
from contextlib import nullcontext
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median

import psutil
from rich.console import Console

from benchmarks import bars
from benchmarks.measuring import BYTES, Benchmark, BenchmarkError, Figure, Subject
from benchmarks.virtual import (
    DAY_SECONDS,
    IN_MEMORY,
    INTERVAL_SECONDS,
    LASTING,
    RAMP_SECONDS,
    SEED,
    Stage,
    marks_at,
    scenario_of,
)
from simulator.running.run import RunRequest
from simulator.running.virtual import execute_virtually
from simulator.scenario.loading import parse_scenario

FEW, MANY, MACHINES_AN_HOUR = 1_000, 50_000, 10_000
MICROSECONDS = 1e6
STRETCHES = 5
"""That are measured of each size of the fleet, each by itself: what disturbs one of them is no median."""
STRETCH_SECONDS_FEW, STRETCH_SECONDS_MANY = 120, INTERVAL_SECONDS
"""8,000 heartbeats, and 50,000."""
SETTLED_SECONDS = 300
"""After which machines have as many live nonces as they ever will, the few as the many."""
HOUR = (
    Figure(
        "hour", f"an hour of {MACHINES_AN_HOUR:,} machines, all of it, in CPU time", " s", bars.VIRTUAL_HOUR_SECONDS
    ),
    Figure("hour_memory", "what that takes at its end", BYTES, bars.VIRTUAL_HOUR_BYTES),
)
GROWN = (
    Figure("few", f"a heartbeat of {FEW:,} machines, in CPU time", " us"),
    Figure("many", f"a heartbeat of {MANY:,} machines", " us"),
    Figure("growth", "the second of the first", "", bars.VIRTUAL_GROWTH),
)


def hour(machines: int, seconds: int = 3600) -> tuple[float, float]:
    """Play an hour to its verdict; return the CPU time in seconds, and the memory that is resident at its end."""
    began = time.process_time()
    text = scenario_of(Stage(machines, RAMP_SECONDS), seconds=seconds)
    with tempfile.TemporaryDirectory() as folder:
        request = RunRequest(
            parse_scenario(text), Path("virtual.toml"), SEED, Path(folder), None, "", scenario_text=text, reports=False,
            virtual=True,
        )  # fmt: skip
        code = execute_virtually(request, Console(file=io.StringIO()))
    if code:
        raise BenchmarkError(f"the run ended with {code}")
    return time.process_time() - began, float(psutil.Process().memory_info().rss)


def grown(few: int, many: int) -> tuple[float, float, float]:
    """Return the CPU time of a heartbeat in microseconds before and after a fleet has grown, and the ratio.

    No certificate is renewed meanwhile: that would be when the many are measured, and of the few.
    """
    first = [RAMP_SECONDS + SETTLED_SECONDS + number * STRETCH_SECONDS_FEW for number in range(STRETCHES + 1)]
    up = first[-1] + RAMP_SECONDS
    then = [up + SETTLED_SECONDS + number * STRETCH_SECONDS_MANY for number in range(STRETCHES + 1)]
    text = scenario_of(Stage(few, RAMP_SECONDS), Stage(many, up), rotation=DAY_SECONDS)
    marks = marks_at(text, [*first, *then], {**IN_MEMORY, **LASTING})
    costs = [
        median(after.cost_since(before) for before, after in pairwise(part)) * MICROSECONDS
        for part in (marks[: len(first)], marks[len(first) :])
    ]
    return costs[0], costs[1], costs[1] / costs[0]


def benchmark(_seconds: float) -> Benchmark:
    """Return the benchmark. It takes what it takes."""
    subjects = (
        Subject(HOUR, partial(hour, MACHINES_AN_HOUR), once=True),
        Subject(GROWN, partial(grown, FEW, MANY), once=True),
    )
    return Benchmark("virtual_long", lambda: nullcontext(subjects))
