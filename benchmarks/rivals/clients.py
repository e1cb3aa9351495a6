"""The clients that are compared: the shard and Locust's two, which sign all they send, and wrk, for which others do.

Each returns its rate by the clock, and by its own CPU time: where the server holds it up, the first is the server's.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import trio

from benchmarks.measuring import BenchmarkError
from benchmarks.processes import ROOT
from simulator.client.target import parse_target
from simulator.worlds.live.drive import drive
from simulator.worlds.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LOCUST_FILE = Path(__file__).parent.with_name("locustfile.py")
LOCUST_USERS = 100
"""More make it slower."""
WRK_SCRIPT = Path(__file__).with_name("heartbeats.lua")
PROGRAM_MAX_SECONDS = 120


class Rates(NamedTuple):
    """Answers a second, and a second of the CPU time of who is measured: a busy neighbour takes none of that."""

    by_clock: float
    by_cpu: float


def run_shard(url: str, machines: int, seconds: float) -> Rates:
    """Drive a shard of so many machines in this process."""
    progress = Progress()
    cpu_start = time.process_time()
    rate = trio.run(drive, parse_target(url, "none"), machines, seconds, progress)
    return Rates(rate, progress.accepted / (time.process_time() - cpu_start))


def run_locust(url: str, user: str, seconds: float) -> Rates:
    """Run Locust headless, with users of a class of its file."""
    shown = _run(
        [
            sys.executable, "-m", "locust", "-f", str(LOCUST_FILE), user, "--headless",
            "-u", str(LOCUST_USERS), "-r", str(LOCUST_USERS), "--host", url,
            "--loglevel", "ERROR", "--only-summary",
        ],
        "Locust",
        BENCHMARK_SECONDS=str(seconds),
    )  # fmt: skip
    return Rates(shown["requests"] / shown["seconds"], shown["requests"] / shown["cpu_seconds"])


def run_wrk(url: str, requests: Iterable[bytes], seconds: float, connections: int) -> Rates:
    """Have wrk send requests in turn, again and again, on so many connections."""
    program = shutil.which("wrk")
    if program is None:
        raise BenchmarkError("there is no wrk on the PATH: install it (Debian's package wrk)")
    cpu_start = _children_cpu_seconds()
    with tempfile.NamedTemporaryFile(prefix="hatchfarm-bench-") as file:
        file.write(b"\0".join(requests))
        file.flush()
        length = f"{max(1, round(seconds))}s"
        shown = _run(
            [program, "-t", "1", "-c", str(connections), "-d", length, "-s", str(WRK_SCRIPT), url, "--", file.name],
            "wrk",
        )
    return Rates(shown["requests"] / shown["seconds"], shown["requests"] / (_children_cpu_seconds() - cpu_start))


def _children_cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _run(command: Sequence[str], name: str, **environment: str) -> dict[str, Any]:
    """Run a client that shows its result as a line of JSON. Raises BenchmarkError where it shows none, or failures."""
    done = subprocess.run(  # noqa: S603 - our own command
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=PROGRAM_MAX_SECONDS,
        cwd=ROOT,
        env={**os.environ, **environment},
    )
    results = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not results:
        raise BenchmarkError(f"{name} showed no result: {(done.stderr or done.stdout)[-300:]}")
    result: dict[str, Any] = json.loads(results[-1])
    if result["failures"] or not result["requests"]:
        raise BenchmarkError(f"{name} had {result['failures']} failures in {result['requests']} requests")
    return result
