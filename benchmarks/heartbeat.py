"""`hatchfarm bench heartbeat`: the heartbeat path against its yardsticks."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.blaster import blast
from benchmarks.measuring import Benchmark, Figure, Subject, Yardstick
from benchmarks.processes import CLIENT_CORE, benchmark_server, pin
from benchmarks.rivals.clients import run_locust, run_shard

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MACHINES = 1000
REGISTERED_MANY = 100_000
RATE_MAX = 60_000.0
RATE_MAX_ALONE = 8_000.0
"""Of Hypercorn and Quart; requests are signed beforehand, and more would only take time."""
TITLES = {
    "a": "express lane, 1,000 machines",
    "b": "Hypercorn + Quart alone",
    "c": "yardstick: bare Trio + httptools, a task each",
    "c_stream": "the same on Trio's streams",
    "d": "express lane, 100,000 machines registered",
    "shard": "the shard as client of a constant server",
    "locust": "Locust FastHttpUser as client of the same",
}
YARDSTICKS = (
    Yardstick("a", "b", 10.0),
    Yardstick("a", "c", 0.55),
    Yardstick("a", "c_stream"),
    Yardstick("d", "a", 0.9),
    Yardstick("shard", "locust", 4.0),
)


@contextmanager
def _open_subjects(seconds: float) -> Iterator[Sequence[Subject]]:
    pin(0, CLIENT_CORE)
    with ExitStack() as stack:
        servers = {
            "a": stack.enter_context(benchmark_server("lane", MACHINES)),
            "b": stack.enter_context(benchmark_server("hypercorn", MACHINES)),
            "c": stack.enter_context(benchmark_server("direct")),
            "c_stream": stack.enter_context(benchmark_server("stream")),
            "d": stack.enter_context(benchmark_server("lane", REGISTERED_MANY)),
        }
        constant = stack.enter_context(benchmark_server("reactor"))

        def blasted(name: str) -> tuple[float]:
            server = servers[name]
            rate_max = RATE_MAX_ALONE if name == "b" else RATE_MAX
            rate = blast(server.url, server.machines or servers["a"].machines, seconds, rate_max)
            server.settle()
            return (rate,)

        blasted("b")  # Quart answers its first requests slowly; the others have nothing to warm
        clients = {
            "shard": lambda: (run_shard(constant.url, MACHINES, seconds).by_clock,),
            "locust": lambda: (run_locust(constant.url, "HeartbeatUser", seconds).by_clock,),
        }
        yield [
            *(Subject((Figure(name, TITLES[name]),), partial(blasted, name)) for name in servers),
            *(Subject((Figure(name, TITLES[name]),), measure) for name, measure in clients.items()),
        ]


def benchmark(seconds: float) -> Benchmark:
    """Return the benchmark, each measurement of which takes so many seconds."""
    return Benchmark("heartbeat", lambda: _open_subjects(seconds), YARDSTICKS)
