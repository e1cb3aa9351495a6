"""`hatchfarm bench behind_proxy`: heartbeats through HAProxy's pool of connections, as it passes them to any server."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

from benchmarks import bars
from benchmarks.blaster import blast, made_up_machines
from benchmarks.fronts import POOL_CONNECTIONS, TRUSTING, behind_haproxy
from benchmarks.measuring import Benchmark, Figure, Subject, Yardstick
from benchmarks.processes import benchmark_server, measuring

if TYPE_CHECKING:
    from benchmarks.processes import Server

MACHINES = 1000
RATE_MAX = 30_000.0
"""Of HAProxy, which shares the client's core."""
SUBJECTS = {
    "behind": ("lane", f"express lane behind HAProxy, {POOL_CONNECTIONS} connections for all"),
    "constant_behind": ("direct", "yardstick: bare Trio + httptools behind the same"),
}
YARDSTICKS = (Yardstick("behind", "constant_behind", bars.BEHIND_PROXY_OF_CONSTANT),)


def blast_behind(server: Server, seconds: float) -> tuple[float]:
    """Return heartbeats a second through HAProxy, which is started for them."""
    with behind_haproxy(server.url) as url:
        return (blast(url, server.machines or made_up_machines(MACHINES), seconds, RATE_MAX),)


def benchmark(seconds: float) -> Benchmark:
    """Return the benchmark, each measurement of which takes so many seconds."""
    subjects = [
        Subject(
            (Figure(name, title),),
            measuring(partial(benchmark_server, kind, MACHINES, TRUSTING), partial(blast_behind, seconds=seconds)),
        )
        for name, (kind, title) in SUBJECTS.items()
    ]
    return Benchmark("behind_proxy", lambda: nullcontext(subjects), YARDSTICKS)
