"""`hatchfarm bench heartbeat`: accepted heartbeats, against a constant server's answers and against Hypercorn."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

from benchmarks import bars
from benchmarks.blaster import RATE_MAX, blast, made_up_machines
from benchmarks.measuring import Benchmark, Figure, Subject, Yardstick
from benchmarks.processes import benchmark_server, measuring

if TYPE_CHECKING:
    from benchmarks.processes import Server

MACHINES = 1000
MIXED_CONNECTIONS = 64
"""As many as a load balancer keeps to a server, with the default settings of most."""
RATE_MAX_ALONE = 8_000.0
"""Of Hypercorn and Quart."""
TITLES = {
    "own": "express lane, a connection each",
    "mixed": "express lane, 64 connections for all",
    "constant": "yardstick: bare Trio + httptools, a connection each",
    "constant_mixed": "the same, 64 connections for all",
    "hypercorn": "Hypercorn + Quart alone, a connection each",
}
YARDSTICKS = (
    Yardstick("own", "constant", bars.OF_CONSTANT),
    Yardstick("own", "hypercorn", bars.LANE_OF_HYPERCORN),
)


def _blasted(server: Server, *, seconds: float, rate_max: float, connections: int) -> tuple[float]:
    machines = server.machines or made_up_machines(MACHINES)
    return (blast(server.url, machines, seconds, rate_max=rate_max, connections=connections),)


def subject(name: str, seconds: float) -> Subject:
    """Return one of the subjects that `TITLES` names."""
    kind = {"constant": "direct", "constant_mixed": "direct", "hypercorn": "hypercorn"}.get(name, "lane")
    start = partial(benchmark_server, kind, MACHINES)
    rate_max = RATE_MAX_ALONE if name == "hypercorn" else RATE_MAX
    connections = MIXED_CONNECTIONS if "mixed" in name else MACHINES
    measure = partial(_blasted, seconds=seconds, rate_max=rate_max, connections=connections)
    return Subject((Figure(name, TITLES[name]),), measuring(start, measure))


def benchmark(seconds: float) -> Benchmark:
    """Return the benchmark, each measurement of which takes so many seconds."""
    subjects = [subject(name, seconds) for name in ("own", "constant", "hypercorn")]
    return Benchmark("heartbeat", lambda: nullcontext(subjects), YARDSTICKS)
