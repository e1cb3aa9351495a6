"""How long matching and listing take among 10,000 machines and 10,000 queued jobs: run by hand, nothing asserts on it.

`python -m tests.market.how_fast`
"""

from __future__ import annotations

import sys
from statistics import median
from time import thread_time
from typing import TYPE_CHECKING

from reference_server.core.market.job_routes import cancel_job, post_job
from reference_server.core.market.resources import Wanted, list_prices, list_resources
from reference_server.core.market.wallet import ensure_account
from tests.market.small_market import at, beat, job_body, make_market

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.core.market.market import Market

WORKERS = JOBS = 10_000
ACCOUNTS = 200


def spread(number: int, most: int) -> int:
    """Return a number from 1 to `most` that looks like chance, and is the same each time."""
    return 1 + (number * 2_654_435_761 >> 7) % most


def filled(*, alike: bool) -> Market:
    """Return a market whose machines are all taken, with a long queue; jobs all alike, or all different."""
    market = make_market()
    market.changes = None
    for account in range(ACCOUNTS):
        ensure_account(market, at(0), f"agent:{account}")
    for number in range(WORKERS):
        gpus = [{"model": f"GPU {number % 4}", "count": 1}] if number % 3 == 0 else []
        capacity = {"cpu_cores": 4 if alike else 2 + spread(number, 60) / 10, "memory_gb": 16, "gpus": gpus}
        beat(market, f"wrk_{spread(number, 1 << 40):016x}", capacity=capacity)
    posted = 0
    while len(market.waiting) < JOBS:
        posted += 1
        post_one(market, posted, alike=alike)
    return market


def post_one(market: Market, number: int, *, alike: bool, price: str = "1") -> None:
    """Post one job."""
    cores = 2.0 if alike else 1 + spread(number, 300) / 100
    price = price if alike else f"{spread(number, 1_000_000) / 1_000_000:.6f}"
    resources = {"cpu_cores": cores, "memory_gb": 1 if alike else spread(number, 80) / 10}
    body = job_body(resources=resources, max_price_usdt=price)
    reply = post_job(market, at(1), f"agent:{number % ACCOUNTS}", None, body, f"job_{number:016x}")
    if reply.status == 429:
        raise SystemExit(reply.body)


def timed(action: Callable[[int], object], times: int) -> str:
    """Return the median and the longest of some times, in ms of CPU."""
    spans = []
    for number in range(times):
        began = thread_time()
        action(number)
        spans.append((thread_time() - began) * 1000)
    return f"median {median(spans):.3f} ms, longest {max(spans):.3f} ms"


def measure(*, alike: bool) -> None:
    """Measure one kind of market."""
    market = filled(alike=alike)
    running = [job for job in market.jobs.values() if job.on_worker]
    say(f"jobs {'alike' if alike else 'different'}: {len(running)} on machines, {len(market.waiting)} queued")
    ends = iter(running)

    def end_one(_number: int) -> None:
        job = next(ends)
        cancel_job(market, at(2), job.account, job.id)

    assigned = market.transitions["assigned"]
    say(f"  a job ends, others take its place: {timed(end_one, 300)}")
    say(f"  {market.transitions['assigned'] - assigned} assigned")
    say(f"  a job comes: {timed(lambda number: post_one(market, 1_000_000 + number, alike=alike), 300)}")
    worker_id = next(iter(market.pool.offers))
    say(f"  a heartbeat with nothing new: {timed(lambda _: beat(market, worker_id, now=2), 300)}")
    say(f"  resources, all taken: {timed(lambda _: list_resources(market, at(2), Wanted(), 100, 0), 10)}")
    for job in list(market.waiting.queued()):
        cancel_job(market, at(3), job.account, job.id)
    for job in list(market.jobs.values()):
        if job.unfinished and job.number % 2:
            cancel_job(market, at(3), job.account, job.id)
    say(f"  resources, half free: {timed(lambda _: list_resources(market, at(3), Wanted(), 100, 0), 10)}")
    some = Wanted(cpu=1_000_000, memory=500_000)
    say(f"  resources, some of them: {timed(lambda _: list_resources(market, at(3), some, 100, 0), 10)}")
    say(f"  prices: {timed(lambda _: list_prices(market, at(3)), 30)}")


def say(line: str) -> None:
    """Print a line."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def count_up(_number: int) -> None:
    """Do a million additions, to know how fast this machine is now: 40 ms on one that has nothing else to do."""
    number = 0
    while number < 1_000_000:
        number += 1


if __name__ == "__main__":
    say(f"a million additions: {timed(count_up, 5)}")
    measure(alike=True)
    measure(alike=False)
