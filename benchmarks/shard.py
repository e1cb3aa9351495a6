"""`hatchfarm bench shard`: the simulator's client, signing, against Locust and wrk, all at a constant server."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

from benchmarks import bars
from benchmarks.blaster import host_of, made_up_machines, signed_heartbeats
from benchmarks.measuring import Benchmark, Figure, Subject, Yardstick
from benchmarks.processes import benchmark_server, measuring
from benchmarks.rivals.clients import Rates, run_locust, run_shard, run_wrk

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.processes import Server

MACHINES = 1000
WRK_SIGNED = 20_000
"""Heartbeats that wrk sends in turn: the server, being constant, does not mind to have seen them."""
CLIENTS = {
    "shard": "the shard, signing",
    "locust": "Locust's FastHttpUser, signing",
    "locust_http": "Locust's HttpUser, signing",
    "wrk": "wrk, signed before",
}
BY_CPU = "_cpu"
"""What ends the names of figures by CPU time. Their ratios have no bars: they say whether a miss is the machine's."""


def with_cpu(over: str, under: str, bar: float | None = None) -> tuple[Yardstick, Yardstick]:
    """Return the ratio of two figures by the clock, which has the bar, and by CPU time."""
    return Yardstick(over, under, bar), Yardstick(over + BY_CPU, under + BY_CPU)


def both(name: str, title: str) -> tuple[Figure, Figure]:
    """Return a figure by the clock and by CPU time."""
    return Figure(name, title), Figure(name + BY_CPU, f"{title}, by CPU time", "/s of CPU")


YARDSTICKS = (
    *with_cpu("shard", "locust", bars.SHARD_OF_LOCUST),
    *with_cpu("shard", "locust_http"),
    *with_cpu("shard", "wrk", bars.SHARD_OF_WRK),
)


def _with_wrk(url: str, seconds: float) -> Rates:
    requests = signed_heartbeats(host_of(url), made_up_machines(MACHINES), WRK_SIGNED)
    return run_wrk(url, requests, seconds, MACHINES)


def _measure(server: Server, client: Callable[[str], Rates]) -> Rates:
    return client(server.url)


def client_subjects(seconds: float) -> list[Subject]:
    """Return the clients, each with a constant server of its own."""
    clients: dict[str, Callable[[str], Rates]] = {
        "shard": partial(run_shard, machines=MACHINES, seconds=seconds),
        "locust": partial(run_locust, user="HeartbeatUser", seconds=seconds),
        "locust_http": partial(run_locust, user="RequestsUser", seconds=seconds),
        "wrk": partial(_with_wrk, seconds=seconds),
    }
    return [
        Subject(
            both(name, CLIENTS[name]), measuring(partial(benchmark_server, "reactor"), partial(_measure, client=client))
        )
        for name, client in clients.items()
    ]


def benchmark(seconds: float) -> Benchmark:
    """Return the benchmark, each measurement of which takes so many seconds."""
    return Benchmark("shard", lambda: nullcontext(client_subjects(seconds)), YARDSTICKS)
