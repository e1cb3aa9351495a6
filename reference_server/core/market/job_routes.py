"""Operations on jobs: post, list, read, cancel (contract: Jobs)."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from reference_server.core.market import changes, wallet
from reference_server.core.market.idempotency import KEY_REQUIRED, digest_of, valid_key
from reference_server.core.market.jobs import CANCELLED, STATES, Job, read_job, show_job
from reference_server.core.market.ledger import AVAILABLE
from reference_server.core.market.market import Happening
from reference_server.core.market.matching import match_all
from reference_server.core.market.metering import charge_for, fee_of
from reference_server.core.market.money import USDT
from reference_server.core.market.working import tick
from reference_server.limits import JOB_PAYLOAD_MAX_BYTES
from reference_server.wire.replies import FULL, INVALID_REQUEST, failure, success

if TYPE_CHECKING:
    from reference_server.core.market.market import Market
    from reference_server.wire.values import Instant, Reply

JOBS_ROUTE = "POST /jobs"
TOO_MANY_JOBS = failure(429, "too many unfinished jobs")
JOB_NOT_FOUND = failure(404, "job not found")
ALREADY_FINISHED = failure(409, "job already finished")
_ANSWER_BYTES = JOB_PAYLOAD_MAX_BYTES + 1024
"""The most bytes of an answer about a job, to check the room for first answers."""


def post_job(market: Market, now: Instant, account: str, key: str | None, body: bytes, job_id: str) -> Reply:
    """`POST /jobs`. The idempotency key is optional (None if not sent), and works as for withdrawals."""
    tick(market, now)
    request = read_job(body)
    if request is None:
        return INVALID_REQUEST
    digest = b""
    if key is not None:
        if not valid_key(key):
            return KEY_REQUIRED
        try:
            digest = digest_of(body)
        except (ValueError, RecursionError):
            return INVALID_REQUEST
        replayed = market.answers.find(account, JOBS_ROUTE, key, digest, now)
        if replayed is not None:
            return replayed
    if market.unfinished_of.get(account, 0) >= market.bounds.jobs_unfinished_an_account_max:
        return TOO_MANY_JOBS
    if request.maximum > market.ledger.balance(account, USDT, AVAILABLE):
        return wallet.INSUFFICIENT_BALANCE
    no_room_for_key = key is not None and not market.answers.has_room(account, _ANSWER_BYTES, now)
    if market.unfinished >= market.bounds.jobs_unfinished_max or no_room_for_key:
        return FULL
    need = request.need
    changes.add_job(
        market,
        now,
        job_id,
        account,
        request.type,
        (need.cpu, need.memory, need.gpus, need.model),
        request.maximum,
        request.minutes,
        request.payload,
        market.conditions.queue_timeout_ns,
    )
    job = market.jobs[job_id]
    market.happened.append(Happening("job_created", account, job_id, {}, account))
    match_all(market, now)
    reply = success({"job": show_job(job)}, 201)
    if key is not None:
        wallet.keep_answer(market, now, account, JOBS_ROUTE, key, digest, reply.status, reply.body)
    return reply


def list_jobs(market: Market, now: Instant, account: str, state: str, limit: int, offset: int) -> Reply:
    """`GET /jobs`, newest first; an empty `state` selects all."""
    tick(market, now)
    if state not in {"", *STATES}:
        return INVALID_REQUEST
    mine = market.jobs_of.get(account, {}).values()
    found = [job for job in mine if job.state == state] if state else mine
    start = min(offset, len(found))
    # What is not on the page is stepped over: an account may have 100,000 jobs.
    shown = [show_job(job) for job in islice(reversed(found), start, start + limit)]
    return success({"jobs": shown, "total": len(found), "limit": limit, "offset": offset})


def read_own_job(market: Market, now: Instant, account: str, job_id: str) -> Reply:
    """`GET /jobs/{id}`. Another account's job is not found."""
    tick(market, now)
    job = _own(market, account, job_id)
    return JOB_NOT_FOUND if job is None else success({"job": show_job(job)})


def cancel_job(market: Market, now: Instant, account: str, job_id: str) -> Reply:
    """`DELETE /jobs/{id}`: cancel a job, and settle what ran. Repeated calls get the same answer."""
    tick(market, now)
    job = _own(market, account, job_id)
    if job is None:
        return JOB_NOT_FOUND
    if job.state != CANCELLED:
        if not job.unfinished:
            return ALREADY_FINISHED
        charge = charge_for(job, market.pool.offers.get(job.worker_id))
        fee = fee_of(charge, market.conditions.fee_basis_points)
        changes.end_job(market, now, job_id, CANCELLED, charge, fee, b"", None)
        market.happened.append(Happening("job_finished", account, job_id, {"state": CANCELLED}, account, job.owner_id))
        match_all(market, now)
    return success({"job": show_job(job)})


def _own(market: Market, account: str, job_id: str) -> Job | None:
    job = market.jobs.get(job_id)
    return job if job is not None and job.account == account else None
