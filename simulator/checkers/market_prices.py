"""Between which two rates a job's price must have been fixed: by what may, and what must, have been held and offered.

Contract: Capacity and resources. The price is that of the utilisation before the job.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from simulator.checkers.market_view import may_have_been_granted
from simulator.checkers.market_workers import most_of, sum_of
from simulator.contract.answers import Operation
from simulator.contract.pricing import ON_WORKER, Need, current_price, hourly_rate, need_of
from simulator.history.rows import NEVER_NS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from simulator.checkers.facts import MarketFacts
    from simulator.checkers.market_view import JobStory, Span
    from simulator.checkers.market_workers import Workers
    from simulator.contract.pricing import Capacity
    from simulator.history.rows import History


CPU_HOUR, MEMORY_HOUR, GPU_HOUR = "cpu-hour", "memory-gb-hour", "gpu-hour"
"""What the page of prices lists."""


class RateBounds(NamedTuple):
    """The lowest and the highest rate, and what they follow from."""

    low: int
    high: int
    why: str


class Possible(NamedTuple):
    """What was surely and what may have been held at some time; and the same of what was offered."""

    least: list[Need]
    most: list[Need]
    surely: Capacity
    may: Capacity

    def prices(self, base: int, resource: str, model: str) -> tuple[int, int]:
        """Return the lowest and the highest price that an hour of a resource can have had."""
        if resource == GPU_HOUR:
            low = _price_of_gpus(base, model, self.least, self.may, highest=False)
            return low, _price_of_gpus(base, model, self.most, self.surely, highest=True)
        if resource == CPU_HOUR:
            low = current_price(base, sum(one.cpu for one in self.least), self.may.cpu)
            return low, current_price(base, sum(one.cpu for one in self.most), self.surely.cpu)
        low = current_price(base, sum(one.memory for one in self.least), self.may.memory)
        return low, current_price(base, sum(one.memory for one in self.most), self.surely.memory)


class Prices:
    """The bounds of prices in a run of which all requests are known."""

    def __init__(self, history: History, stories: dict[str, JobStory], workers: Workers, market: MarketFacts) -> None:
        self._stories, self._workers, self._market = stories, workers, market
        self._spans: list[Span] = [span for story in stories.values() for span in story.spans()]
        self._spans_ns = _columns((one.from_ns, one.to_ns) for one in self._spans)
        self._jobs = [one for one in stories.values() if one.need is not None]
        self._jobs_ns = _columns((one.created_from_ns(), one.ended_by_ns()) for one in self._jobs)
        self._unknown = [
            (one.sent_ns, need)
            for one in history.market_exchanges
            if one.operation == Operation.JOB_CREATE
            and may_have_been_granted(one)
            and not one.data.get("job")
            and (need := need_of(one.asked.get("resources"))) is not None
        ]
        """Jobs that may have been made, though no answer says so."""

    def bounds(self, story: JobStory) -> RateBounds | None:
        """Return the bounds of the price that a job was first assigned at; None where it is not known what it needs."""
        need = story.need
        if need is None:
            return None
        waited = [one.sent_ns for one in story.shown if one.state == "queued" and not one.attempts]
        from_ns = max([story.created_from_ns(), *waited])
        on = [one.answered_ns for one in story.shown if one.state in ON_WORKER or one.worker_id]
        to_ns = min([*on, *(one.answered_ns for one in story.assigned)], default=NEVER_NS)
        if to_ns == NEVER_NS or from_ns > to_ns:
            return None
        least, most = self._held(story, from_ns, to_ns)
        surely, may = self._offered(from_ns, to_ns)
        low = _rate(need, self._market, least, may, list(may.gpus), highest=False)
        high = _rate(need, self._market, most, surely, list(may.gpus), highest=True)
        why = (
            f"held were {_shown(least)} to {_shown(most)}, offered {_shown_capacity(surely)} to {_shown_capacity(may)}"
        )
        return RateBounds(low, high, why)

    def possible(self, from_ns: int, to_ns: int) -> Possible:
        """Return what may have been held and offered at a moment within a time."""
        return Possible(*self._held(None, from_ns, to_ns), *self._offered(from_ns, to_ns))

    def _offered(self, from_ns: int, to_ns: int) -> tuple[Capacity, Capacity]:
        """Return what was surely offered through a time, and what may have been at a moment of it."""
        machines = self._workers.take_part()
        surely = sum_of([self._workers.surely_offers(machine, from_ns, to_ns) for machine in machines])
        may = sum_of(
            [
                most_of(self._workers.may_offer(machine, from_ns, to_ns))
                for machine in machines
                if self._workers.may_be_fresh(machine, from_ns, to_ns)
            ]
        )
        return surely, may

    def _held(self, story: JobStory | None, from_ns: int, to_ns: int) -> tuple[list[Need], list[Need]]:
        """Return what jobs, all others where one is given, surely held through a time, and may have held in it."""
        began_ns, ended_ns = self._spans_ns
        through = np.flatnonzero((began_ns < from_ns) & (ended_ns > to_ns)).tolist()
        least = [self._spans[at].need for at in through if story is None or self._spans[at].job_id != story.id]
        most = [need for sent_ns, need in self._unknown if sent_ns <= to_ns]
        began_ns, ended_ns = self._jobs_ns
        for at in np.flatnonzero((began_ns <= to_ns) & (ended_ns >= from_ns)).tolist():
            other, need = self._jobs[at], self._jobs[at].need
            if other is not story and need is not None and not other.queued_throughout(from_ns, to_ns):
                most.append(need)
        return least, most


def _columns(pairs: Iterable[tuple[int, int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    table = np.array(list(pairs), dtype=np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _rate(
    need: Need, market: MarketFacts, held: list[Need], offered: Capacity, may_offer: list[str], *, highest: bool
) -> int:
    """Return the rate of a need; of any model of those that may be offered where it names none.

    A model that is not surely offered has none in `offered`, and so its highest price.
    """
    cpu = current_price(market.price_cpu_hour, sum(one.cpu for one in held), offered.cpu)
    memory = current_price(market.price_memory_gb_hour, sum(one.memory for one in held), offered.memory)
    gpu = 0
    if need.gpus:
        models = [need.model] if need.model else may_offer
        prices = [_price_of_gpus(market.price_gpu_hour, model, held, offered, highest=highest) for model in models]
        gpu = max(prices, default=2 * market.price_gpu_hour) if highest else min(prices, default=0)
    return hourly_rate(need, cpu, memory, gpu)


def _price_of_gpus(base: int, model: str, held: list[Need], offered: Capacity, *, highest: bool) -> int:
    # Which model a job without one got is not shown: it may be any.
    some = {model, ""} if highest else {model}
    return current_price(base, sum(one.gpus for one in held if one.model in some), offered.gpus.get(model, 0))


def _shown(needs: list[Need]) -> str:
    return f"{sum(one.cpu for one in needs) / 1e6:g} cores"


def _shown_capacity(capacity: Capacity) -> str:
    return f"{capacity.cpu / 1e6:g} cores"
