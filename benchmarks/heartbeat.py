"""`hatchfarm bench heartbeat`: the heartbeat path against its yardsticks, in alternation within one run."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psutil
import trio
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.blaster import BenchmarkError, blast
from simulator.client.target import parse_target
from simulator.worlds.live.drive import drive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

SERVER_CORE, CLIENT_CORE = 0, 1
MACHINES = 1000
REGISTERED_MANY = 100_000
LOCUST_USERS = 100
SETTLE_SECONDS = 0.2
SETTLE_MAX_SECONDS = 30.0
RATE_MAX = {"a": 60_000.0, "b": 8_000.0, "c": 60_000.0, "c_stream": 60_000.0, "d": 60_000.0}
SUBJECTS = {
    "a": "express lane, 1,000 machines",
    "b": "Hypercorn + Quart alone",
    "c": "yardstick: bare Trio + httptools, a task each",
    "c_stream": "the same on Trio's streams",
    "d": "express lane, 100,000 machines registered",
    "shard": "the shard as client of a constant server",
    "locust": "Locust FastHttpUser as client of the same",
}
RATIOS = (
    ("a/b", "a", "b", 10.0),
    ("a/c", "a", "c", 0.55),
    ("a/c_stream", "a", "c_stream", None),
    ("d/a", "d", "a", 0.9),
    ("shard/locust", "shard", "locust", 4.0),
)


class Server:
    """A benchmark server on its own core."""

    def __init__(self, kind: str, machines: int = 0, settings: Mapping[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "benchmarks.servers", kind, str(machines)]
        self._process = subprocess.Popen(  # noqa: S603 - our own command
            command,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
            env={**os.environ, **(settings or {})},
        )
        pin(self._process.pid, SERVER_CORE)
        if self._process.stdout is None:
            raise BenchmarkError("no pipe")
        self.machines: list[dict[str, str]] = json.loads(self._process.stdout.readline() or "[]")
        self.url = self._process.stdout.readline().strip().rpartition(" ")[2]
        if not self.url:
            raise BenchmarkError(f"the {kind} server did not start")

    def __enter__(self) -> Self:
        return self

    def settle(self) -> None:
        """Wait until the server has dealt with the connections that the last measurement left: it shares its core."""
        process = psutil.Process(self._process.pid)
        deadline = time.monotonic() + SETTLE_MAX_SECONDS
        before, used = -1.0, sum(process.cpu_times()[:2])
        while used > before and time.monotonic() < deadline:
            time.sleep(SETTLE_SECONDS)  # noqa: TID251 - what is waited for is that nothing happens
            before, used = used, sum(process.cpu_times()[:2])

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)
        if self._process.stdout is not None:
            self._process.stdout.close()


def pin(pid: int, core: int) -> None:
    """Keep a process on one core, where the platform and the machine can."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0 if pid == 0 else pid))
        available = sorted({*cores, *range(os.cpu_count() or 1)})
        os.sched_setaffinity(pid, {available[core % len(available)]})


def run_locust(url: str, seconds: float) -> float:
    """Run Locust headless against a server; give requests a second."""
    command = [
        sys.executable, "-m", "locust", "-f", str(Path(__file__).with_name("locustfile.py")), "--headless",
        "-u", str(LOCUST_USERS), "-r", str(LOCUST_USERS), "-t", f"{max(1, round(seconds))}s", "--host", url,
        "--loglevel", "ERROR", "--only-summary",
    ]  # fmt: skip
    done = subprocess.run(  # noqa: S603 - our own command
        command, capture_output=True, text=True, check=False, timeout=120, cwd=Path(__file__).parent.parent
    )
    said = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not said:
        raise BenchmarkError(f"Locust said nothing: {done.stderr[-300:]}")
    result = json.loads(said[-1])
    if result["failures"]:
        raise BenchmarkError(f"Locust had {result['failures']} failures")
    return float(result["requests"] / result["seconds"])


def measure(rounds: int, seconds: float) -> Iterator[tuple[str, float]]:
    """Measure every subject in turn, `rounds` times over."""
    with ExitStack() as stack:
        servers = {
            "a": stack.enter_context(Server("lane", MACHINES)),
            "b": stack.enter_context(Server("hypercorn", MACHINES)),
            "c": stack.enter_context(Server("direct")),
            "c_stream": stack.enter_context(Server("stream")),
            "d": stack.enter_context(Server("lane", REGISTERED_MANY)),
        }
        constant = stack.enter_context(Server("reactor"))
        target = parse_target(constant.url, "none")
        machines = servers["a"].machines

        def blaster(subject: str) -> Callable[[], float]:
            server = servers[subject]

            def measured() -> float:
                rate = blast(server.url, server.machines or machines, seconds, RATE_MAX[subject])
                server.settle()
                return rate

            return measured

        subjects: dict[str, Callable[[], float]] = {subject: blaster(subject) for subject in servers}
        subjects["shard"] = lambda: trio.run(drive, target, MACHINES, seconds)
        subjects["locust"] = lambda: run_locust(constant.url, seconds)
        subjects["b"]()  # Quart answers its first requests slowly; the others have nothing to warm
        for number in range(rounds):
            # Alternate the order too, so that a drifting machine favours nobody.
            order = list(subjects) if number % 2 == 0 else list(reversed(subjects))
            for subject in order:
                yield subject, subjects[subject]()


def summarise(rates: dict[str, list[float]]) -> dict[str, Any]:
    """Return medians, and each ratio's median and spread over the rounds."""
    ratios = {}
    for name, over, under, bar in RATIOS:
        each = [top / bottom for top, bottom in zip(rates[over], rates[under], strict=True)]
        ratios[name] = {"median": statistics.median(each), "min": min(each), "max": max(each), "bar": bar}
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),  # noqa: TID251 - when these figures are from
        "per_second": {name: {"median": statistics.median(each), "rounds": each} for name, each in rates.items()},
        "ratios": ratios,
    }


def main(rounds: int, seconds: float, out: Path) -> int:
    """Measure, print a table, write JSON. Gives 0, or 1 when a measurement could not be made."""
    console = Console(highlight=False)
    pin(0, CLIENT_CORE)
    rates: dict[str, list[float]] = {name: [] for name in SUBJECTS}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
    )
    try:
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("starting servers, registering 101,000 machines", total=rounds * len(SUBJECTS))
            for subject, rate in measure(rounds, seconds):
                rates[subject].append(rate)
                progress.update(task, advance=1, description=f"{subject}: {rate:,.0f}/s")
    except BenchmarkError as error:
        console.print(f"hatchfarm bench: {error}", markup=False)
        return 1
    summary = summarise(rates)
    table = Table("", "subject", "per second (median)", "spread", box=None)
    for name, title in SUBJECTS.items():
        each = rates[name]
        table.add_row(name, title, f"{statistics.median(each):,.0f}", f"{min(each):,.0f} - {max(each):,.0f}")
    console.print(table)
    table = Table("ratio", "median", "spread", "bar", box=None)
    for name, ratio in summary["ratios"].items():
        bar = "" if ratio["bar"] is None else f">= {ratio['bar']:g}"
        table.add_row(name, f"{ratio['median']:.2f}", f"{ratio['min']:.2f} - {ratio['max']:.2f}", bar)
    console.print(table)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "bench-heartbeat.json"
    path.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    console.print(f"Figures: {path}", markup=False)
    return 0
