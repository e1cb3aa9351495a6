"""`hatchfarm bench limited`: what a refusal by the rate limit costs the server, against an accepted heartbeat."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import bars
from benchmarks.blaster import RATE_MAX, WARM_SECONDS, answered_with, host_of, send_all, signed_heartbeats
from benchmarks.fleet import made_state
from benchmarks.measuring import Benchmark, Figure, Subject, Yardstick
from benchmarks.processes import benchmark_server, measuring

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.processes import Server

MACHINES = 1000
CONNECTIONS = 64
"""Of one client, which the limit is for."""
EXHAUSTED = {"RATE_LIMIT_REFILL_PER_SECOND": "0.001", "RATE_LIMIT_BURST": "1"}
NO_SETTINGS: dict[str, str] = {}
CASES = (
    ("accepted", "accepted heartbeats", 200, NO_SETTINGS),
    ("limited", "answers of 429", 429, EXHAUSTED),
)
YARDSTICKS = (Yardstick("limited", "accepted", bars.ACCEPTED_OF_LIMITED),)


def _by_cpu_time(server: Server, machines: list[dict[str, str]], status: int, seconds: float) -> tuple[float]:
    """Return answers a second of the server's CPU time: how fast it lets a client ask again is not in it."""
    requests = signed_heartbeats(host_of(server.url), machines, int(RATE_MAX * (seconds + WARM_SECONDS)))
    if status != 200:  # noqa: PLR2004 - what is accepted exhausts nothing
        send_all(server.url, requests[:1], seconds, 1, answered_with(200), warm_seconds=0)
    server.settle()
    before = server.cpu_seconds()
    counted = 0

    def count(answer: bytes) -> bool | None:
        nonlocal counted
        whole = is_whole(answer)
        counted += bool(whole)
        return whole

    is_whole = answered_with(status)
    send_all(server.url, requests[1:], seconds, CONNECTIONS, count, warm_seconds=0)
    server.settle()
    return (counted / (server.cpu_seconds() - before),)


@contextmanager
def _open_subjects(seconds: float) -> Iterator[Sequence[Subject]]:
    with tempfile.TemporaryDirectory() as folder:
        path, machines = made_state(Path(folder), MACHINES)  # to register them would be too much for the limit
        yield [
            Subject(
                (Figure(name, title, "/s of CPU"),),
                measuring(
                    partial(benchmark_server, "lane", settings=settings, state_file=path),
                    partial(_by_cpu_time, machines=machines, status=status, seconds=seconds),
                ),
            )
            for name, title, status, settings in CASES
        ]


def benchmark(seconds: float) -> Benchmark:
    """Return the benchmark, each measurement of which takes so many seconds."""
    return Benchmark("limited", lambda: _open_subjects(seconds), YARDSTICKS)
