"""`hatchfarm bench redis`: what nonces in Redis cost, against the same server's own memory."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Self

from benchmarks.blaster import blast
from benchmarks.heartbeat import MACHINES, RATE_MAX
from benchmarks.measuring import Benchmark, BenchmarkError, Figure, Subject, Yardstick
from benchmarks.processes import CLIENT_CORE, benchmark_server, pin

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

START_SECONDS = 10.0
TITLES = {
    "memory": "nonces in the server's memory",
    "redis": "in Redis, kept in memory",
    "redis_aof": "in Redis, AOF always",
}
OPTIONS = {
    "redis": ("--appendonly", "no"),
    "redis_aof": ("--appendonly", "yes", "--appendfsync", "always"),
}
YARDSTICKS = (Yardstick("redis", "memory", 0.3), Yardstick("redis_aof", "memory", 0.3))


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


@contextmanager
def _open_subjects(seconds: float) -> Iterator[Sequence[Subject]]:
    pin(0, CLIENT_CORE)
    with ExitStack() as stack:
        servers = {"memory": stack.enter_context(benchmark_server("lane", MACHINES))}
        for name, options in OPTIONS.items():
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="hatchfarm-bench-"))
            redis = stack.enter_context(Redis(folder, options))
            settings = {"REDIS_ADDR": f"127.0.0.1:{redis.port}"}
            servers[name] = stack.enter_context(benchmark_server("lane", MACHINES, settings))

        def blasted(name: str) -> tuple[float]:
            server = servers[name]
            # What holds Redis up for longer than heartbeats may wait, like a disk, has some refused, as it must.
            rate = blast(server.url, server.machines, seconds, RATE_MAX, may_wait_too_long=name in OPTIONS)
            server.settle()
            return (rate,)

        yield [Subject((Figure(name, TITLES[name]),), partial(blasted, name)) for name in servers]


def benchmark(seconds: float) -> Benchmark:
    """Return the benchmark, each measurement of which takes so many seconds."""
    return Benchmark("redis", lambda: _open_subjects(seconds), YARDSTICKS)
