"""`hatchfarm bench market`: what 10,000 machines with jobs and 10,000 queued jobs cost, against none of them."""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from functools import partial
from time import thread_time
from typing import TYPE_CHECKING

from benchmarks import bars
from benchmarks.blaster import WARM_SECONDS, blast
from benchmarks.market_filling import SETTINGS, FullMarket
from benchmarks.measuring import Benchmark, BenchmarkError, Figure, Subject, Yardstick
from benchmarks.processes import ENVIRONMENT, benchmark_server, measuring
from benchmarks.registering import CREDENTIALS_SHOWN
from reference_server.adapters.clock import SystemClock
from reference_server.adapters.entropy import SystemEntropy
from reference_server.app import make_api
from reference_server.http.serve import calm_garbage_collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.processes import Server

MACHINES = 10_000
"""As many jobs are queued, besides those that the machines run."""
MILLISECOND = 1e-3
PAGES = {
    "resources": ("first page of resources", "", bars.FIRST_PAGE_MS),
    "resources_narrowed": (
        "of those with 2 cores and 1 GB left",
        "min_cpu_cores=2&min_memory_gb=1",
        bars.FIRST_PAGE_MS,
    ),
    "resources_deep": ("page at the end of resources", f"offset={MACHINES - 500}", None),
}
RATES = {
    "plain": "heartbeats without a market",
    "offering": "heartbeats of machines with capacity and jobs",
    "idle": "heartbeats of machines without, beside them",
}
YARDSTICKS = (
    Yardstick("offering", "plain", bars.OFFERING_OF_PLAIN),
    Yardstick("idle", "plain"),
    Yardstick("offering_cpu", "plain_cpu"),
    Yardstick("idle_cpu", "plain_cpu"),
)
"""By CPU time for machines that do other work, too: what that takes from a core is not in it."""


class _Decisions:
    """Asks a full market in this process, and measures the CPU time of its decisions."""

    def __init__(self) -> None:
        api = make_api({**ENVIRONMENT, **SETTINGS}, SystemEntropy(), SystemClock())
        self._full = FullMarket(api, MACHINES, MACHINES)
        self._market = api.state.market
        calm_garbage_collector()  # as where it is served

    def match(self, seconds: float) -> tuple[float, float]:
        """End jobs one after the other, for which others take their place, and post as many that find none."""
        jobs = self._market.jobs
        running = iter([job for job in jobs.values() if job.on_worker])
        assigned = self._market.transitions["assigned"]
        ended = 0

        def end_one() -> None:
            nonlocal ended
            job = next(running)
            ended += 1
            self._full.cancel_job(job.id, job.account)

        ending = mean_ms(end_one, seconds / 2)
        matched = self._market.transitions["assigned"] - assigned
        if 2 * matched < ended:
            raise BenchmarkError(f"{ended} jobs ended, and only {matched} took their place")
        coming = mean_ms(self._full.post_job, seconds / 2)
        while len(self._market.waiting) < MACHINES:
            self._full.post_job()
        return ending, coming

    def list_pages(self, seconds: float) -> list[float]:
        """List resources: all, some, and the last."""
        queries = [query for _, query, _ in PAGES.values()]
        return [mean_ms(partial(self._full.list_resources, query), seconds / 3) for query in queries]


def mean_ms(action: Callable[[], object], seconds: float) -> float:
    """Do something over and over for so much CPU time, at least three times; return the mean milliseconds of CPU."""
    begun = thread_time()
    for number in itertools.count(1):
        action()
        spent = thread_time() - begun
        if spent >= seconds and number >= 3:  # noqa: PLR2004 - as above
            return spent / number / MILLISECOND
    raise AssertionError


def _blasted(server: Server, machines: list[dict[str, str]], seconds: float) -> tuple[float, float]:
    """Return accepted heartbeats a second, and a second of the server's CPU time."""
    server.settle()
    before = server.cpu_seconds()
    rate = blast(server.url, machines, seconds)
    # What is sent before it counts takes CPU time as well.
    return rate, rate * (seconds + WARM_SECONDS) / (server.cpu_seconds() - before)


def _blasted_plain(server: Server, seconds: float) -> tuple[float, ...]:
    return _blasted(server, server.machines, seconds)


def _blasted_full(server: Server, seconds: float) -> tuple[float, ...]:
    """Measure the machines that offer something, and then those that do not, beside them."""
    offering, idle = server.machines[:CREDENTIALS_SHOWN], server.machines[CREDENTIALS_SHOWN:]
    return *_blasted(server, offering, seconds), *_blasted(server, idle, seconds)


def _figures(*names: str) -> tuple[Figure, ...]:
    return tuple(
        figure
        for name in names
        for figure in (
            Figure(name, RATES[name]),
            Figure(f"{name}_cpu", f"{RATES[name]}, by CPU time", "/s of CPU"),
        )
    )


@contextmanager
def _open_subjects(seconds: float) -> Iterator[Sequence[Subject]]:
    plain = partial(benchmark_server, "heard", MACHINES, SETTINGS)
    full = partial(benchmark_server, "market", MACHINES, SETTINGS)
    decisions = _Decisions()
    yield [
        Subject(_figures("plain"), measuring(plain, partial(_blasted_plain, seconds=seconds))),
        Subject(_figures("offering", "idle"), measuring(full, partial(_blasted_full, seconds=seconds))),
        Subject(
            (
                Figure("match", "a job ends, another takes its place", " ms", bars.MATCH_MS),
                Figure("post", "a job comes, and finds none", " ms", bars.MATCH_MS),
            ),
            lambda: decisions.match(seconds),
        ),
        Subject(
            tuple(Figure(name, title, " ms", bar) for name, (title, _, bar) in PAGES.items()),
            lambda: decisions.list_pages(seconds),
        ),
    ]


def benchmark(seconds: float) -> Benchmark:
    """Return the benchmark, each measurement of which takes so many seconds."""
    return Benchmark("market", lambda: _open_subjects(seconds), YARDSTICKS)
