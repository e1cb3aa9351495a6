"""`hatchfarm bench conduct`: what it costs that Locust conducts the shard, against the shard alone."""

from __future__ import annotations

import io
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from benchmarks import bars
from benchmarks.measuring import Benchmark, Figure, Subject, Yardstick
from benchmarks.processes import TOKEN
from reference_server.wire.units import SECOND_NS
from simulator.contract.answers import Answer, Operation
from simulator.load.options import ConductorOptions
from simulator.running.run import RunRequest, observe
from simulator.scenario.loading import load_with_source

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from simulator.history.rows import History

RAMP_SECONDS = 3.0
"""Machines come up and their connections settle; nothing of it is counted."""
SCENARIO = """\
version = 1
name = "conduct"
duration = "{seconds}s"
[server]
settings = {{ RATE_LIMIT_REFILL_PER_SECOND = 100000, RATE_LIMIT_BURST = 100000 }}
[fleet]
machines = 400
owners = 10
heartbeat_interval = "10ms"
stages = [{{ duration = "1s", target = 400 }}]
"""
"""More heartbeats than a shard on one core can send, so that the rate is what it can."""
YARDSTICKS = (Yardstick("conducted", "direct", bars.CONDUCTED_OF_DIRECT),)


def rate_of(history: History, seconds: float) -> float:
    """Return accepted heartbeats a second, once everybody was there."""
    rows = history.rows()
    accepted = rows[(rows["operation"] == Operation.HEARTBEAT) & (rows["got"] == Answer.ACCEPTED)]["answered_ns"]
    counted = np.count_nonzero((accepted >= RAMP_SECONDS * SECOND_NS) & (accepted < seconds * SECOND_NS))
    return float(counted / (seconds - RAMP_SECONDS))


def measure(conducted_by: ConductorOptions | None, scenario: Path, seconds: float) -> tuple[float]:
    """Run once, with a server of its own; return heartbeats a second."""
    read = load_with_source(scenario)
    loaded, source = read.scenario, read.source
    text = source.decode()
    request = RunRequest(
        loaded, scenario, 1, scenario.parent, None, TOKEN, conducted_by=conducted_by, scenario_text=text
    )
    _, history = observe(request, Console(file=io.StringIO()))
    return (rate_of(history, seconds),)


@contextmanager
def _open_subjects(seconds: float) -> Iterator[Sequence[Subject]]:
    length = RAMP_SECONDS + seconds
    with tempfile.TemporaryDirectory() as folder:
        scenario = Path(folder) / "conduct.toml"
        scenario.write_text(SCENARIO.format(seconds=length), encoding="utf-8")
        yield [
            Subject((Figure("direct", "the shard in the run's own process"),), lambda: measure(None, scenario, length)),
            Subject(
                (Figure("conducted", "the shard beside Locust, reporting"),),
                lambda: measure(ConductorOptions(), scenario, length),
            ),
        ]


def benchmark(seconds: float) -> Benchmark:
    """Return the benchmark, each measurement of which takes so many seconds."""
    return Benchmark("conduct", lambda: _open_subjects(seconds), YARDSTICKS)
