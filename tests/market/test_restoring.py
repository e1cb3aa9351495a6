"""A market made again from its records goes on as the one they were taken from."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec
import pytest

from reference_server.core.changes import Frozen, encode_changes, recover_change
from reference_server.core.community.agents import OPEN, Agents, register
from reference_server.core.community.forum import Forum, create_comment, create_post
from reference_server.core.market import changes
from reference_server.core.market.conditions import Conditions
from reference_server.core.market.job_routes import cancel_job, post_job
from reference_server.core.market.market import Market
from reference_server.core.market.metering import metered
from reference_server.core.market.notes import Notes
from reference_server.core.market.wallet import apply_payout
from reference_server.core.market.working import look_again, next_due, tick
from reference_server.ports import PayoutOutcome
from tests.market.small_market import (
    BITCOIN,
    RULES,
    assert_sound,
    at,
    balances,
    beat,
    cancel,
    error_of,
    job_body,
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
    again = Market(market.conditions, bounds=market.bounds)
    again.ledger.sequence = market.ledger.sequence
    for account in market.ledger.accounts.values():
        entries = msgspec.structs.replace(account, balances=dict(account.balances), openings=dict(account.openings))
        again.ledger.restore(msgspec.structs.replace(entries, entries=account.entries.copy()))
    for offer in market.pool.offers.values():
        if offer.reported_raw:
            changes.note_capacity(
                again, offer.heard or now, offer.worker_id, offer.owner_id, offer.policy_id, RULES, offer.reported_raw
            )
        if not offer.consented:
            changes.end_consent(again, offer.worker_id, offer.policy_id)
        for job_id in offer.cancelled:
            again.offer(offer.worker_id, offer.owner_id).tell_cancelled(job_id)
    waiting = market.waiting.queued()
    placed = [
        msgspec.structs.replace(job, metered_ns=metered(job, offer))
        for offer in market.pool.offers.values()
        for job in offer.jobs.values()
    ]
    finished = [market.jobs[job_id] for job_id in market.finished]
    jobs = [copied(job) for job in (*waiting, *placed, *finished)]
    for job in sorted(jobs, key=lambda job: job.number):
        again.add(job)
    for job in jobs:
        again.place(job)
    for withdrawal in market.withdrawals.all.values():
        again.withdrawals.add(copied(withdrawal))
    for use in market.withdrawals.addresses.values():
        again.withdrawals.use_address(copied(use))
    for answer in market.answers:
        again.answers.keep(copied(answer))
    look_again(again, now)
    tick(again, now)
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
    apply_payout(market, at(11), "wdr_2", PayoutOutcome.SETTLED)
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
        apply_payout(one, at(95), "wdr_1", PayoutOutcome.RETURNED)
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


class Holder(Notes):
    """A state that has a market, a forum and agents as parts of it."""

    def __init__(self) -> None:
        super().__init__()
        self.market = Market(Conditions(dev_credit=10**9), self)
        self.agents = Agents(self)
        self.forum = Forum(self)


def busy(holder: Holder, *, now: float = 0) -> None:
    """Change each part."""
    registered = register(holder.agents, holder.market, at(now), OPEN, None, b'{"name":"Ada"}', "agt_1", "hfk_1")
    assert registered.status == 201
    beat(holder.market, "w1", now=now, capacity={"cpu_cores": 2, "memory_gb": 4})
    post(holder.market, "job_1", now=now, account="agent:agt_1", payload={"a": 1})
    text = b'{"title":"t","body":"b","tags":["x","y"]}'
    assert create_post(holder.forum, holder.agents.by_id, at(now), "agent:agt_1", text, "post_1", 30).status == 201
    assert create_comment(holder.forum, {}, at(now), "owner:o", "post_1", b'{"body":"c"}', "cmt_1", 30).status == 201


def test_a_state_has_the_changes_of_its_parts_and_recovers_them() -> None:
    """In the order in which they were made, as a journal keeps them."""
    holder, again = Holder(), Holder()
    holder.changes = []
    busy(holder)
    kinds = [noted[0] for noted in holder.changes]
    assert kinds == [
        "agent_added",
        "capacity_reported",
        "account_opened",
        "job_added",
        "job_assigned",
        "post_added",
        "comment_added",
    ]
    for noted in msgspec.msgpack.decode(encode_changes(holder.changes)):
        recover_change(again, at(1), noted)
    assert again.market.jobs == holder.market.jobs
    assert again.agents.by_id == holder.agents.by_id
    assert again.forum.posts == holder.forum.posts
    assert again.forum.tagged("y") == holder.forum.tagged("y")
    assert balances(again.market) == balances(holder.market)


def test_nothing_changes_while_the_state_is_frozen() -> None:
    """What is due meanwhile is done afterwards."""
    holder = Holder()
    holder.changes = []
    busy(holder)
    cancel(holder.market, "job_1", account="agent:agt_1")
    post(holder.market, "job_2", account="agent:agt_1", resources={"cpu_cores": 9, "memory_gb": 1})
    before = balances(holder.market), len(holder.changes), list(holder.market.jobs)
    holder.frozen = True
    with pytest.raises(Frozen):
        post_job(holder.market, at(1), "agent:agt_1", None, job_body(), "job_3")
    with pytest.raises(Frozen):
        cancel_job(holder.market, at(1), "agent:agt_1", "job_2")
    with pytest.raises(Frozen):
        create_post(holder.forum, {}, at(1), "owner:o", b'{"title":"t","body":"b"}', "post_2", 30)
    tick(holder.market, at(9_000))
    assert (balances(holder.market), len(holder.changes), list(holder.market.jobs)) == before
    assert list(holder.forum.posts) == ["post_1"]
    holder.frozen = False
    tick(holder.market, at(9_000))
    assert holder.market.jobs["job_2"].state == "expired"
    assert_sound(holder.market)
