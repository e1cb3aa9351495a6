"""What many machines or jobs do at once is dealt with bit by bit; and the indexes that spare matching a long queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from reference_server.core.market.conditions import Conditions
from reference_server.core.market.jobs import Job
from reference_server.core.market.pool import Pool
from reference_server.core.market.prices import BasePrices, Need
from reference_server.core.market.resources import Wanted, list_resources
from reference_server.core.market.waiting import DearJobs, JobClass, Queue, Waiting
from reference_server.core.market.working import next_due, tick
from reference_server.limits import DUE_AT_ONCE
from tests.market.small_market import assert_sound, at, beat, data_of, make_market, post

if TYPE_CHECKING:
    from reference_server.core.market.market import Market

MACHINES = 3 * DUE_AT_ONCE
SMALL = {"cpu_cores": 1, "memory_gb": 1}


def crowded() -> Market:
    """Return a market with many machines, one job on each, and one job that waits for room."""
    market = make_market(Conditions(dev_credit=10**12))
    for number in range(MACHINES):
        beat(market, f"w{number:03d}", capacity=SMALL)
        post(market, f"job_{number:03d}", account=f"agent:{number}")
    assert all(job.state == "assigned" for job in market.jobs.values())
    return market


def test_machines_that_fall_silent_at_once_are_dealt_with_bit_by_bit() -> None:
    market = crowded()
    post(market, "job_more")
    silent = at(61)
    counts = []
    while (due_ns := next_due(market, silent)) is not None and due_ns <= silent.monotonic_ns:
        before = market.count_by_state["assigned"]
        tick(market, silent)
        counts.append(before - market.count_by_state["assigned"])
    assert counts == [DUE_AT_ONCE] * 3
    assert market.count_by_state["queued"] == MACHINES + 1
    assert all(job.attempts == 1 for job in market.jobs.values() if job.id != "job_more")
    assert data_of(list_resources(market, silent, Wanted(), 10, 0))["total"] == 0
    assert_sound(market)


def test_one_that_is_heard_meanwhile_was_silent_and_gets_its_jobs_anew() -> None:
    market = crowded()
    silent, last = at(61), f"w{MACHINES - 1:03d}"
    tick(market, silent)
    (job,) = market.pool.offers[last].jobs.values()
    tick(market, silent, last)
    assert (job.state, job.attempts) == ("queued", 1)
    assert len(market.unsettled) == MACHINES - 2 * DUE_AT_ONCE - 1
    assert len(beat(market, last, now=61)["assignments"]) == 1
    assert_sound(market)


def test_jobs_that_end_at_once_are_dealt_with_bit_by_bit() -> None:
    market = crowded()
    for number in range(MACHINES):
        beat(market, f"w{number:03d}", jobs=[{"job_id": f"job_{number:03d}", "state": "running"}])
    for now in range(60, 3_661, 60):
        for number in range(MACHINES):
            market.pool.offers[f"w{number:03d}"].heard = at(now)
    for steps in (1, 2, 3):
        tick(market, at(3_600))
        assert market.count_by_state["succeeded"] == steps * DUE_AT_ONCE
    assert next_due(market, at(3_600)) != at(3_600).monotonic_ns
    assert_sound(market)


def test_a_job_that_is_given_back_goes_to_another_machine_though_no_price_changes() -> None:
    """One core of a million is held or not: prices are the same to the last digit."""
    market = make_market(Conditions(base_prices=BasePrices(10, 10, 10), dev_credit=10**9))
    for number in range(1_000):
        beat(market, f"w{number:03d}", capacity={"cpu_cores": 1_000, "memory_gb": 1_000})
    job = post(market, "job_1")
    assert job["worker_id"] == "w000"
    for number in range(1, 1_000):
        beat(market, f"w{number:03d}", now=40)
    tick(market, at(61))
    assert (market.jobs["job_1"].worker_id, market.jobs["job_1"].attempts) == ("w001", 1)


def test_a_dear_job_is_looked_at_when_prices_fall_far_enough() -> None:
    """It keeps its account's turn: one that came later, and could always be paid for, has its place meanwhile."""
    market = make_market()
    beat(market, "w1", capacity={"cpu_cores": 4, "memory_gb": 4})
    for number in range(3):
        post(market, f"job_{number}")
    post(market, "dear", resources={"cpu_cores": 1, "memory_gb": 0.1}, max_price_usdt="0.008")
    assert market.jobs["dear"].state == "queued"
    assert len(market.waiting.dear) == 1
    beat(market, "w2", now=1, capacity={"cpu_cores": 400, "memory_gb": 4})
    assert (market.jobs["dear"].worker_id, len(market.waiting.dear)) == ("w1", 0)


NEEDS = st.builds(
    Need,
    st.integers(1, 5_000_000),
    st.integers(1, 5_000_000),
    st.integers(0, 2),
    st.sampled_from(["", "A", "B"]),
)
PRICES = st.tuples(
    st.integers(0, 60),
    st.integers(0, 60),
    st.dictionaries(st.sampled_from("AB"), st.integers(0, 60), max_size=2),
)


class Priced(Pool):
    """A pool with prices as they are given."""

    def set_prices(self, cpu: int, memory: int, models: dict[str, int]) -> None:
        self.cpu_price, self.memory_price = cpu, memory
        self.named = models

    def prices(self) -> tuple[int, int, dict[str, int]]:
        return self.cpu_price, self.memory_price, self.named

    def affordable(self, waiting: Waiting) -> bool:
        """Return whether a job may cost what it costs on the cheapest GPUs that would do."""
        need = waiting.job.need
        cheapest = [price for name, price in self.named.items() if need.model in {"", name}]
        if need.gpus and not cheapest:
            return False
        gpu = need.gpus * min(cheapest) if need.gpus else 0
        total = need.cpu * self.cpu_price + need.memory * self.memory_price + gpu * 10**6
        return (2 * total + 10**6) // (2 * 10**6) <= waiting.highest


@given(st.lists(st.tuples(NEEDS, st.integers(0, 700)), max_size=12), st.lists(PRICES, min_size=1, max_size=8))
def test_all_that_may_be_affordable_are_hopeful(wanted: list[tuple[Need, int]], moments: list[object]) -> None:
    """Also after prices rose and fell apart so often that they are measured anew."""
    pool, dear = Priced(BasePrices()), DearJobs()
    jobs: list[Waiting] = []
    for number, prices in enumerate(moments):
        pool.set_prices(*prices)  # type: ignore[misc]
        if number < len(wanted):
            need, highest = wanted[number]
            job = Job(f"j{number}", number, "a", "t", need, highest, 60, b"", at(0), None, 0)
            waiting = Waiting(job, JobClass(need), Queue("a", 1))
            if not pool.affordable(waiting) and (not need.gpus or need.model in {"", *pool.named}):
                dear.add(waiting, pool)
                jobs.append(waiting)
        for _ in range(40):
            hopeful = dear.hopeful(pool)
            assert {one.job.id for one in jobs if pool.affordable(one)} <= {one.job.id for one in hopeful}
    for one in jobs:
        dear.remove(one)
    assert not len(dear)
