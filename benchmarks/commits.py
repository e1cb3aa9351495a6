"""`hatchfarm compare` of two commits: the heartbeat path of each, in alternation, every time in a fresh process.

The client is always this program's own, so that only the servers differ; it asks them over the wire alone.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.blaster import WARM_SECONDS, blast
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
MACHINES, CONNECTIONS = 1000, 64
"""So few connections that connecting takes no share of what is measured."""
SAME = "both are the same version: whatever differs is not the program's"


def measure_server(version: Checkout, seconds: float) -> Sequence[float]:
    """Start a version's server, and return the `FIGURES` of it."""
    command = [version.python, "-m", "benchmarks.servers", "lane", str(MACHINES)]
    with Server(command, {"PYTHONSAFEPATH": ""}, shows_machines=True, root=version.source) as server:
        before = server.cpu_seconds()
        rate = blast(server.url, server.machines, seconds, connections=CONNECTIONS)
        server.settle()
        used = server.cpu_seconds() - before
        if not (rate and used):
            raise BenchmarkError("nothing was done in the time of a measurement")
        return rate, 1e6 * used / (rate * (seconds + WARM_SECONDS)), server.resident_bytes() / 1e6


def compare_commits(
    before: Checkout,
    after: Checkout,
    seconds: float,
    rounds: Rounds,
    seed: int,
    compared_at: str,
    show: Callable[[str], None],
) -> Comparison:
    """Measure two versions in rounds; `seed` draws who is first in each. Raises BenchmarkError.

    They may be the same one, which says what a difference is worth here; it is said, for it may be by mistake.
    """
    notes = [SAME] if before.source == after.source else []
    for note in notes:
        show(note)
    pin(0, CLIENT_CORE)
    order = np.random.default_rng(seed)
    sides = [partial(measure_server, version, seconds) for version in (before, after)]
    lines = compare_in_rounds(FIGURES, lambda side: sides[side](), lambda: bool(order.integers(2)), rounds, show)
    return conclude(Kind.COMMITS, (before.name, after.name), compared_at, lines, notes=notes)
