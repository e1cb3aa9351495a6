"""The changes of a market, one function for each kind, called by decisions and by recovery.

Each takes plain values. What follows from the time alone, such as which machines are open, is not a change: after a
recovery, `working.look_again` computes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_server.core.changes import change
from reference_server.core.market.capacity import maxima_of, read_capacity
from reference_server.core.market.jobs import ASSIGNED, CANCELLED, FAILED, QUEUED, RUNNING, Job
from reference_server.core.market.ledger import AVAILABLE, FEES, HELD, Leg
from reference_server.core.market.metering import hear
from reference_server.core.market.money import USDT
from reference_server.core.market.prices import Need
from reference_server.wire.values import Instant

if TYPE_CHECKING:
    from reference_server.core.market.market import HasMarket, Market
    from reference_server.core.market.pool import Offer


@change("job_added")
def add_job(
    state: HasMarket,
    at: Instant,
    job_id: str,
    account: str,
    kind: str,
    need: tuple[int, int, int, str],
    maximum: int,
    minutes: int,
    payload: bytes,
    timeout_ns: int,
) -> None:
    """Queue a job, and hold its maximum in escrow. It expires after `timeout_ns` in the queue."""
    market = state.market
    market.job_number += 1
    expires = _later(at, timeout_ns)
    job = Job(
        job_id, market.job_number, account, kind, Need(*need), maximum, minutes, bytes(payload), at, expires, maximum
    )
    legs = (
        Leg("escrow_hold", account, AVAILABLE, USDT, -maximum),
        Leg("escrow_hold", account, HELD, USDT, maximum),
    )
    market.ledger.post(at.wall_ns, job_id, legs)
    market.add(job)
    _wait(market, job)


@change("job_assigned")
def assign_job(state: HasMarket, at: Instant, job_id: str, worker_id: str, model: str, rate: int) -> None:
    """Assign a queued job to a machine, on GPUs of a model, at an hourly rate. This uses its account's turn."""
    market = state.market
    job = market.jobs[job_id]
    offer = market.pool.offers[worker_id]
    market.waiting.remove(job)
    market.waiting.serve(job.account)
    market.move(job, ASSIGNED)
    job.worker_id, job.owner_id, job.model, job.rate = offer.worker_id, offer.owner_id, model, rate
    job.assigned, job.expires = at, None
    offer.cancelled.pop(job_id, None)
    market.pool.hold(offer, job)


@change("job_started")
def start_job(state: HasMarket, at: Instant, job_id: str) -> None:
    """Record that a machine runs a job."""
    market = state.market
    job = market.jobs[job_id]
    market.move(job, RUNNING)
    market.pool.offers[job.worker_id].assigned.pop(job_id, None)
    job.started = at
    market.expect_end(job)


@change("job_reported")
def note_result(state: HasMarket, _at: Instant, job_id: str, result: bytes) -> None:
    """Store a running job's result so far, JSON as it was sent."""
    market = state.market
    market.jobs[job_id].result = bytes(result)


@change("job_ended")
def end_job(
    state: HasMarket, at: Instant, job_id: str, outcome: str, charge: int, fee: int, result: bytes, error: str | None
) -> None:
    """End a job: charge `charge`, of which `fee` goes to the platform, and return the rest of the escrow."""
    market = state.market
    job = market.jobs[job_id]
    if job.state == QUEUED:
        market.waiting.remove(job)
    on_worker = job.on_worker
    rest = job.escrow - charge
    legs = (
        *_charge_legs(job, charge, fee),
        Leg("escrow_release", job.account, HELD, USDT, -rest),
        Leg("escrow_release", job.account, AVAILABLE, USDT, rest),
    )
    market.ledger.post(at.wall_ns, job_id, legs)
    if on_worker:
        _leave_worker(market, job, notify=outcome == CANCELLED)
    market.move(job, outcome)
    job.billed += charge
    job.escrow = job.metered_ns = 0
    job.finished, job.error = at, error
    if result:
        job.result = bytes(result)


@change("job_given_back")
def give_back_job(state: HasMarket, at: Instant, job_id: str, charge: int, fee: int, timeout_ns: int) -> None:
    """Take a job from its machine, charge `charge`, and queue it again for `timeout_ns`; if that is 0, fail the job."""
    market = state.market
    job = market.jobs[job_id]
    rest = 0 if timeout_ns else job.escrow - charge
    legs = (
        *_charge_legs(job, charge, fee),
        Leg("escrow_release", job.account, HELD, USDT, -rest),
        Leg("escrow_release", job.account, AVAILABLE, USDT, rest),
    )
    market.ledger.post(at.wall_ns, job_id, legs)
    _leave_worker(market, job, notify=True)
    job.billed += charge
    job.escrow -= charge + rest
    job.metered_ns = 0
    job.attempts += 1
    if not timeout_ns:
        market.move(job, FAILED)
        job.finished, job.error = at, "worker lost"
        return
    market.move(job, QUEUED)
    job.worker_id = job.owner_id = job.model = ""
    job.rate = job.assigned = job.started = None
    job.result = b""
    job.expires = _later(at, timeout_ns)
    _wait(market, job)


@change("capacity_reported")
def note_capacity(
    state: HasMarket,
    at: Instant,
    worker_id: str,
    owner_id: str,
    policy_id: str,
    rules: str,
    reported: bytes,
    consented: bool = True,  # noqa: FBT001, FBT002 - changes have their values by position; journals of before lack it
) -> None:
    """Store a machine's reported capacity, validated JSON. The first one creates its offer.

    `rules` are those of the heartbeat's policy, canonical JSON. `consented` says whether the machine still has a
    consent to it, which may have been revoked since the heartbeat.
    """
    market = state.market
    offer = market.pool.offers.get(worker_id)
    if offer is None:
        offer = market.offer(worker_id, owner_id)
        hear_offer(market, at, offer, policy_id, rules, consented=consented)
    offer.reported_raw = bytes(reported)
    offer.reported = read_capacity(offer.reported_raw)
    offer.reported_hash = offer.repeated_hash = None
    market.unsettled[worker_id] = None


@change("cancellations_named")
def note_notified(state: HasMarket, _at: Instant, worker_id: str) -> None:
    """Record that a machine was notified of the jobs taken from it."""
    state.market.pool.offers[worker_id].cancelled.clear()


def hear_offer(
    market: Market, at: Instant, offer: Offer, policy_id: str, rules: str, *, consented: bool = True
) -> None:
    """Record an accepted heartbeat, and meter its machine's jobs. Part of the heartbeat's own change.

    `rules` are those of the policy, canonical JSON. The consent may already be revoked, if a shared journal has the
    revocation right after the heartbeat.
    """
    hear(offer, at, market.conditions.stale_ns)
    if offer.policy_id != policy_id or offer.consented is not consented or not offer.is_open:
        offer.consented = consented
        offer.policy_id = policy_id
        offer.maxima = maxima_of(rules)
        market.unsettled[offer.worker_id] = None
    try:
        market.fresh.move_to_end(offer.worker_id)
    except KeyError:
        market.fresh[offer.worker_id] = None


def end_consent(market: Market, worker_id: str, policy_id: str) -> None:
    """Record that a machine's consent to a policy was revoked. Part of the revocation's own change."""
    offer = market.pool.offers.get(worker_id)
    if offer is not None and offer.policy_id == policy_id:
        offer.consented = False
        market.unsettled[worker_id] = None


def _later(at: Instant, wait_ns: int) -> Instant:
    return Instant(at.wall_ns + wait_ns, at.monotonic_ns + wait_ns)


def _wait(market: Market, job: Job) -> None:
    market.waiting.add(job)
    market.expect_end(job)


def _charge_legs(job: Job, charge: int, fee: int) -> tuple[Leg, ...]:
    return (
        Leg("job_charge", job.account, HELD, USDT, -charge),
        Leg("job_earning", f"owner:{job.owner_id}", AVAILABLE, USDT, charge - fee),
        Leg("platform_fee", FEES, AVAILABLE, USDT, fee),
    )


def _leave_worker(market: Market, job: Job, *, notify: bool) -> None:
    offer = market.pool.offers[job.worker_id]
    market.pool.release(offer, job)
    market.grown.add(offer.worker_id)
    if notify:
        offer.tell_cancelled(job.id)
