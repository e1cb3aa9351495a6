"""A market that is slow and plain: every question is answered by going through everything, with exact fractions."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from itertools import count
from math import floor

SECOND = 1_000_000_000
MICRO = 1_000_000
CPU_BASE, MEMORY_BASE, GPU_BASE = 10_000, 1_000, 500_000


def nearest(value: Fraction) -> int:
    """Round halves up."""
    return floor(value + Fraction(1, 2))


@dataclass
class PlainPolicy:
    """Maxima in percent, and the hours of the day (UTC) in which work is allowed."""

    cpu: Fraction
    memory: Fraction
    gpu: Fraction
    hours: tuple[int, ...] = tuple(range(24))


@dataclass
class PlainWorker:
    """A machine: what it said it has as (cores, gigabytes, GPUs by model), and when it was heard."""

    id: str
    owner: str
    policy: PlainPolicy
    reported: tuple[Fraction, Fraction, dict[str, int]] | None = None
    consented: bool = True
    heard: int = 0
    heard_number: int = 0
    cancelled: list[str] = field(default_factory=list)


@dataclass
class PlainJob:
    """A job: needs in cores and gigabytes, money in micro-USDT, moments in ns."""

    id: str
    number: int
    account: str
    cores: Fraction
    memory: Fraction
    gpus: int
    model: str
    maximum: int
    minutes: int
    expires: int
    escrow: int
    state: str = "queued"
    worker: str = ""
    on_model: str = ""
    rate: int | None = None
    billed: int = 0
    attempts: int = 0
    started: int = 0
    ran: int = 0
    assigned_number: int = 0
    error: str | None = None

    @property
    def ends(self) -> int:
        return self.started + self.minutes * 60 * SECOND

    @property
    def placed(self) -> bool:
        return self.state in {"assigned", "running"}


class PlainMarket:
    """All of it; `fee` in basis points, `stale` and `timeout` in ns."""

    def __init__(self, fee: int, stale: int, timeout: int) -> None:
        self.fee, self.stale, self.timeout = fee, stale, timeout
        self.workers: dict[str, PlainWorker] = {}
        self.jobs: dict[str, PlainJob] = {}
        self.money: dict[tuple[str, str], int] = {}
        self.rotation: list[str] = []
        self._assignments, self._hearings = count(1), count(1)

    # What there is

    def is_open(self, worker: PlainWorker, now: int, wall: int) -> bool:
        hour = wall // (3600 * SECOND) % 24
        return (
            worker.reported is not None
            and worker.consented
            and now - worker.heard <= self.stale
            and hour in worker.policy.hours
        )

    def total(self, worker: PlainWorker) -> tuple[Fraction, Fraction, dict[str, int]]:
        assert worker.reported is not None
        cores, memory, gpus = worker.reported
        policy = worker.policy
        return (
            Fraction(floor(cores * policy.cpu / 100 * MICRO), MICRO),
            Fraction(floor(memory * policy.memory / 100 * MICRO), MICRO),
            {model: floor(number * policy.gpu / 100) for model, number in gpus.items()},
        )

    def jobs_on(self, worker: PlainWorker) -> list[PlainJob]:
        jobs = [job for job in self.jobs.values() if job.placed and job.worker == worker.id]
        return sorted(jobs, key=lambda job: job.assigned_number)

    def held(self, worker: PlainWorker) -> tuple[Fraction, Fraction, dict[str, int]]:
        jobs = self.jobs_on(worker)
        gpus: dict[str, int] = {}
        for job in jobs:
            if job.gpus:
                gpus[job.on_model] = gpus.get(job.on_model, 0) + job.gpus
        return sum((job.cores for job in jobs), Fraction(0)), sum((job.memory for job in jobs), Fraction(0)), gpus

    def left(self, worker: PlainWorker) -> tuple[Fraction, Fraction, dict[str, int]]:
        cores, memory, gpus = self.total(worker)
        held_cores, held_memory, held_gpus = self.held(worker)
        left = {model: gpus.get(model, 0) - held_gpus.get(model, 0) for model in {*gpus, *held_gpus}}
        return cores - held_cores, memory - held_memory, left

    def prices(self, now: int, wall: int) -> dict[str, int]:
        """Return today's price of `cpu`, `memory` and each GPU model."""
        offered: dict[str, Fraction] = {"cpu": Fraction(0), "memory": Fraction(0)}
        held = dict(offered)
        for worker in self.workers.values():
            if not self.is_open(worker, now, wall):
                continue
            total, taken = self.total(worker), self.held(worker)
            for at, name in enumerate(("cpu", "memory")):
                offered[name] += total[at]  # type: ignore[operator]
                held[name] += taken[at]  # type: ignore[operator]
            for model, number in total[2].items():
                if number:
                    offered[model] = offered.get(model, Fraction(0)) + number
                    held[model] = held.get(model, Fraction(0)) + taken[2].get(model, 0)
        bases = {"cpu": CPU_BASE, "memory": MEMORY_BASE}
        return {name: self.price(bases.get(name, GPU_BASE), held[name], offered[name]) for name in offered}

    @staticmethod
    def price(base: int, held: Fraction, offered: Fraction) -> int:
        use = Fraction(1) if not offered else min(Fraction(1), held / offered)
        factor = Fraction(1, 2) + use if use <= Fraction(1, 2) else 1 + 2 * (use - Fraction(1, 2))
        return nearest(base * factor)

    # Money

    def pay(self, account: str, part: str, amount: int) -> None:
        self.money[account, part] = self.money.get((account, part), 0) + amount

    def charge(self, job: PlainJob) -> None:
        """Take what ran from a job's escrow: to the machine's owner, less the fee."""
        if not job.placed or job.rate is None:
            return
        cost = min(job.escrow, floor(Fraction(job.ran * job.rate, 3600 * SECOND)))
        fee = cost * self.fee // 10_000
        self.pay(job.account, "held", -cost)
        self.pay(f"owner:{self.workers[job.worker].owner}", "available", cost - fee)
        self.pay("platform:fees", "available", fee)
        job.escrow -= cost
        job.billed += cost
        job.ran = 0

    def release(self, job: PlainJob) -> None:
        self.pay(job.account, "held", -job.escrow)
        self.pay(job.account, "available", job.escrow)
        job.escrow = 0

    # Jobs

    def queue(self, job: PlainJob) -> None:
        if job.account not in self.rotation:
            self.rotation.append(job.account)

    def post(self, job: PlainJob) -> None:
        self.pay(job.account, "available", -job.maximum)
        self.pay(job.account, "held", job.maximum)
        self.jobs[job.id] = job
        self.queue(job)

    def leave_queue(self, job: PlainJob) -> None:
        others = (one for one in self.jobs.values() if one is not job and one.state == "queued")
        if not any(one.account == job.account for one in others):
            self.rotation.remove(job.account)

    def end(self, job: PlainJob, state: str, error: str | None = None) -> None:
        if job.state == "queued":
            self.leave_queue(job)
        if job.placed and state == "cancelled":
            self.workers[job.worker].cancelled.append(job.id)
        self.charge(job)
        self.release(job)
        job.state, job.error = state, error

    def give_back(self, job: PlainJob, now: int) -> None:
        self.charge(job)
        self.workers[job.worker].cancelled.append(job.id)
        job.attempts += 1
        if job.attempts == 3:
            self.release(job)
            job.state, job.error = "failed", "worker lost"
            return
        job.state, job.worker, job.on_model, job.rate = "queued", "", "", None
        job.expires = now + self.timeout
        self.queue(job)

    def make_room(self, worker: PlainWorker, now: int, wall: int) -> None:
        """Give back what a machine has no room for now, newest first."""
        while jobs := self.jobs_on(worker):
            cores, memory, gpus = self.left(worker) if self.is_open(worker, now, wall) else (-1, -1, {})
            if cores >= 0 and memory >= 0 and all(number >= 0 for number in gpus.values()):
                return
            self.give_back(jobs[-1], now)

    def match(self, now: int, wall: int) -> None:
        """Placement one job after the other, looking at everything anew each time, until none can be placed."""
        while self.place_one(now, wall):
            pass

    def place_one(self, now: int, wall: int) -> bool:
        for account in self.rotation:
            jobs = [job for job in self.jobs.values() if job.state == "queued" and job.account == account]
            for job in sorted(jobs, key=lambda job: job.number):
                best = self.best_place(job, now, wall)
                if best is None:
                    continue
                job.rate, job.worker, job.on_model = best
                self.rotation.remove(account)
                if len(jobs) > 1:
                    self.rotation.append(account)
                job.state, job.assigned_number = "assigned", next(self._assignments)
                worker = self.workers[job.worker]
                worker.cancelled = [one for one in worker.cancelled if one != job.id]
                return True
        return False

    def best_place(self, job: PlainJob, now: int, wall: int) -> tuple[int, str, str] | None:
        prices = self.prices(now, wall)
        found = []
        for worker in self.workers.values():
            if not self.is_open(worker, now, wall):
                continue
            cores, memory, gpus = self.left(worker)
            if job.cores > cores or job.memory > memory:
                continue
            models = [""] if not job.gpus else [m for m in gpus if gpus[m] >= job.gpus and job.model in {"", m}]
            for model in models:
                sum_ = job.cores * prices["cpu"] + job.memory * prices["memory"]
                rate = nearest(sum_ + (job.gpus * prices[model] if model else 0))
                if Fraction(rate * job.minutes, 60) <= job.maximum:
                    found.append((rate, worker.id, model))
        return min(found, default=None)

    # Time and machines

    def tick(self, now: int, wall: int) -> None:
        for job in sorted(self.jobs.values(), key=lambda job: (job.ends, job.id)):
            if job.state == "running":
                end = job.ends
                if end <= now and end - self.workers[job.worker].heard <= self.stale:
                    self.end(job, "succeeded")
        for job in sorted(self.jobs.values(), key=lambda job: (job.expires, job.id)):
            if job.state == "queued" and job.expires <= now:
                self.end(job, "expired")
        by_silence = sorted(self.workers.values(), key=lambda worker: worker.heard_number)
        for worker in by_silence:
            if now - worker.heard > self.stale:
                self.make_room(worker, now, wall)
        for worker in sorted(by_silence, key=lambda worker: worker.id):
            self.make_room(worker, now, wall)
        self.match(now, wall)

    def hear(
        self,
        worker_id: str,
        owner: str,
        policy: PlainPolicy,
        reported: tuple[Fraction, Fraction, dict[str, int]] | None,
        reports: list[tuple[str, str]],
        now: int,
        wall: int,
    ) -> tuple[list[str], list[str]]:
        """Take a heartbeat; return the jobs it is told to run, and those it is told were taken from it."""
        self.tick(now, wall)
        worker = self.workers.get(worker_id)
        if worker is None:
            worker = self.workers[worker_id] = PlainWorker(worker_id, owner, policy, heard=now)
        for job in self.jobs_on(worker):
            if job.state == "running" and now - worker.heard <= self.stale:
                job.ran += now - max(worker.heard, job.started)
        worker.heard, worker.policy, worker.consented = now, policy, True
        worker.heard_number = next(self._hearings)
        notices, worker.cancelled = worker.cancelled, []
        if reported is not None:
            worker.reported = reported
        for job_id, state in reports:
            named = self.jobs.get(job_id)
            if named is None or named.worker != worker_id or not named.placed:
                continue
            if named.state == "assigned":
                named.state, named.started = "running", now
            if state != "running":
                self.end(named, state)
        self.make_room(worker, now, wall)
        self.match(now, wall)
        return [job.id for job in self.jobs_on(worker) if job.state == "assigned"], notices

    def revoke(self, worker_id: str, now: int, wall: int) -> None:
        self.tick(now, wall)
        self.workers[worker_id].consented = False
        self.make_room(self.workers[worker_id], now, wall)
        self.match(now, wall)
