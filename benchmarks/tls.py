"""`hatchfarm bench tls`: what TLS costs heartbeats, against the same server in plain HTTP/1.1."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import bars
from benchmarks.blaster import blast
from benchmarks.measuring import Benchmark, Figure, Subject, Yardstick
from benchmarks.processes import benchmark_server, measuring
from simulator.deployment.certificate import make_certificate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.processes import Server

MACHINES = 1000
YARDSTICKS = (Yardstick("tls", "plain", bars.TLS_OF_PLAIN),)


def _blasted(server: Server, seconds: float) -> tuple[float]:
    return (blast(server.url, server.machines, seconds),)


@contextmanager
def _open_subjects(seconds: float) -> Iterator[Sequence[Subject]]:
    with tempfile.TemporaryDirectory() as folder:
        certificate = make_certificate(Path(folder), datetime.now(UTC))  # noqa: TID251 - a live server shows it
        settings = {"plain": {}, "tls": certificate.settings}
        titles = {"plain": "heartbeats in plain HTTP/1.1", "tls": "the same over TLS"}
        yield [
            Subject(
                (Figure(name, titles[name]),),
                measuring(
                    partial(benchmark_server, "lane", MACHINES, settings[name]), partial(_blasted, seconds=seconds)
                ),
            )
            for name in titles
        ]


def benchmark(seconds: float) -> Benchmark:
    """Return the benchmark, each measurement of which takes so many seconds."""
    return Benchmark("tls", lambda: _open_subjects(seconds), YARDSTICKS)
