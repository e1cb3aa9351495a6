"""How long a job ran, and what that costs (contract: Metering)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_server.core.market.jobs import RUNNING
from reference_server.wire.units import SECOND_NS

if TYPE_CHECKING:
    from reference_server.core.market.jobs import Job

_HOUR_NS = 3_600 * SECOND_NS
_BASIS_POINTS = 10_000


def duration_ns(job: Job) -> int:
    """Return how long a job may run."""
    return job.minutes * 60 * SECOND_NS


def meter(job: Job, heard_before_ns: int, heard_ns: int, stale_ns: int) -> None:
    """Add the time between two consecutive accepted heartbeats of a job's machine (monotonic ns).

    Nothing where they are further apart than the staleness threshold; what was before the job started, or is after it
    has run for its duration, is not counted.
    """
    if job.state != RUNNING or job.started is None or heard_ns - heard_before_ns > stale_ns:
        return
    begin = max(heard_before_ns, job.started.monotonic_ns)
    end = min(heard_ns, job.started.monotonic_ns + duration_ns(job))
    job.metered_ns += max(0, end - begin)


def charge_for(job: Job) -> int:
    """Return the micro-USDT that what ran costs: rounded down once, never more than is in escrow."""
    if job.rate is None:
        return 0
    return min(job.escrow, job.metered_ns * job.rate // _HOUR_NS)


def fee_of(charge: int, basis_points: int) -> int:
    """Return the platform's part of a charge, rounded down."""
    return charge * basis_points // _BASIS_POINTS
