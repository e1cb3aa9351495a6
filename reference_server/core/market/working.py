"""Effects of machines and of time on jobs: heartbeats, silence, hours, durations, revocations.

Each decision first brings the market up to its moment (`tick`), and finally matches jobs to free capacity.
"""

from __future__ import annotations

import heapq
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.core.changes import Frozen
from reference_server.core.market import changes
from reference_server.core.market.capacity import read_capacity, write_capacity
from reference_server.core.market.jobs import (
    ASSIGNED,
    EXPIRED,
    FAILED,
    QUEUED,
    RUNNING,
    SUCCEEDED,
    can_be_read,
    show_assignment,
)
from reference_server.core.market.market import Happening
from reference_server.core.market.matching import match_all
from reference_server.core.market.metering import charge_for, duration_ns, fee_of
from reference_server.core.market.pool import offered_now
from reference_server.core.market.repeats import market_part
from reference_server.limits import DUE_AT_ONCE, JOB_ATTEMPTS_MAX, JOB_RESULT_MAX_BYTES

if TYPE_CHECKING:
    from reference_server.core.market.jobs import Job
    from reference_server.core.market.market import Market
    from reference_server.core.market.pool import Offer
    from reference_server.wire.values import Instant

RESULT_TOO_LARGE = "result too large"
_STATES_REPORTED = frozenset({RUNNING, SUCCEEDED, FAILED})


class _Metrics(msgspec.Struct, frozen=True, gc=False):
    capacity: msgspec.Raw = msgspec.Raw(b"")
    jobs: msgspec.Raw = msgspec.Raw(b"")


class _Report(msgspec.Struct, frozen=True):
    job_id: str
    state: str
    result: msgspec.Raw = msgspec.Raw(b"")
    error: msgspec.Raw = msgspec.Raw(b"")


_decode_metrics = msgspec.json.Decoder(_Metrics).decode
_decode_reports = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_report = msgspec.json.Decoder(_Report).decode
_decode_text = msgspec.json.Decoder(str | None).decode


def attend(
    market: Market,
    now: Instant,
    worker_id: str,
    owner_id: str,
    policy_id: str,
    rules: str,
    metrics: bytes,
    *,
    consented: bool = True,
) -> dict[str, Any]:
    """Apply the capacity and reports of an accepted heartbeat, and return the notices for its answer.

    `rules` are its policy's, canonical JSON; `metrics` is JSON as it was sent, an object or null. The consent to the
    policy may have been revoked between the acceptance and now (`consented`). The answer has
    `assignments`, every job that the machine has not reported yet, and `cancelled`, jobs taken from it since the last;
    each only where there are any.
    """
    notices: dict[str, Any] = {}
    offer = market.pool.offers.get(worker_id)
    if offer is not None and offer.cancelled:
        notices["cancelled"] = list(offer.cancelled)
        changes.note_notified(market, now, worker_id)
    if market_part(metrics):
        _read_metrics(market, now, (worker_id, owner_id, policy_id, rules), metrics, consented=consented)
    offer = market.pool.offers.get(worker_id)
    if offer is None:
        return {}
    if market.unsettled:
        _settle(market, now, worker_id)
    match_all(market, now)
    if offer.assigned:
        notices["assignments"] = [show_assignment(job) for job in offer.assigned.values()]
    return notices


def _read_metrics(
    market: Market, now: Instant, sender: tuple[str, str, str, str], metrics: bytes, *, consented: bool
) -> None:
    """Apply a capacity and reports. Ignored reports are counted last, as a frozen market makes all of it run again."""
    capacities = jobs = 0
    try:
        read = _decode_metrics(metrics)
    except (ValueError, RecursionError):
        market.ignored["capacity"] += 1
        return
    reported = bytes(read.capacity)
    offer = market.pool.offers.get(sender[0])
    if reported and (offer is None or hash(reported) != offer.reported_hash):
        capacity = read_capacity(reported)
        if offer is not None and capacity is not None and capacity == offer.reported:
            offer.reported_hash = hash(reported)
        elif capacity is None or not market.pool.can_name(capacity) or not market.has_room_for(offer):
            capacities += 1
        else:
            changes.note_capacity(market, now, *sender, write_capacity(capacity), consented)
            market.pool.offers[sender[0]].reported_hash = hash(reported)
    for report in _reports(bytes(read.jobs)):
        if not _take_report(market, now, offer, report):
            jobs += 1
    market.ignored["capacity"] += capacities
    market.ignored["job"] += jobs


def _reports(raw: bytes) -> list[msgspec.Raw]:
    """Return the reports of a list. Anything else counts as one unreadable report."""
    if not raw:
        return []
    try:
        return _decode_reports(raw)
    except (ValueError, RecursionError):
        return [msgspec.Raw(raw)]


def _take_report(market: Market, now: Instant, offer: Offer | None, raw: msgspec.Raw) -> bool:
    """Apply one report; return whether it is readable and about one of the machine's own jobs."""
    try:
        report = _decode_report(bytes(raw))
        error_raw = bytes(report.error)
        error = _decode_text(error_raw) if 0 < len(error_raw) <= JOB_RESULT_MAX_BYTES else None
    except (ValueError, RecursionError):
        return False
    job = None if offer is None else offer.jobs.get(report.job_id)
    if offer is None or job is None or report.state not in _STATES_REPORTED:
        return False
    result = b"" if bytes(report.result) == b"null" else bytes(report.result)
    too_large = len(result) > JOB_RESULT_MAX_BYTES or len(error_raw) > JOB_RESULT_MAX_BYTES
    if result and not too_large and not can_be_read(result):
        return False
    if job.state == ASSIGNED:
        changes.start_job(market, now, job.id)
        market.happened.append(_happening("job_started", job, {}, offer.worker_id))
    if too_large:
        _end(market, now, job, FAILED, error=RESULT_TOO_LARGE, by_worker=True)
    elif report.state != RUNNING:
        _end(market, now, job, report.state, result, error, by_worker=True)
    elif result and result != job.result:
        changes.note_result(market, now, job.id, result)
    return True


def tick(market: Market, now: Instant, worker_id: str = "") -> None:
    """Do what has become due: silent machines, hours that begin or end, jobs at their duration or queued too long.

    Matches jobs afterwards. Call it with every decision, and at `next_due`. While the market is frozen, only what
    follows from the time is computed, and all changes stay due. The work of one call is bounded, so that no request
    waits for long: the named machine and its jobs come first, and the rest stays due.
    """
    deadlines = market.deadlines
    if not market.frozen:
        for job_id in deadlines.due(deadlines.ends, now.monotonic_ns, DUE_AT_ONCE):
            _end_by_duration(market, now, job_id)
        named = market.pool.offers.get(worker_id)
        for job_id in () if named is None else list(named.jobs):
            _end_by_duration(market, now, job_id)
        for job_id in deadlines.due(deadlines.expiries, now.monotonic_ns, DUE_AT_ONCE):
            job = market.jobs.get(job_id)
            if job is not None and job.state == QUEUED and _is_due(job.expires, now):
                _end(market, now, job, EXPIRED)
    while market.fresh:
        longest_id = next(iter(market.fresh))
        heard = market.pool.offers[longest_id].heard
        if heard is not None and now.monotonic_ns - heard.monotonic_ns <= market.conditions.stale_ns:
            break
        del market.fresh[longest_id]
        market.unsettled[longest_id] = None
    for due_id in deadlines.due(deadlines.hours, now.wall_ns, DUE_AT_ONCE):
        market.unsettled[due_id] = None
    if market.unsettled:
        _settle(market, now, worker_id)
    if not market.frozen:
        match_all(market, now)


def require_nothing_due(market: Market, now: Instant) -> None:
    """Raise Frozen if `tick` has left anything undone, as it does with changes while the market is frozen."""
    deadlines, now_ns = market.deadlines, now.monotonic_ns
    due = any(heap and heap[0][0] <= now_ns for heap in (deadlines.ends, deadlines.expiries))
    if market.frozen and (due or market.unsettled):
        raise Frozen


def next_due(market: Market, now: Instant) -> int | None:
    """Return when `tick` has work next (monotonic ns), or None."""
    if market.unsettled or ((market.grown or market.pool.fell or market.waiting.new) and market.waiting):
        return now.monotonic_ns
    deadlines = market.deadlines
    moments = [heap[0][0] for heap in (deadlines.ends, deadlines.expiries) if heap]
    if deadlines.hours:
        moments.append(now.monotonic_ns + deadlines.hours[0][0] - now.wall_ns)
    if market.fresh:
        heard = market.pool.offers[next(iter(market.fresh))].heard
        if heard is not None:
            moments.append(heard.monotonic_ns + market.conditions.stale_ns + 1)
    return min(moments, default=None)


def look_again(market: Market, now: Instant) -> None:
    """Compute what is in no journal after a recovery: deadlines, and current offers.

    Nothing that belongs in a journal changes: what is due stays due until `tick`.
    """
    market.deadlines.clear()
    for job in market.jobs.values():
        market.expect_end(job)
    market.fresh.clear()
    offers = market.pool.offers
    heard = ((offer.heard.monotonic_ns, offer.worker_id) for offer in offers.values() if offer.heard is not None)
    market.fresh.update((worker_id, None) for _, worker_id in sorted(heard))
    market.unsettled.update(dict.fromkeys(offers))
    for worker_id in list(market.unsettled):
        _settle_one(market, now, worker_id, may_change=False)


def _settle(market: Market, now: Instant, worker_id: str) -> None:
    """Recompute the current offers of a bounded number of machines, `worker_id` first."""
    if worker_id in market.unsettled:
        _settle_one(market, now, worker_id, may_change=not market.frozen)
    for other_id in list(islice(market.unsettled, DUE_AT_ONCE)):
        _settle_one(market, now, other_id, may_change=not market.frozen)


def _settle_one(market: Market, now: Instant, worker_id: str, *, may_change: bool) -> None:
    """Recompute a machine's current offer. If that would requeue jobs while changes are frozen, it is postponed."""
    del market.unsettled[worker_id]
    if not _refresh(market, now, market.pool.offers[worker_id], may_change=may_change):
        market.unsettled[worker_id] = None


def _is_due(at: Instant | None, now: Instant) -> bool:
    return at is not None and at.monotonic_ns <= now.monotonic_ns


def _end_by_duration(market: Market, now: Instant, job_id: str) -> None:
    """End a job at its duration, unless its machine was lost before."""
    job = market.jobs.get(job_id)
    if job is None or job.state != RUNNING or job.started is None:
        return
    ended_ns = job.started.monotonic_ns + duration_ns(job)
    heard = market.pool.offers[job.worker_id].heard
    if ended_ns > now.monotonic_ns or heard is None:
        return
    if ended_ns - heard.monotonic_ns <= market.conditions.stale_ns:
        _end(market, now, job, SUCCEEDED)


def _refresh(market: Market, now: Instant, offer: Offer, *, may_change: bool) -> bool:
    """Bring a machine's offer up to `now`: jobs that no longer have room are requeued, newest first.

    Return False, and do nothing, if that needs a change while none is allowed.
    """
    total = offered_now(offer, now, market.conditions.stale_ns)
    until_ns = offer.opening.until_ns
    if until_ns is not None and now.wall_ns < until_ns and not now.wall_ns < offer.look_ns <= until_ns:
        # Only deadlines sooner than the pending one are added, so frequent policy changes do not fill the queue.
        offer.look_ns = until_ns
        heapq.heappush(market.deadlines.hours, (until_ns, offer.worker_id))
    if not may_change and not offer.holds_within(total):
        return False
    if total is None:
        for job in list(reversed(offer.jobs.values())):
            _give_back(market, now, job, _why_closed(market, now, offer))
        if offer.is_open:
            market.pool.open_as(offer, None)
        market.grown.discard(offer.worker_id)
        return True
    named = market.pool.within_names(offer, total)
    if offer.is_open and named == offer.total:
        return True
    market.ignored["capacity"] += named is not total
    market.pool.open_as(offer, named)
    while offer.overfull:
        _give_back(market, now, next(reversed(offer.jobs.values())), "no room")
    market.grown.add(offer.worker_id)
    return True


def _why_closed(market: Market, now: Instant, offer: Offer) -> str:
    if not offer.consented:
        return "consent revoked"
    if offer.heard is None or now.monotonic_ns - offer.heard.monotonic_ns > market.conditions.stale_ns:
        return "stale"
    return "no room"


def _give_back(market: Market, now: Instant, job: Job, reason: str) -> None:
    charge = charge_for(job, market.pool.offers.get(job.worker_id))
    fee = fee_of(charge, market.conditions.fee_basis_points)
    worker_owner_id = job.owner_id
    again = job.attempts + 1 < JOB_ATTEMPTS_MAX
    timeout_ns = market.conditions.queue_timeout_ns if again else 0
    changes.give_back_job(market, now, job.id, charge, fee, timeout_ns)
    kind, metadata = ("job_requeued", {"reason": reason}) if again else ("job_finished", {"state": FAILED})
    market.happened.append(Happening(kind, "system", job.id, metadata, job.account, worker_owner_id))


def _end(
    market: Market,
    now: Instant,
    job: Job,
    state: str,
    result: bytes = b"",
    error: str | None = None,
    *,
    by_worker: bool = False,
) -> None:
    """End a job, because of its machine's report or by the server itself."""
    charge = charge_for(job, market.pool.offers.get(job.worker_id))
    fee = fee_of(charge, market.conditions.fee_basis_points)
    worker_id = job.worker_id if by_worker else ""
    changes.end_job(market, now, job.id, state, charge, fee, result, error)
    market.happened.append(_happening("job_finished", job, {"state": state}, worker_id))


def _happening(kind: str, job: Job, metadata: dict[str, Any], worker_id: str) -> Happening:
    actor = f"worker:{worker_id}" if worker_id else "system"
    return Happening(kind, actor, job.id, metadata, job.account, job.owner_id)
