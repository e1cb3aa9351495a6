"""`hatchfarm bench heartbeat`: the heartbeat path against its yardsticks."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from benchmarks.blaster import blast
from benchmarks.measuring import Benchmark, BenchmarkError, Figure, Subject, Yardstick
from benchmarks.processes import CLIENT_CORE, ROOT, benchmark_server, pin
from simulator.client.target import parse_target
from simulator.worlds.live.drive import drive

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MACHINES = 1000
REGISTERED_MANY = 100_000
LOCUST_USERS = 100
LOCUST_MAX_SECONDS = 120
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


def run_locust(url: str, seconds: float) -> float:
    """Run Locust headless against a server; return requests a second."""
    command = [
        sys.executable, "-m", "locust", "-f", str(Path(__file__).with_name("locustfile.py")), "--headless",
        "-u", str(LOCUST_USERS), "-r", str(LOCUST_USERS), "-t", f"{max(1, round(seconds))}s", "--host", url,
        "--loglevel", "ERROR", "--only-summary",
    ]  # fmt: skip
    done = subprocess.run(  # noqa: S603 - our own command
        command, capture_output=True, text=True, check=False, timeout=LOCUST_MAX_SECONDS, cwd=ROOT
    )
    results = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not results:
        raise BenchmarkError(f"Locust showed no result: {done.stderr[-300:]}")
    result = json.loads(results[-1])
    if result["failures"]:
        raise BenchmarkError(f"Locust had {result['failures']} failures")
    return float(result["requests"] / result["seconds"])


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
        target = parse_target(constant.url, "none")

        def blasted(name: str) -> tuple[float]:
            server = servers[name]
            rate_max = RATE_MAX_ALONE if name == "b" else RATE_MAX
            rate = blast(server.url, server.machines or servers["a"].machines, seconds, rate_max)
            server.settle()
            return (rate,)

        blasted("b")  # Quart answers its first requests slowly; the others have nothing to warm
        clients = {
            "shard": lambda: (trio.run(drive, target, MACHINES, seconds),),
            "locust": lambda: (run_locust(constant.url, seconds),),
        }
        yield [
            *(Subject((Figure(name, TITLES[name]),), partial(blasted, name)) for name in servers),
            *(Subject((Figure(name, TITLES[name]),), measure) for name, measure in clients.items()),
        ]


def benchmark(seconds: float) -> Benchmark:
    """Return the benchmark, each measurement of which takes so many seconds."""
    return Benchmark("heartbeat", lambda: _open_subjects(seconds), YARDSTICKS)
