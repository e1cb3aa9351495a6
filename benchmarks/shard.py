"""`hatchfarm bench shard`: the simulator's client, signing, against Locust and wrk, all at a constant server."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from benchmarks import bars
from benchmarks.blaster import host_of, made_up_machines, signed_heartbeats
from benchmarks.measuring import Benchmark, BenchmarkError, Figure, Subject, Yardstick
from benchmarks.processes import ROOT, benchmark_server, measuring
from simulator.client.target import parse_target
from simulator.worlds.live.drive import drive

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.processes import Server

MACHINES = 1000
LOCUST_USERS = 100
CLIENT_MAX_SECONDS = 120
WRK_SIGNED = 20_000
"""Heartbeats that wrk sends in turn: the server, being constant, does not mind to have seen them."""
WRK_SCRIPT = """\
local file = assert(io.open("{path}", "rb"))
local requests, number = {{}}, 0
for length in file:lines() do
  requests[#requests + 1] = file:read(tonumber(length))
end
function request()
  number = number % #requests + 1
  return requests[number]
end
"""
_WRK_RATE = re.compile(r"^Requests/sec: +([0-9.]+)$", re.MULTILINE)
YARDSTICKS = (
    Yardstick("shard", "locust", bars.SHARD_OF_LOCUST),
    Yardstick("shard", "wrk", bars.SHARD_OF_WRK),
)


def run_locust(url: str, seconds: float) -> float:
    """Run Locust headless against a server; return requests a second."""
    command = [
        sys.executable, "-m", "locust", "-f", str(Path(__file__).with_name("locustfile.py")), "--headless",
        "-u", str(LOCUST_USERS), "-r", str(LOCUST_USERS), "-t", f"{max(1, round(seconds))}s", "--host", url,
        "--loglevel", "ERROR", "--only-summary",
    ]  # fmt: skip
    done = _run(command)
    results = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not results:
        raise BenchmarkError(f"Locust showed no result: {done.stderr[-300:]}")
    result = json.loads(results[-1])
    if result["failures"]:
        raise BenchmarkError(f"Locust had {result['failures']} failures")
    return float(result["requests"] / result["seconds"])


def run_wrk(url: str, seconds: float) -> float:
    """Run wrk against a server, with heartbeats signed before; return requests a second."""
    program = shutil.which("wrk")
    if program is None:
        raise BenchmarkError("there is no wrk on the PATH: install it (Debian's package wrk)")
    requests = signed_heartbeats(host_of(url), made_up_machines(MACHINES), WRK_SIGNED)
    with tempfile.TemporaryDirectory() as folder:
        written, script = Path(folder) / "requests", Path(folder) / "wrk.lua"
        written.write_bytes(b"".join(b"%d\n%b" % (len(one), one) for one in requests))
        script.write_text(WRK_SCRIPT.format(path=written), encoding="utf-8")
        length = f"{max(1, round(seconds))}s"
        done = _run([program, "-t", "1", "-c", str(MACHINES), "-d", length, "-s", str(script), url])
    rate = _WRK_RATE.search(done.stdout)
    if rate is None or "Non-2xx" in done.stdout:
        raise BenchmarkError(f"wrk showed no rate: {done.stdout[-300:]}{done.stderr[-300:]}")
    return float(rate[1])


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own command
        command, capture_output=True, text=True, check=False, timeout=CLIENT_MAX_SECONDS, cwd=ROOT
    )


def run_shard(url: str, seconds: float) -> float:
    """Drive a shard; return accepted heartbeats a second."""
    return trio.run(drive, parse_target(url, "none"), MACHINES, seconds)


CLIENTS: dict[str, tuple[str, Callable[[str, float], float]]] = {
    "shard": ("the shard, signing", run_shard),
    "locust": ("Locust FastHttpUser, signing", run_locust),
    "wrk": ("wrk, signed before", run_wrk),
}


def _rate(server: Server, run: Callable[[str, float], float], seconds: float) -> tuple[float]:
    return (run(server.url, seconds),)


def benchmark(seconds: float) -> Benchmark:
    """Return the benchmark, each measurement of which takes so many seconds."""
    subjects = [
        Subject(
            (Figure(name, title),),
            measuring(partial(benchmark_server, "reactor"), partial(_rate, run=run, seconds=seconds)),
        )
        for name, (title, run) in CLIENTS.items()
    ]
    return Benchmark("shard", lambda: nullcontext(subjects), YARDSTICKS)
