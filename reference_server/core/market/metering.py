"""How long a job ran, and what that costs (contract: Metering)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_server.core.market.jobs import RUNNING
from reference_server.wire.units import SECOND_NS

if TYPE_CHECKING:
    from reference_server.core.market.jobs import Job
    from reference_server.core.market.pool import Offer
    from reference_server.wire.values import Instant

_HOUR_NS = 3_600 * SECOND_NS
_BASIS_POINTS = 10_000


def duration_ns(job: Job) -> int:
    """Return how long a job may run."""
    return job.minutes * 60 * SECOND_NS


def metered(job: Job, offer: Offer | None) -> int:
    """Return a job's unsettled running time in ns: the time between accepted heartbeats of its machine, `offer`.

    Time before the job's start or beyond its duration does not count.
    """
    if offer is None or offer.heard is None or job.state != RUNNING or job.started is None:
        return job.metered_ns
    begin = max(offer.heard_on_from_ns, job.started.monotonic_ns)
    end = min(offer.heard.monotonic_ns, job.started.monotonic_ns + duration_ns(job))
    return job.metered_ns + max(0, end - begin)


def hear(offer: Offer, at: Instant, stale_ns: int) -> None:
    """Record a heartbeat. Nothing is metered between heartbeats further apart than the staleness threshold.

    A heartbeat does no work for the machine's jobs: their running time is computed when it is needed.

    Clocks of instances differ a little: a heartbeat with an earlier time than the last one counts at the later time,
    or the time between them would be billed twice.
    """
    before = offer.heard
    if before is not None and at.monotonic_ns <= before.monotonic_ns:
        return
    if before is None or at.monotonic_ns - before.monotonic_ns > stale_ns:
        for job in offer.jobs.values():
            job.metered_ns = metered(job, offer)
        offer.heard_on_from_ns = at.monotonic_ns
    offer.heard = at


def charge_for(job: Job, offer: Offer | None) -> int:
    """Return the cost of the running time in micro-USDT: rounded down once, never more than the escrow."""
    if job.rate is None:
        return 0
    return min(job.escrow, metered(job, offer) * job.rate // _HOUR_NS)


def fee_of(charge: int, basis_points: int) -> int:
    """Return the platform's part of a charge, rounded down."""
    return charge * basis_points // _BASIS_POINTS
