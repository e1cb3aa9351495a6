"""`hatchfarm compare` of two commits: the heartbeat path of each, in alternation, every time in a fresh process.

The client is always this program's own, so that only the servers differ; it asks them over the wire alone.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.blaster import blast
from benchmarks.measuring import BenchmarkError
from benchmarks.processes import CLIENT_CORE, Server, pin
from simulator.comparing.alternating import Measured, Rounds, compare_in_rounds
from simulator.comparing.outcome import Comparison, Kind, conclude

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.environments import Checkout

FIGURES = (
    Measured("heartbeats accepted", "/s", higher_is_better=True),
    Measured("server's CPU time for each", " µs", higher_is_better=False),
    Measured("server's memory", " MB", higher_is_better=False),
)
MACHINES = 100
"""A connection each: enough to keep a server busy, so few that connecting takes no share of what is measured."""
RATE_MAX = 60_000.0
WARM_SECONDS, HEADROOM = 0.3, 3.0
"""A server's first answers are slow: they do not count, and tell how many requests to sign, so many times as many."""


def measure_server(version: Checkout, seconds: float) -> Sequence[float]:
    """Start a version's server, and return the `FIGURES` of it."""
    command = [version.python, "-m", "benchmarks.servers", "lane", str(MACHINES)]
    with Server(command, {"PYTHONSAFEPATH": ""}, shows_machines=True, root=version.source) as server:
        rate_max = min(RATE_MAX, HEADROOM * blast(server.url, server.machines, WARM_SECONDS, rate_max=RATE_MAX))
        server.settle()
        before = server.cpu_seconds()
        rate = blast(server.url, server.machines, seconds, rate_max=rate_max)
        server.settle()
        used = server.cpu_seconds() - before
        if not (rate and used):
            raise BenchmarkError("nothing was done in the time of a measurement")
        return rate, 1e6 * used / (rate * seconds), server.resident_bytes() / 1e6


def compare_commits(
    before: Checkout,
    after: Checkout,
    seconds: float,
    rounds: Rounds,
    seed: int,
    compared_at: str,
    show: Callable[[str], None],
) -> Comparison:
    """Measure two versions in rounds; `seed` draws who is first in each. Raises BenchmarkError."""
    pin(0, CLIENT_CORE)
    order = np.random.default_rng(seed)
    sides = [partial(measure_server, version, seconds) for version in (before, after)]
    lines = compare_in_rounds(FIGURES, lambda side: sides[side](), lambda: bool(order.integers(2)), rounds, show)
    return conclude(Kind.COMMITS, (before.name, after.name), compared_at, lines)
