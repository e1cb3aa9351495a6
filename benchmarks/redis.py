"""`hatchfarm bench redis`: what nonces in Redis cost, and all state there, against the same server's own memory."""

from __future__ import annotations

import secrets  # noqa: TID251 - a key for servers that live for seconds
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from benchmarks import bars
from benchmarks.blaster import blast
from benchmarks.measuring import Benchmark, BenchmarkError, Figure, Subject, Yardstick
from benchmarks.onboarding import register_over_wire
from benchmarks.processes import CLIENT_CORE, benchmark_server, measuring, pin
from reference_server.adapters.files.private_files import write_new
from reference_server.wire.signing import CertificateSigner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.processes import Server

MACHINES = 1000
START_SECONDS = 10.0
TITLES = {
    "memory": "nonces in the server's memory",
    "redis": "in Redis, kept in memory",
    "redis_aof": "in Redis, AOF always",
    "shared": "all state in Redis, kept in memory",
}
OPTIONS = {
    "redis": ("--appendonly", "no"),
    "redis_aof": ("--appendonly", "yes", "--appendfsync", "always"),
    "shared": ("--appendonly", "no"),
}
YARDSTICKS = (
    Yardstick("redis", "memory", bars.REDIS_OF_MEMORY),
    Yardstick("redis_aof", "memory", bars.REDIS_OF_MEMORY),
    Yardstick("shared", "memory", bars.SHARED_OF_MEMORY),
)


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
def _server(name: str) -> Iterator[Server]:
    """Start a server, and before it the Redis that it needs, if it needs one."""
    with ExitStack() as stack:
        if name not in OPTIONS:
            yield stack.enter_context(benchmark_server("lane", MACHINES))
            return
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="hatchfarm-bench-"))
        settings = {"REDIS_ADDR": f"127.0.0.1:{stack.enter_context(Redis(folder, OPTIONS[name])).port}"}
        if name != "shared":
            yield stack.enter_context(benchmark_server("lane", MACHINES, settings))
            return
        key = Path(folder) / "signing-key.pem"
        write_new(key, CertificateSigner.from_seed(secrets.token_bytes(32)).pem())
        settings |= {"HATCHFARM_SHARED_STATE": "redis", "MACHINE_CERT_SIGNING_KEY_FILE": str(key)}
        server = stack.enter_context(benchmark_server("lane", 0, settings))
        server.machines = register_over_wire(server.url, MACHINES)
        yield server


def _blasted(server: Server, *, seconds: float, waits: bool) -> tuple[float]:
    # What holds Redis up for longer than heartbeats may wait, like a disk, has some refused, as it must.
    return (blast(server.url, server.machines, seconds, may_wait_too_long=waits),)


def benchmark(seconds: float) -> Benchmark:
    """Return the benchmark, each measurement of which takes so many seconds."""
    subjects = [
        Subject(
            (Figure(name, title),),
            measuring(partial(_server, name), partial(_blasted, seconds=seconds, waits=name in OPTIONS)),
        )
        for name, title in TITLES.items()
    ]
    return Benchmark("redis", lambda: nullcontext(subjects), YARDSTICKS)
