"""Offered and held capacity: totals, prices, and indexes for matching and for the list of resources.

An offer is a machine as the market sees it. It counts while it is open: fresh, with a consent, within its policy's
hours, with a capacity. Everything here is derived from that, and computed again after a recovery.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from reference_server.core.market.bounds import MARKET_BOUNDS, MarketBounds
from reference_server.core.market.capacity import Capacity, Maxima, Opening, opening_at, scale
from reference_server.core.market.first_fit import FirstFit
from reference_server.core.market.jobs import ASSIGNED
from reference_server.core.market.money import MICRO
from reference_server.core.market.prices import BasePrices, Need, current_price, hourly_rate
from reference_server.limits import CANCELLED_TOLD_MAX, JOB_LEAST_MICRO

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reference_server.core.market.jobs import Job
    from reference_server.wire.values import Instant

NOTHING = Capacity(0, 0)
_NO_ROOM = (-1, -1, -1)
"""The room of a machine without any, for an index: less than any job needs."""


Listed = tuple[int, int, int, tuple[tuple[str, int], ...], str]
"""A machine in the list of resources: what is left of it costs so much an hour at base prices; millionths of cores and
gigabytes, GPUs by model, and its id. A plain tuple, as thousands are looked at for one page."""


class Offer:
    """One machine. `reported` is its last good capacity, `maxima` those of the policy it was last heard under.

    `total` is what it offers, nothing while it is not open; `held_*` is what its jobs hold, in the order in which they
    were assigned; `assigned` are those of them that it has not reported yet. `reported_hash` is that of the text in
    which it last said what is reported, `repeated_hash` of all that it last said to the market, while that is known and
    there is nothing to tell it: no job that it has not reported, and none that was taken from it.
    `heard_on_from_ns` is from when on it was never silent for too long between two
    heartbeats (monotonic). `cancelled` are jobs it has to be told not to go on with, `look_ns` is when its policy's
    hours are looked at again (Unix ns).
    """

    __slots__ = (
        "assigned",
        "cancelled",
        "consented",
        "gpus",
        "heard",
        "heard_on_from_ns",
        "held_cpu",
        "held_gpus",
        "held_memory",
        "is_open",
        "jobs",
        "jobs_max",
        "listed",
        "look_ns",
        "maxima",
        "opening",
        "owner_id",
        "policy_id",
        "repeated_hash",
        "reported",
        "reported_hash",
        "reported_raw",
        "total",
        "worker_id",
    )

    def __init__(self, worker_id: str, owner_id: str, jobs_max: int = MARKET_BOUNDS.jobs_a_worker_max) -> None:
        self.jobs_max = jobs_max
        self.worker_id = worker_id
        self.owner_id = owner_id
        self.policy_id = ""
        self.consented = False
        self.maxima: Maxima | None = None
        self.heard: Instant | None = None
        self.heard_on_from_ns = 0
        self.reported: Capacity | None = None
        self.reported_raw = b""
        self.reported_hash: int | None = None
        self.repeated_hash: int | None = None
        self.opening = Opening(is_open=False, until_ns=None)
        self.look_ns = 0
        self.is_open = False
        self.total = NOTHING
        self.gpus: dict[str, int] = {}
        self.held_cpu = self.held_memory = 0
        self.held_gpus: dict[str, int] = {}
        self.jobs: OrderedDict[str, Job] = OrderedDict()
        self.assigned: dict[str, Job] = {}
        self.cancelled: OrderedDict[str, None] = OrderedDict()
        self.listed: Listed | None = None

    @property
    def free_cpu(self) -> int:
        """Return millionths of cores that are left; below zero where jobs hold more than is offered now."""
        return self.total.cpu - self.held_cpu

    @property
    def free_memory(self) -> int:
        """Return millionths of gigabytes that are left."""
        return self.total.memory - self.held_memory

    @property
    def takes_more(self) -> bool:
        """Whether the machine may get one more job, if that fits."""
        return len(self.jobs) < self.jobs_max

    def free_of(self, model: str) -> int:
        """Return GPUs of a model that are left."""
        return self.gpus.get(model, 0) - self.held_gpus.get(model, 0)

    def holds_within(self, total: Capacity | None) -> bool:
        """Return whether all its jobs would have room in what it offers then; None is nothing."""
        if total is None:
            return not self.jobs
        gpus = dict(total.gpus)
        return (
            self.held_cpu <= total.cpu
            and self.held_memory <= total.memory
            and all(count <= gpus.get(model, 0) for model, count in self.held_gpus.items())
        )

    @property
    def overfull(self) -> bool:
        """Return whether its jobs hold more than it offers."""
        return not self.holds_within(self.total)

    def fits(self, need: Need) -> bool:
        """Return whether there is room for a job; GPUs of a job are all of one model."""
        if need.cpu > self.free_cpu or need.memory > self.free_memory or not self.takes_more:
            return False
        if not need.gpus:
            return True
        models: Iterable[str] = (need.model,) if need.model else self.gpus
        return any(self.free_of(model) >= need.gpus for model in models)

    def tell_cancelled(self, job_id: str) -> None:
        """Add a job to those that the next answer must name as cancelled."""
        self.cancelled[job_id] = None
        if len(self.cancelled) > CANCELLED_TOLD_MAX:
            self.cancelled.popitem(last=False)


class Placement(NamedTuple):
    """Where a job would run, on GPUs of which model, and at which hourly rate."""

    worker_id: str
    model: str
    rate: int


class _Gpus:
    """One model: how many are offered and held, and who has how many free."""

    __slots__ = ("held", "index", "offered", "price")

    def __init__(self, price: int) -> None:
        self.offered = self.held = 0
        self.price = price
        self.index = FirstFit()


class Pool:
    """All offers, and the prices that follow from them."""

    def __init__(self, base: BasePrices, bounds: MarketBounds = MARKET_BOUNDS) -> None:
        self._models_max = bounds.gpu_models_max
        self.base = base
        self.offers: dict[str, Offer] = {}
        self.cpu_offered = self.cpu_held = self.memory_offered = self.memory_held = 0
        self.models: dict[str, _Gpus] = {}
        self.cpu_price = self.memory_price = 0
        self.listed: list[Listed] = []
        """Open offers that have room for the smallest job, by what is left of them at base prices, cheapest first:
        near the order of the list of resources, and it is the same while prices are."""
        self.listed_cpu, self.listed_memory = array("q"), array("q")
        """Two columns of `listed` beside it: going through these is several times as fast."""
        self.fell = False
        """Whether a price fell since matching last looked at jobs that were too dear."""
        self._index = FirstFit()
        self._reprice(())

    def can_name(self, capacity: Capacity) -> bool:
        """Return whether there is room for the GPU models of a capacity in the price list."""
        new = sum(model not in self.models for model, _ in capacity.gpus)
        return len(self.models) + new <= self._models_max

    def within_names(self, offer: Offer, total: Capacity) -> Capacity:
        """Return what a machine offers, without GPU models for which the price list has no room.

        Many closed machines can each have had room for their models alone. Models held by its jobs stay.
        """
        room = self._models_max - len(self.models)
        named = []
        for model, count in total.gpus:
            if model not in self.models:
                if room <= 0 and model not in offer.held_gpus:
                    continue
                room -= 1
            named.append((model, count))
        return total if len(named) == len(total.gpus) else Capacity(total.cpu, total.memory, tuple(named))

    def open_as(self, offer: Offer, total: Capacity | None) -> None:
        """Set what a machine offers now, None for nothing."""
        self._count(offer, -1)
        before = offer.gpus
        offer.is_open = total is not None
        offer.total = total or NOTHING
        offer.gpus = dict(offer.total.gpus)
        self._count(offer, 1)
        self._list(offer)
        for model in before.keys() - offer.gpus.keys():
            gpus = self.models[model]
            gpus.index.remove(offer.worker_id)
            if gpus.offered:
                self._reprice((model,))
            else:
                del self.models[model]

    def hold(self, offer: Offer, job: Job) -> None:
        """Take what a job needs from what is left of a machine."""
        offer.jobs[job.id] = job
        if job.state == ASSIGNED:
            offer.assigned[job.id] = job
        self._hold(offer, job, 1)

    def release(self, offer: Offer, job: Job) -> None:
        """Give back what a job held."""
        del offer.jobs[job.id]
        offer.assigned.pop(job.id, None)
        self._hold(offer, job, -1)

    def _hold(self, offer: Offer, job: Job, sign: int) -> None:
        offer.repeated_hash = None  # from now on the machine must be notified, or fewer jobs run on it
        self._count(offer, -1)
        need = job.need
        offer.held_cpu += sign * need.cpu
        offer.held_memory += sign * need.memory
        if need.gpus:
            held = offer.held_gpus.get(job.model, 0) + sign * need.gpus
            offer.held_gpus[job.model] = held
            if not held:
                del offer.held_gpus[job.model]
        self._count(offer, 1)
        self._list(offer)

    def _count(self, offer: Offer, sign: int) -> None:
        """Add an open offer to the totals, or take it out of them; prices and indexes follow when it is added."""
        if offer.is_open:
            self.cpu_offered += sign * offer.total.cpu
            self.cpu_held += sign * offer.held_cpu
            self.memory_offered += sign * offer.total.memory
            self.memory_held += sign * offer.held_memory
            for model, count in offer.gpus.items():
                gpus = self.models.get(model)
                if gpus is None:
                    gpus = self.models[model] = _Gpus(self.base.gpu)
                gpus.offered += sign * count
                gpus.held += sign * offer.held_gpus.get(model, 0)
        if sign < 0:
            self._unlist(offer)
        else:
            self._reprice(offer.gpus)

    def _reprice(self, models: Iterable[str]) -> None:
        base, cpu, memory = self.base, self.cpu_price, self.memory_price
        self.cpu_price = current_price(base.cpu, self.cpu_held, self.cpu_offered)
        self.memory_price = current_price(base.memory, self.memory_held, self.memory_offered)
        self.fell |= self.cpu_price < cpu or self.memory_price < memory
        for model in models:
            gpus = self.models[model]
            before, gpus.price = gpus.price, current_price(base.gpu, gpus.held, gpus.offered)
            self.fell |= gpus.price < before

    def _unlist(self, offer: Offer) -> None:
        if offer.listed is None:
            return
        place = bisect_left(self.listed, offer.listed)
        del self.listed[place], self.listed_cpu[place], self.listed_memory[place]
        offer.listed = None

    def _list(self, offer: Offer) -> None:
        """Bring the indexes up to what is left of a machine now."""
        worker_id = offer.worker_id
        if not offer.is_open:
            self._index.remove(worker_id)
        else:
            free = (offer.free_cpu, offer.free_memory, 0) if offer.takes_more else _NO_ROOM
            self._index.put(worker_id, *free)
            if offer.free_cpu >= JOB_LEAST_MICRO and offer.free_memory >= JOB_LEAST_MICRO:
                offer.listed = self._listed(offer)
                place = bisect_left(self.listed, offer.listed)
                self.listed.insert(place, offer.listed)
                self.listed_cpu.insert(place, offer.free_cpu)
                self.listed_memory.insert(place, offer.free_memory)
        room = offer.takes_more
        for model in offer.gpus:
            free = (offer.free_cpu, offer.free_memory, offer.free_of(model)) if room else _NO_ROOM
            self.models[model].index.put(worker_id, *free)

    def _listed(self, offer: Offer) -> Listed:
        left = ((model, offer.free_of(model)) for model in offer.gpus)
        gpus = tuple((model, count) for model, count in left if count > 0)
        base = self.base
        total = sum(count for _, count in gpus) * base.gpu
        rate = hourly_rate(offer.free_cpu, offer.free_memory, total, base.cpu, base.memory)
        return rate, offer.free_cpu, offer.free_memory, gpus, offer.worker_id

    def rate(self, need: Need, model: str = "") -> int:
        """Return a job's hourly rate at today's prices, on GPUs of a model that is offered."""
        gpus = need.gpus * self.models[model].price if need.gpus else 0
        return hourly_rate(need.cpu, need.memory, gpus, self.cpu_price, self.memory_price)

    def rate_of(self, cpu: int, memory: int, gpus: tuple[tuple[str, int], ...]) -> int:
        """Return the hourly rate of all that is left of a machine."""
        total = cpu * self.cpu_price + memory * self.memory_price
        if gpus:
            total += sum(count * self.models[model].price for model, count in gpus) * MICRO
        return (2 * total + MICRO) // (2 * MICRO)

    def rates(self, need: Need) -> tuple[int, int] | None:
        """Return a job's hourly rates on the cheapest and on the dearest GPUs that would do; None where there are none.

        They are the same for a job without GPUs, or with a model.
        """
        if not need.gpus:
            rate = hourly_rate(need.cpu, need.memory, 0, self.cpu_price, self.memory_price)
            return rate, rate
        if need.model in self.models:
            rate = self.rate(need, need.model)
            return rate, rate
        if need.model or not self.models:
            return None
        prices = [gpus.price for gpus in self.models.values()]
        least, greatest = (
            hourly_rate(need.cpu, need.memory, need.gpus * price, self.cpu_price, self.memory_price)
            for price in (min(prices), max(prices))
        )
        return least, greatest

    def cheapest(self, need: Need, highest: int) -> Placement | None:
        """Return where a job is cheapest, ties by worker id, if the hourly rate there is not above `highest`."""
        if not need.gpus:
            rate = self.rate(need)
            worker_id = self._index.first(need.cpu, need.memory, 0) if rate <= highest else None
            return None if worker_id is None else Placement(worker_id, "", rate)
        best: Placement | None = None
        models = (need.model,) if need.model else sorted(self.models)
        for model in models:
            gpus = self.models.get(model)
            if gpus is None:
                continue
            rate = self.rate(need, model)
            if rate > highest or (best is not None and rate > best.rate):
                continue
            found = gpus.index.first(need.cpu, need.memory, need.gpus)
            if found is not None and (best is None or (rate, found) < (best.rate, best.worker_id)):
                best = Placement(found, model, rate)
        return best

    def prices(self) -> tuple[int, int, dict[str, int]]:
        """Return today's prices: of CPU, memory, and each GPU model that is offered."""
        return self.cpu_price, self.memory_price, {model: gpus.price for model, gpus in self.models.items()}

    def least_factors(self) -> tuple[int, int]:
        """Return the smallest ratio of CPU and memory prices to their base, in millionths, and that of all prices."""
        base = self.base
        plain = [
            price * MICRO // of
            for price, of in ((self.cpu_price, base.cpu), (self.memory_price, base.memory))
            if of  # a price of zero appears in no sum
        ]
        gpus = [gpus.price * MICRO // base.gpu for gpus in self.models.values() if base.gpu]
        return min(plain, default=MICRO), min(plain + gpus, default=MICRO)


def offered_now(offer: Offer, now: Instant, stale_ns: int) -> Capacity | None:
    """Return a machine's offer at a moment, or None, and record when its policy's hours change."""
    if offer.heard is None or offer.maxima is None or offer.reported is None or not offer.consented:
        return None
    if now.monotonic_ns - offer.heard.monotonic_ns > stale_ns:
        return None
    offer.opening = opening_at(offer.maxima, now.wall_ns)
    return scale(offer.reported, offer.maxima) if offer.opening.is_open else None
