"""`hatchfarm bench rivals`: the server against servers that do the same, the shard against other clients."""

from __future__ import annotations

import socket
import sys
import time
from contextlib import nullcontext
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psutil

from benchmarks import bars, shard
from benchmarks.blaster import answered_with, host_of, send_all, signed_heartbeats
from benchmarks.measuring import Benchmark, BenchmarkError, Subject
from benchmarks.processes import TOKEN, Server, benchmark_server, measuring
from benchmarks.rivals.clients import Rates
from benchmarks.shard import both, with_cpu

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

MACHINES = 1000
MIXED_CONNECTIONS = 64
"""What a load balancer's pool may come to: each carries heartbeats of any machine."""
START_SECONDS = 20.0
WARM_SECONDS = 0.3
"""Not counted: a fresh server answers its first requests more slowly."""
SAMPLE_SECONDS = 0.05
PROGRAMS = ("starlette", "uvicorn", "uvloop", "httptools", "fastapi", "granian")
"""What has to be importable for the rivals to run."""
SERVERS = {
    "lane": "this server",
    "starlette": "Starlette on Uvicorn",
    "fastapi": "FastAPI on Granian",
    "quart": "Quart-Trio on Hypercorn",
    "ceiling": "Starlette on Uvicorn that decides nothing",
}
RATE_MAX = {"lane": 60_000.0, "ceiling": 40_000.0, "starlette": 30_000.0, "fastapi": 30_000.0, "quart": 6_000.0}
"""Requests are written beforehand, so many a second; more than a server can answer would only take time."""
ROUTES = {
    "own": "heartbeats, a connection each",
    "mixed": "heartbeats, mixed on 64 connections",
    "status": "GET a worker's status",
    "policy": "GET a worker's policy, as itself",
    "statuses": "GET the first page of an owner's workers",
}
HEARTBEATS = ("own", "mixed")
HEARTBEAT_BARS = {
    "starlette": bars.HEARTBEATS_OF_STARLETTE,
    "fastapi": bars.HEARTBEATS_OF_FASTAPI,
    "quart": bars.HEARTBEATS_OF_QUART,
}
YARDSTICKS = tuple(
    yardstick
    for pair in (
        *(
            with_cpu(f"lane_{route}", f"{rival}_{route}", bar)
            for route in HEARTBEATS
            for rival, bar in HEARTBEAT_BARS.items()
        ),
        *(
            with_cpu(f"lane_{route}", f"starlette_{route}", bars.ROUTES_OF_STARLETTE)
            for route in ROUTES
            if route not in HEARTBEATS
        ),
        with_cpu("lane_own", "ceiling_own"),
        shard.YARDSTICKS,
    )
    for yardstick in pair
)


class Rival(Server):
    """One of `benchmarks.rivals.servers`. Its CPU time is that of all its processes: Granian's worker is one."""

    def __init__(self, kind: str, machines: int) -> None:
        missing = [name for name in PROGRAMS if find_spec(name) is None]
        if missing:
            raise BenchmarkError(f"there is no {' and no '.join(missing)} here: `make rivals` adds them")
        command = [sys.executable, "-m", "benchmarks.rivals.servers", kind, str(machines)]
        super().__init__(command, {}, shows_machines=True)
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise

    def _wait(self) -> None:
        """Wait until it takes connections: not every server says when it does."""
        parts = urlsplit(self.url)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection((parts.hostname or "", parts.port or 0)).close()
            except OSError:
                time.sleep(0.02)  # noqa: TID251 - a process of somebody else's starts, and says nothing of it
                continue
            return
        raise BenchmarkError(f"nothing took connections at {self.url}")

    def cpu_seconds(self) -> float:
        """Return the CPU time that its processes have had."""
        process = psutil.Process(self._process.pid)
        return sum(sum(one.cpu_times()[:2]) for one in (process, *process.children(recursive=True)))


class Meter:
    """Counts whole answers of 200, and looks at a server's CPU time now and then, once it is warm.

    It is so after a while, and once there were as many answers as connections: to make those is not in it.
    """

    def __init__(
        self,
        cpu_seconds: Callable[[], float],
        connections: int,
        warm_seconds: float = WARM_SECONDS,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._is_whole = answered_with(200)
        self._cpu_seconds = cpu_seconds
        self._connections = connections
        self.answers = 0
        self._clock = clock
        self._next = clock() + warm_seconds
        self._samples: list[tuple[int, float]] = []

    def __call__(self, answer: bytes) -> bool | None:
        """Return whether an answer counts; None of a part of one."""
        whole = self._is_whole(answer)
        if whole:
            self.answers += 1
            now = self._clock()
            if now >= self._next and self.answers >= self._connections:
                self._samples.append((self.answers, self._cpu_seconds()))
                self._next = now + SAMPLE_SECONDS
        return whole

    def rate(self) -> float:
        """Return answers a second of CPU time, from the first look to the last: connecting and leaving is not in it."""
        if len(self._samples) > 1:
            (answers, used), (all_answers, all_used) = self._samples[0], self._samples[-1]
            if all_used > used:
                return (all_answers - answers) / (all_used - used)
        raise BenchmarkError("the server did nothing in the time of a measurement")


def requests_of(route: str, url: str, machines: Sequence[dict[str, str]], count: int) -> list[bytes]:
    """Write so many requests, or a few more, to a route: of each machine in turn, heartbeats stamped now."""
    host = host_of(url)
    if route in HEARTBEATS:
        return signed_heartbeats(host, machines, count)
    requests = []
    for machine in machines:
        path = route if route == "statuses" else f"{machine['worker_id']}/{route}"
        headers = f"Authorization: Bearer {TOKEN}\r\nX-Owner-ID: {machine['owner_id']}"
        if route == "policy":
            headers = f"X-Machine-Token: {machine['token']}\r\nX-Machine-Certificate-Id: {machine['certificate_id']}"
        requests.append(f"GET /api/v1/workers/{path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n\r\n".encode())
    return requests * -(-count // len(machines))


def ask(server: Server, route: str, seconds: float, rate_max: float) -> Rates:
    """Return how fast a server answers a route; `rate_max` is how fast it could at most."""
    requests = requests_of(route, server.url, server.machines, int(rate_max * (seconds + WARM_SECONDS)))
    connections = len(server.machines) if route == "own" else MIXED_CONNECTIONS
    meter = Meter(server.cpu_seconds, connections)
    rate = send_all(server.url, requests, seconds, connections, meter, WARM_SECONDS)
    server.settle()
    return Rates(rate, meter.rate())


def _ask_all(server: Server, kind: str, routes: Iterable[str], seconds: float) -> list[float]:
    rates: list[float] = []
    for route in routes:
        try:
            rates += ask(server, route, seconds, RATE_MAX[kind])
        except BenchmarkError as error:
            raise BenchmarkError(f"{SERVERS[kind]}: {ROUTES[route]}: {error}") from None
    return rates


def start(kind: str, machines: int = MACHINES) -> Server:
    """Start this server or a rival, with so many machines."""
    return benchmark_server(kind, machines) if kind == "lane" else Rival(kind, machines)


def _subjects(seconds: float) -> list[Subject]:
    subjects = []
    for kind, title in SERVERS.items():
        routes = {"own": ROUTES["own"]} if kind == "ceiling" else ROUTES
        figures = (figure for route, what in routes.items() for figure in both(f"{kind}_{route}", f"{title}: {what}"))
        measure = partial(_ask_all, kind=kind, routes=tuple(routes), seconds=seconds)
        subjects.append(Subject(tuple(figures), measuring(partial(start, kind), measure)))
    return subjects + shard.client_subjects(seconds)


def benchmark(seconds: float) -> Benchmark:
    """Return the benchmark, each measurement of which takes so many seconds."""
    return Benchmark("rivals", lambda: nullcontext(_subjects(seconds)), YARDSTICKS)
