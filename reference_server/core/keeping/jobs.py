"""Jobs and offers in files (contract: Capacity and resources, Jobs)."""

from __future__ import annotations

from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.core.keeping import moments
from reference_server.core.market.capacity import maxima_of, read_capacity
from reference_server.core.market.jobs import ASSIGNED, QUEUED, RUNNING, STATES, Job
from reference_server.core.market.metering import metered
from reference_server.core.market.prices import Need  # noqa: TC001 - msgspec reads a struct's types when it is made
from reference_server.core.table import Table
from reference_server.limits import (
    AMOUNT_UNITS_MAX,
    CANCELLED_TOLD_MAX,
    JOB_MINUTES_MAX,
    JOBS_FINISHED_MAX,
    JOBS_UNFINISHED_MAX,
    OFFERS_MAX,
)
from reference_server.wire.exposition import Figure
from reference_server.wire.ids import JOB_ID, WORKER_ID
from reference_server.wire.schema1 import MACHINES
from reference_server.wire.sections import Section
from reference_server.wire.values import Instant

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reference_server.core.state import State
    from reference_server.wire.sections import Reading
    from reference_server.wire.state_file import StateFile


class OfferRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A machine's reported capacity as JSON, and the cancelled jobs of which it must still be notified."""

    worker_id: str
    capacity: str
    cancelled: list[str]


class JobRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A job, as `core.market.jobs.Job` has it: quantities in millionths, money in micro-USDT, texts of JSON as sent."""

    id: str
    number: int
    account: str
    type: str
    need: Need
    maximum: int
    minutes: int
    payload: str
    created_at: str
    expires_at: str | None
    escrow: int
    state: str
    worker_id: str
    owner_id: str
    model: str
    rate: int | None
    billed: int
    assigned_at: str | None
    started_at: str | None
    finished_at: str | None
    attempts: int
    result: str
    error: str | None
    metered_ns: int


def _keep_offers(state: State) -> Iterator[tuple[str, OfferRecord]]:
    for one in state.market.pool.offers.values():
        yield one.worker_id, OfferRecord(one.worker_id, one.reported_raw.decode(), list(one.cancelled))


def _restore_offers(state: State, file: StateFile, _now: Instant) -> None:
    """Restore offers; the time and policy of the last heartbeat come from the machine's status."""
    for one in OFFERS.of(file.sections).values():
        worker = state.workers[one.worker_id]
        offer = state.market.offer(worker.id, worker.owner.id)
        offer.reported_raw = one.capacity.encode()
        offer.reported = read_capacity(offer.reported_raw)
        for job_id in one.cancelled:
            offer.tell_cancelled(job_id)
        policy, consent = state.policies.get(worker.policy_id), worker.consents.get(worker.policy_id)
        if worker.heard_monotonic_ns is not None and policy is not None:
            offer.heard = Instant(worker.heard_ns, worker.heard_monotonic_ns)
            offer.heard_on_from_ns = worker.heard_monotonic_ns
            offer.policy_id, offer.maxima = policy.id, maxima_of(policy.rules)
            offer.consented = consent is not None and consent.revoked_ns is None


def _check_offer(reading: Reading, place: str, key: str, one: OfferRecord) -> None:
    reading.require(place, "no such machine", right=reading.find(MACHINES, key) is not None)
    reading.require(place, "its capacity is none", right=read_capacity(one.capacity.encode()) is not None)
    reading.require(place, "it is to be told of too many jobs", right=len(one.cancelled) <= CANCELLED_TOLD_MAX)


def _keep(state: State) -> Iterator[tuple[str, JobRecord]]:
    """Yield finished jobs by their end, assigned ones by their assignment, queued ones by their turn."""
    market = state.market
    jobs = chain(
        (market.jobs[job_id] for job_id in market.finished),
        (job for offer in market.pool.offers.values() for job in offer.jobs.values()),
        market.waiting.queued(),
    )
    return ((job.id, _write(job, metered(job, market.pool.offers.get(job.worker_id)))) for job in jobs)


def _write(job: Job, metered_ns: int) -> JobRecord:
    return JobRecord(
        job.id,
        job.number,
        job.account,
        job.type,
        job.need,
        job.maximum,
        job.minutes,
        job.payload.decode(),
        moments.write(job.created),
        moments.write_maybe(job.expires),
        job.escrow,
        job.state,
        job.worker_id,
        job.owner_id,
        job.model,
        job.rate,
        job.billed,
        moments.write_maybe(job.assigned),
        moments.write_maybe(job.started),
        moments.write_maybe(job.finished),
        job.attempts,
        job.result.decode(),
        job.error,
        metered_ns,
    )


def _read(one: JobRecord, now: Instant) -> Job:
    return Job(
        one.id,
        one.number,
        one.account,
        one.type,
        one.need,
        one.maximum,
        one.minutes,
        one.payload.encode(),
        moments.read(now, one.created_at),
        moments.read_deadline(now, one.expires_at),
        one.escrow,
        one.state,
        one.worker_id,
        one.owner_id,
        one.model,
        one.rate,
        one.billed,
        moments.read_maybe(now, one.assigned_at),
        moments.read_maybe(now, one.started_at),
        moments.read_maybe(now, one.finished_at),
        one.attempts,
        one.result.encode(),
        one.error,
        one.metered_ns,
    )


def _restore(state: State, file: StateFile, now: Instant) -> None:
    jobs = [_read(one, now) for one in SECTION.of(file.sections).values()]
    for job in sorted(jobs, key=attrgetter("number")):
        state.market.add(job)
    for job in jobs:
        state.market.place(job)


def _check(reading: Reading, place: str, _key: str, one: JobRecord) -> None:
    reading.require(place, "its state is none that jobs have", right=one.state in STATES)
    amounts = (one.maximum, one.escrow, one.billed, one.metered_ns, one.attempts, one.rate or 0)
    reading.require(place, "a number of it is none", right=all(0 <= amount <= AMOUNT_UNITS_MAX for amount in amounts))
    reading.require(place, "it costs more than its maximum", right=one.escrow + one.billed <= one.maximum)
    reading.require(place, "its minutes are none", right=1 <= one.minutes <= JOB_MINUTES_MAX)
    needs = (one.need.cpu, one.need.memory, one.need.gpus)
    reading.require(place, "it needs less than nothing", right=all(0 <= need <= AMOUNT_UNITS_MAX for need in needs))
    if one.state in {ASSIGNED, RUNNING}:
        offered = reading.find(OFFERS, one.worker_id) is not None and one.rate is not None
        reading.require(place, "it is on a machine that offers nothing", right=offered)
    reading.require(place, "another job has its number", right=reading.is_first("job", one.number))
    times = {"assigned_at": one.assigned_at, "started_at": one.started_at, "finished_at": one.finished_at}
    moments.check(reading, place, created_at=one.created_at, expires_at=one.expires_at, **times)
    running = one.state != RUNNING or one.started_at is not None
    queued = one.state != QUEUED or one.expires_at is not None
    reading.require(place, "it has no time at which it began, or expires", right=running and queued)


def _figures(state: State) -> Sequence[Figure]:
    market = state.market
    return (
        Figure.labelled("hatchfarm_jobs", "Jobs by state.", "state", market.count_by_state, counts=False),
        Figure.labelled("hatchfarm_job_transitions", "Jobs that came to a state.", "to", market.transitions),
        Figure.labelled(
            "hatchfarm_reports_ignored", "What machines reported and could not be read.", "kind", market.ignored
        ),
    )


OFFERS = Section(
    name="offers", record=OfferRecord, most=OFFERS_MAX, form=WORKER_ID, key=attrgetter("worker_id"),
    check=_check_offer, hidden=frozenset(),
)  # fmt: skip
OFFERS_TABLE: Table[Any, OfferRecord] = Table(section=OFFERS, keep=_keep_offers, restore=_restore_offers)
SECTION = Section(
    name="jobs", record=JobRecord, most=JOBS_UNFINISHED_MAX + JOBS_FINISHED_MAX, form=JOB_ID, check=_check,
    hidden=frozenset(),
)  # fmt: skip
TABLE: Table[Any, JobRecord] = Table(section=SECTION, keep=_keep, restore=_restore, figures=_figures)
