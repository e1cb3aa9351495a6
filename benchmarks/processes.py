"""The processes that benchmarks measure, each on a core of its own where the machine has two."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import psutil

from benchmarks.measuring import BenchmarkError, Measurement
from simulator.platform.cpu_waits import read_waits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

SERVER_CORE, CLIENT_CORE = 0, 1
SETTLE_SECONDS = 0.2
SETTLE_MAX_SECONDS = 30.0
STOP_SECONDS = 30.0
ROOT = Path(__file__).parent.parent
TOKEN = "benchmark"  # noqa: S105 - for servers on loopback that live for seconds
ENVIRONMENT = {
    "WORKER_STATUS_STATE_FILE": "",
    "HATCHFARM_API_TOKEN": TOKEN,
    "PORT": "0",
    "RATE_LIMIT_REFILL_PER_SECOND": "1000000",
    "RATE_LIMIT_BURST": "1000000000",
}
"""What the servers are started with."""


class Server:
    """A server on its own core, which says where it listens in its first line, or after one with credentials."""

    def __init__(
        self, command: Sequence[str], settings: Mapping[str, str], *, shows_machines: bool, root: Path = ROOT
    ) -> None:
        self._started_ns = time.monotonic_ns()
        self._name = " ".join(command[1:])
        self._process = subprocess.Popen(  # noqa: S603 - our own command
            command,
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
            env={**os.environ, **ENVIRONMENT, **settings},
            start_new_session=True,  # Ctrl-C at the terminal is for whoever measures it, and ends it then
        )
        self.machines: list[dict[str, Any]] = []
        try:
            pin(self._process.pid, SERVER_CORE)
            self.url = self._started(shows_machines=shows_machines)
        except BaseException:
            self.__exit__()
            raise

    def _started(self, *, shows_machines: bool) -> str:
        """Wait until it says where it listens, and return that; `machines` are those that it shows before."""
        if self._process.stdout is None:
            raise BenchmarkError("no pipe")
        if shows_machines:
            self.machines = json.loads(self._process.stdout.readline() or "[]")
        url = self._process.stdout.readline().strip().rpartition(" ")[2]
        if not url:
            raise BenchmarkError(f"{self._name} did not start")
        return url

    def __enter__(self) -> Self:
        return self

    def settle(self) -> None:
        """Wait until the server has dealt with the connections that the last measurement left: it shares its core."""
        deadline = time.monotonic() + SETTLE_MAX_SECONDS
        before, used = -1.0, self.cpu_seconds()
        while used > before and time.monotonic() < deadline:
            time.sleep(SETTLE_SECONDS)  # noqa: TID251 - what is waited for is that nothing happens
            before, used = used, self.cpu_seconds()

    def cpu_seconds(self) -> float:
        """Return the CPU time that it has had: what others on its core take is not in it."""
        return sum(psutil.Process(self._process.pid).cpu_times()[:2])

    def waited_share(self) -> float:
        """Return the share of its life that it was ready to run and had no core."""
        waited_ns = max(read_waits([self._process.pid]).values(), default=0)
        return waited_ns / (time.monotonic_ns() - self._started_ns)

    def resident_bytes(self) -> int:
        """Return what it has resident."""
        return int(psutil.Process(self._process.pid).memory_info().rss)

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


AServer = TypeVar("AServer", bound=Server)


def benchmark_server(
    kind: str, machines: int = 0, settings: Mapping[str, str] | None = None, state_file: Path | None = None
) -> Server:
    """Start one of `benchmarks.servers`, which knows so many machines, or those of a state file."""
    command = [sys.executable, "-m", "benchmarks.servers", kind, str(machines)]
    if state_file is not None:
        command.append(str(state_file))
    return Server(command, settings or {}, shows_machines=True)


def measuring(
    start: Callable[[], AbstractContextManager[AServer]], measure: Callable[[AServer], Sequence[float]]
) -> Callable[[], Measurement]:
    """Return what starts a server, measures it from the client's core, and ends it."""

    def begin() -> Measurement:
        pin(0, CLIENT_CORE)
        with start() as server:
            return Measurement(tuple(measure(server)), waited=server.waited_share())

    return begin


def pin(pid: int, core: int) -> None:
    """Keep a process on one core, where the platform and the machine can."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0 if pid == 0 else pid))
        available = sorted({*cores, *range(os.cpu_count() or 1)})
        os.sched_setaffinity(pid, {available[core % len(available)]})
