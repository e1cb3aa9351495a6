"""`hatchfarm bench routes`: every route but the heartbeat's over real sockets, with 1,000 and with 100,000 machines."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import bars
from benchmarks.blaster import answered_with, send_all
from benchmarks.fleet import FEW, MANY, made_state
from benchmarks.measuring import Benchmark, BenchmarkError, Figure, Subject
from benchmarks.processes import benchmark_server, measuring
from benchmarks.route_requests import ROUTES, SETTINGS, Route

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.processes import Server

CONNECTIONS = 8
"""Enough that the server never waits for this client."""
RATE_MAX = 30_000
"""Requests of one route a second that are sent at most."""
WARM_SECONDS = 0.02


def measure_routes(server: Server, seconds: float) -> list[float]:
    """Return for each route answers a second on several connections, and milliseconds for one alone, on one."""
    values: list[float] = []
    for route, shown in zip(ROUTES, server.machines, strict=True):
        try:
            values += _measure_route(server.url, route, shown["requests"], seconds)
        except BenchmarkError as error:
            raise BenchmarkError(f"{route.name}: {error}") from None
    return values


def _measure_route(url: str, route: Route, texts: list[str], seconds: float) -> tuple[float, float]:
    requests, warm_seconds = [text.encode() for text in texts], 0.0
    if len(requests) == 1:
        requests, warm_seconds = requests * int(RATE_MAX * seconds), WARM_SECONDS
    for_rate = len(requests) * 2 // 3  # what changes something is sent once
    counted = answered_with(route.status)
    rate = send_all(url, requests[:for_rate], seconds, CONNECTIONS, counted, warm_seconds)
    alone = send_all(url, requests[for_rate:], seconds / 2, 1, counted, warm_seconds)
    return rate, 1000 / alone


@contextmanager
def _open_subjects(seconds: float) -> Iterator[Sequence[Subject]]:
    with tempfile.TemporaryDirectory() as folder:
        yield [
            Subject(
                _figures(machines),
                measuring(
                    partial(benchmark_server, "routes", machines, SETTINGS, made_state(Path(folder), machines)[0]),
                    partial(measure_routes, seconds=seconds),
                ),
            )
            for machines in (FEW, MANY)
        ]


def _figures(machines: int) -> tuple[Figure, ...]:
    return tuple(
        figure
        for route in ROUTES
        for name in (f"{route.name} at {machines:,}",)
        for figure in (
            Figure(name, name),
            Figure(f"{name}, alone", f"{name}, alone", " ms", bars.FIRST_PAGE_MS if route.first_page else None),
        )
    )


def benchmark(seconds: float) -> Benchmark:
    """Return the benchmark, each route of which takes so many seconds, and half of them alone."""
    return Benchmark("routes", lambda: _open_subjects(seconds))
