"""`hatchfarm bench redis`: what nonces in Redis cost, against the same server's own memory, in alternation."""

from __future__ import annotations

import json
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.blaster import BenchmarkError, blast
from benchmarks.heartbeat import CLIENT_CORE, MACHINES, RATE_MAX, Server, pin

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BAR = 0.3
START_SECONDS = 10.0
SUBJECTS = {
    "memory": "nonces in the server's memory",
    "redis": "in Redis, kept in memory",
    "redis_aof": "in Redis, AOF always",
}
OPTIONS = {
    "redis": ("--appendonly", "no"),
    "redis_aof": ("--appendonly", "yes", "--appendfsync", "always"),
}


class Redis:
    """A redis-server on the client's core: the server under test has one to itself."""

    def __init__(self, folder: str, options: tuple[str, ...]) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        program = shutil.which("redis-server")
        if program is None:
            raise BenchmarkError("there is no redis-server on the PATH: install it (Debian's package redis-server)")
        where = ("--bind", "127.0.0.1", "--port", str(self.port), "--dir", folder, "--save", "")
        self._process = subprocess.Popen([program, *where, *options], stdout=subprocess.DEVNULL)  # noqa: S603 - ours
        pin(self._process.pid, CLIENT_CORE)
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except OSError:
                continue
            return
        raise BenchmarkError("redis-server did not start")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)


def measure(rounds: int, seconds: float) -> Iterator[tuple[str, float]]:
    """Measure every subject in turn, `rounds` times over."""
    with ExitStack() as stack:
        servers = {"memory": stack.enter_context(Server("lane", MACHINES))}
        for subject, options in OPTIONS.items():
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="hatchfarm-bench-"))
            redis = stack.enter_context(Redis(folder, options))
            settings = {"REDIS_ADDR": f"127.0.0.1:{redis.port}"}
            servers[subject] = stack.enter_context(Server("lane", MACHINES, settings))
        for number in range(rounds):
            # Alternate the order too, so that a drifting machine favours nobody.
            for subject in list(servers) if number % 2 == 0 else list(reversed(servers)):
                server = servers[subject]
                # What holds Redis up for longer than heartbeats may wait, like a disk, has some refused, as it must.
                shared = subject in OPTIONS
                rate = blast(server.url, server.machines, seconds, RATE_MAX["a"], may_wait_too_long=shared)
                yield subject, rate
                server.settle()


def summarise(rates: dict[str, list[float]]) -> dict[str, Any]:
    """Return medians, and each ratio's median and spread over the rounds."""
    ratios = {}
    for subject in OPTIONS:
        each = [shared / alone for shared, alone in zip(rates[subject], rates["memory"], strict=True)]
        ratios[f"{subject}/memory"] = {
            "median": statistics.median(each),
            "min": min(each),
            "max": max(each),
            "bar": BAR,
        }
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
            task = progress.add_task("starting servers and two Redis", total=rounds * len(SUBJECTS))
            for subject, rate in measure(rounds, seconds):
                rates[subject].append(rate)
                progress.update(task, advance=1, description=f"{subject}: {rate:,.0f}/s")
    except BenchmarkError as error:
        console.print(f"hatchfarm bench: {error}", markup=False)
        return 1
    summary = summarise(rates)
    table = Table("subject", "per second (median)", "spread", "as a ratio", "bar", box=None)
    for name, title in SUBJECTS.items():
        each = rates[name]
        ratio = summary["ratios"].get(f"{name}/memory")
        shown = "" if ratio is None else f"{ratio['median']:.2f} ({ratio['min']:.2f} - {ratio['max']:.2f})"
        bar = "" if ratio is None else f">= {ratio['bar']:g}"
        table.add_row(title, f"{statistics.median(each):,.0f}", f"{min(each):,.0f} - {max(each):,.0f}", shown, bar)
    console.print(table)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "bench-redis.json"
    path.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    console.print(f"Figures: {path}", markup=False)
    return 0
