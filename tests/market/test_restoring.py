"""A market made again from its records goes on as the one they were taken from."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from reference_server.core.market import changes
from reference_server.core.market.conditions import Conditions
from reference_server.core.market.idempotency import KeptAnswers
from reference_server.core.market.job_routes import cancel_job
from reference_server.core.market.market import Market
from reference_server.core.market.wallet import PayoutOutcome, payout_said
from reference_server.core.market.withdrawals import Withdrawals
from reference_server.core.market.working import look_again, next_due, tick
from tests.market.small_market import (
    BITCOIN,
    RULES,
    assert_sound,
    at,
    balances,
    beat,
    cancel,
    error_of,
    make_market,
    post,
    take_out,
)

if TYPE_CHECKING:
    from reference_server.wire.values import Instant

Record = TypeVar("Record")


def copied(record: Record) -> Record:
    """Write a record, and read it again."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(record), type=type(record))


def restored(market: Market, now: Instant) -> Market:
    """Return a market that has what the records of another one say, and nothing else of it."""
    again = Market(market.conditions, KeptAnswers(), Withdrawals())
    again.ledger.sequence = market.ledger.sequence
    for account in market.ledger.accounts.values():
        entries = msgspec.structs.replace(account, balances=dict(account.balances), openings=dict(account.openings))
        again.ledger.restore(msgspec.structs.replace(entries, entries=account.entries.copy()))
    for offer in market.pool.offers.values():
        if offer.said_raw:
            changes.note_capacity(again, now, offer.worker_id, offer.owner_id, offer.said_raw)
        if offer.heard is not None:
            changes.hear_worker(again, offer.heard, offer.worker_id, offer.owner_id, offer.policy_id, RULES)
        if not offer.consented:
            changes.end_consent(again, offer.worker_id, offer.policy_id)
        for job_id in offer.cancelled:
            again.offer(offer.worker_id, offer.owner_id).tell_cancelled(job_id)
    waiting = market.waiting.queued()
    placed = [job for offer in market.pool.offers.values() for job in offer.jobs.values()]
    finished = [market.jobs[job_id] for job_id in market.finished]
    for job in (*waiting, *placed, *finished):
        again.restore(copied(job))
    for withdrawal in market.withdrawals.all.values():
        again.withdrawals.add(copied(withdrawal))
    for use in market.withdrawals.addresses.values():
        again.withdrawals.use_address(copied(use))
    for answer in market.answers:
        again.answers.keep(copied(answer))
    look_again(again, now)
    return again


def eventful() -> Market:
    """Return a market in which jobs wait, run and have ended, and money is on its way."""
    market = make_market(Conditions(dev_credit=10**9, fee_basis_points=100, cooldown_ns=10**10))
    beat(market, "w1", capacity={"cpu_cores": 2, "memory_gb": 4, "gpus": [{"model": "A", "count": 1}]})
    beat(market, "w2", capacity={"cpu_cores": 1, "memory_gb": 4})
    for number in range(5):
        post(market, f"job_{number}", account=f"agent:{'ab'[number % 2]}", duration_minutes=2)
    post(market, "late", account="agent:b", max_price_usdt="0.0001")
    take_out(market, "1")
    take_out(market, "1", now=10, id="wdr_1")
    take_out(market, "2", now=10, key="k2", id="wdr_2")
    payout_said(market, at(11), "wdr_2", PayoutOutcome.SETTLED)
    for now in (12, 30, 50):
        for worker in ("w1", "w2"):
            jobs = [{"job_id": job_id, "state": "running"} for job_id in market.pool.offers[worker].jobs]
            beat(market, worker, now=now, jobs=jobs)
    cancel(market, "job_0", now=51)
    beat(market, "w2", now=52, jobs=[{"job_id": "job_2", "state": "succeeded", "result": [1]}])
    return market


def test_it_goes_on_as_before() -> None:
    market = eventful()
    assert {job.state for job in market.jobs.values()} == {"queued", "assigned", "running", "cancelled", "succeeded"}
    again = restored(market, at(53))
    assert_sound(again)
    assert again.pool.prices() == market.pool.prices()
    assert again.waiting.queued() == market.waiting.queued()
    assert next_due(again, at(53)) == next_due(market, at(53))
    for one in (market, again):
        tick(one, at(60))
        beat(one, "w1", now=70)
        cancel_job(one, at(80), "agent:b", "job_1")
        beat(one, "w2", now=90, jobs=[{"job_id": "job_3", "state": "failed"}])
        payout_said(one, at(95), "wdr_1", PayoutOutcome.RETURNED)
        post(one, "new", now=99)
        tick(one, at(4_000))
        assert_sound(one)
    assert again.jobs == market.jobs
    assert balances(again) == balances(market)
    assert again.ledger.accounts["agent:b"].entries == market.ledger.accounts["agent:b"].entries
    assert again.count_by_state == market.count_by_state


def test_keys_addresses_and_limits_are_known_again() -> None:
    again = restored(eventful(), at(53))
    assert take_out(again, "2", now=54, key="k2").status == 202
    assert error_of(take_out(again, "3", now=54, key="k2"))[0] == 422
    assert take_out(again, "1", now=54, key="k3").status == 202
    assert error_of(take_out(again, "1", now=54, key="k4", asset="BTC", address=BITCOIN))[0] == 403
    assert error_of(take_out(again, "9998", now=54, key="k5"))[0] == 429
