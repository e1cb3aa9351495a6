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

from benchmarks.blaster import sign_requests
from benchmarks.measuring import Benchmark, BenchmarkError, Figure, Subject, Yardstick
from benchmarks.processes import CLIENT_CORE, TOKEN, Server, benchmark_server, pin
from benchmarks.rivals.asking import WARM_SECONDS, Rates, ask
from benchmarks.rivals.clients import run_locust, run_shard, run_wrk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

MACHINES = 1000
MIXED_CONNECTIONS = 64
"""What a load balancer's pool may come to: each carries heartbeats of any machine."""
START_SECONDS = 20.0
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
CLIENTS = {
    "shard": "the shard, signing",
    "fast": "Locust's FastHttpUser, signing",
    "http": "Locust's HttpUser, signing",
    "wrk": "wrk, signed before",
}
WRK_SIGNED = 20_000
"""Heartbeats that wrk sends in turn: the constant server does not mind to have seen them."""
HEARTBEAT_BARS = {"starlette": 2.0, "fastapi": 2.5, "quart": 15.0}
ROUTE_BAR = 1.5
CLIENT_BARS = {"fast": 4.0, "http": None, "wrk": 0.6}
BY_CPU = "_cpu"
"""What ends the names of figures by CPU time. Their ratios have no bars: they say whether a miss is the machine's."""


def _yardsticks() -> list[Yardstick]:
    pairs: list[tuple[str, str, float | None]] = [
        (f"lane_{route}", f"{rival}_{route}", bar) for route in HEARTBEATS for rival, bar in HEARTBEAT_BARS.items()
    ]
    pairs += [(f"lane_{route}", f"starlette_{route}", ROUTE_BAR) for route in ROUTES if route not in HEARTBEATS]
    pairs += [("lane_own", "ceiling_own", None), ("starlette_own", "ceiling_own", None)]
    pairs += [("shard", client, bar) for client, bar in CLIENT_BARS.items()]
    return [
        yardstick
        for over, under, bar in pairs
        for yardstick in (Yardstick(over, under, bar), Yardstick(over + BY_CPU, under + BY_CPU))
    ]


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


def requests_of(route: str, url: str, machines: Sequence[dict[str, str]], count: int) -> list[bytes]:
    """Write so many requests, or a few more, to a route: of each machine in turn, heartbeats stamped now."""
    host, each = urlsplit(url).netloc, -(-count // len(machines))
    if route in HEARTBEATS:
        return [request for turn in zip(*sign_requests(host, [*machines], each), strict=True) for request in turn]
    requests = []
    for machine in machines:
        path = route if route == "statuses" else f"{machine['worker_id']}/{route}"
        headers = f"Authorization: Bearer {TOKEN}\r\nX-Owner-ID: {machine['owner_id']}"
        if route == "policy":
            headers = f"X-Machine-Token: {machine['token']}\r\nX-Machine-Certificate-Id: {machine['certificate_id']}"
        requests.append(f"GET /api/v1/workers/{path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n\r\n".encode())
    return requests * each


def measure_server(kind: str, routes: Iterable[str], seconds: float) -> list[float]:
    """Start a server, ask each route in turn for so long, and return its rates by the clock and by CPU time."""
    pin(0, CLIENT_CORE)
    rates: list[float] = []
    with benchmark_server(kind, MACHINES) if kind == "lane" else Rival(kind, MACHINES) as server:
        for route in routes:
            connections = MACHINES if route == "own" else MIXED_CONNECTIONS
            requests = requests_of(route, server.url, server.machines, int(RATE_MAX[kind] * (seconds + WARM_SECONDS)))
            rates += ask(server.url, requests, seconds, connections, server.cpu_seconds)
            server.settle()
    return rates


def measure_client(client: Callable[[str], Rates]) -> Rates:
    """Start the constant server, and return what a client comes to with it."""
    pin(0, CLIENT_CORE)
    with benchmark_server("reactor") as constant:
        return client(constant.url)


def _with_wrk(url: str, seconds: float) -> Rates:
    made_up = [
        {
            "worker_id": f"wrk_{number:016x}",
            "token": f"{number:048x}",
            "certificate_id": f"mcert_{number:020x}",
            "policy_id": f"pol_{number:016x}",
        }
        for number in range(MACHINES)
    ]
    return run_wrk(url, requests_of("own", url, made_up, WRK_SIGNED), seconds, MACHINES)


def _both(name: str, title: str) -> tuple[Figure, Figure]:
    return Figure(name, title), Figure(name + BY_CPU, "the same, by CPU time", "/s of CPU")


def _subjects(seconds: float) -> list[Subject]:
    subjects = []
    for kind, title in SERVERS.items():
        routes = {"own": ROUTES["own"]} if kind == "ceiling" else ROUTES
        figures = (figure for route, what in routes.items() for figure in _both(f"{kind}_{route}", f"{title}: {what}"))
        subjects.append(Subject(tuple(figures), partial(measure_server, kind, tuple(routes), seconds)))
    clients: dict[str, Callable[[str], Rates]] = {
        "shard": partial(run_shard, machines=MACHINES, seconds=seconds),
        "fast": partial(run_locust, user="HeartbeatUser", seconds=seconds),
        "http": partial(run_locust, user="RequestsUser", seconds=seconds),
        "wrk": partial(_with_wrk, seconds=seconds),
    }
    return subjects + [
        Subject(_both(name, CLIENTS[name]), partial(measure_client, client)) for name, client in clients.items()
    ]


def benchmark(seconds: float) -> Benchmark:
    """Return the benchmark, each measurement of which takes so many seconds."""
    return Benchmark("rivals", lambda: nullcontext(_subjects(seconds)), tuple(_yardsticks()))
