"""`hatchfarm bench checkers`: how many rows of a history the checkers judge in a second."""

from __future__ import annotations

import io
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from benchmarks.measuring import Benchmark, Figure, Subject
from benchmarks.processes import TOKEN
from simulator.checkers import run_checkers
from simulator.running.run import RunRequest, observe
from simulator.scenario.loading import load_with_source

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from simulator.history.rows import History
    from simulator.judging.record import RunRecord

SCENARIO = """\
version = 1
name = "checkers"
duration = "{seconds}s"
[server]
settings = {{ RATE_LIMIT_REFILL_PER_SECOND = 100000, RATE_LIMIT_BURST = 100000 }}
[fleet]
machines = 400
owners = 10
heartbeat_interval = "200ms"
stages = [{{ duration = "1s", target = 400 }}]
[[attacks]]
name = "replay.exact"
start = "2s"
duration = "2s"
rate = 20
"""
"""2,000 rows a second of honest machines, and an attack beside them."""
HISTORY_SECONDS_MIN = 5.0
SEED = 1


def _judge(record: RunRecord, history: History, seconds: float) -> tuple[float]:
    """Judge a history over and over for so many seconds, and at least once; return rows a second."""
    rows, done, begun = len(history), 0, time.perf_counter()
    while True:
        run_checkers(history, record.facts)
        done += rows
        spent = time.perf_counter() - begun
        if spent >= seconds:
            return (done / spent,)


@contextmanager
def _open_subjects(seconds: float) -> Iterator[Sequence[Subject]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkers.toml"
        path.write_text(SCENARIO.format(seconds=max(HISTORY_SECONDS_MIN, seconds)), encoding="utf-8")
        loaded = load_with_source(path)
        scenario, source = loaded.scenario, loaded.source
        request = RunRequest(scenario, path, SEED, path.parent, None, TOKEN, scenario_text=source.decode())
        record, history = observe(request, Console(file=io.StringIO()))
    yield [Subject((Figure("judged", "rows judged by all checkers"),), partial(_judge, record, history, seconds))]


def benchmark(seconds: float) -> Benchmark:
    """Return the benchmark, each measurement of which takes so many seconds."""
    return Benchmark("checkers", lambda: _open_subjects(seconds))
