"""A market in memory, with words to speak to it, and what must hold of it at any time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.core.changes import encode_changes, recover_change
from reference_server.core.market import changes
from reference_server.core.market.bounds import MarketBounds
from reference_server.core.market.conditions import Conditions
from reference_server.core.market.job_routes import cancel_job, post_job
from reference_server.core.market.ledger import AVAILABLE, FUNDING, Leg
from reference_server.core.market.market import Market
from reference_server.core.market.money import BTC
from reference_server.core.market.wallet import ensure_account, withdraw
from reference_server.core.market.working import attend, look_again, tick
from reference_server.wire.values import Instant, Reply

if TYPE_CHECKING:
    from collections.abc import Iterable

SECOND = 1_000_000_000
MORNING_NS = 1_800_000_000 * SECOND
"""A whole hour, 08:00 in UTC."""
RULES = '{"max_cpu_percent":100,"max_gpu_percent":100,"max_memory_percent":100}'
TRON = "TJRabPrwbZy45sbavfcjinPJC18kjpRTv8"
BITCOIN = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"


def at(seconds: float) -> Instant:
    """Return a moment so long after the morning; both clocks run alike."""
    nanoseconds = round(seconds * SECOND)
    return Instant(MORNING_NS + nanoseconds, nanoseconds)


def make_market(conditions: Conditions | None = None, **bounds: int) -> Market:
    """Return an empty market that notes its changes, with bounds of its own."""
    market = Market(conditions or Conditions(dev_credit=1_000_000_000), bounds=MarketBounds(**bounds))
    market.changes = []
    return market


def rich(bounds: dict[str, int] | None = None, **conditions: Any) -> Market:
    """Return a market in which agent:a has 100,000 USDT and 2 BTC, by default without cooldowns."""
    market = make_market(Conditions(**{"dev_credit": 10**11, "cooldown_ns": 0, **conditions}), **bounds or {})
    ensure_account(market, at(0), "agent:a")
    legs = [Leg("credit", FUNDING, AVAILABLE, BTC, -(2 * 10**8)), Leg("credit", "agent:a", AVAILABLE, BTC, 2 * 10**8)]
    market.ledger.post(0, "agent:a", legs)
    return market


def data_of(reply: Reply) -> Any:
    """Return what a reply gives; it has to give something."""
    read = json.loads(reply.body)
    assert read["success"], read
    return read["data"]


def error_of(reply: Reply) -> tuple[int, str]:
    """Return a refusal's status and message."""
    return reply.status, json.loads(reply.body)["error"]


def job_body(**changed: Any) -> bytes:
    """Return the body of a small job, with some fields changed; None leaves one out."""
    fields: dict[str, Any] = {
        "type": "render",
        "resources": {"cpu_cores": 1, "memory_gb": 1},
        "duration_minutes": 60,
        "max_price_usdt": "1",
    }
    fields.update(changed)
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


def post(market: Market, job_id: str, *, now: float = 0, account: str = "agent:a", **changed: Any) -> Any:
    """Post a job that is granted; return it as shown."""
    assert ensure_account(market, at(now), account) is None
    return data_of(post_job(market, at(now), account, None, job_body(**changed), job_id))["job"]


def hear(market: Market, now: Instant, worker_id: str, policy_id: str, rules: str = RULES) -> None:
    """Do what an accepted heartbeat itself does to a market, which knows the machine or not."""
    offer = market.pool.offers.get(worker_id)
    if offer is not None:
        changes.hear_offer(market, now, offer, policy_id, rules)


def beat(
    market: Market,
    worker_id: str,
    *,
    now: float = 0,
    owner_id: str = "o",
    capacity: Any = None,
    jobs: Iterable[dict[str, Any]] = (),
    rules: str = RULES,
    policy_id: str = "pol",
) -> dict[str, Any]:
    """Send an accepted heartbeat of a machine; return what its answer tells it."""
    metrics: dict[str, Any] = {} if capacity is None else {"capacity": capacity}
    if jobs:
        metrics["jobs"] = list(jobs)
    tick(market, at(now))
    hear(market, at(now), worker_id, policy_id, rules)
    notices = attend(market, at(now), worker_id, owner_id, policy_id, rules, json.dumps(metrics).encode())
    assert all(notices.values())
    return {"assignments": notices.get("assignments", []), "cancelled": list(notices.get("cancelled", ()))}


def revoke(market: Market, now: Instant, worker_id: str, policy_id: str) -> None:
    """Revoke a machine's consent to a policy."""
    tick(market, now)
    changes.end_consent(market, worker_id, policy_id)
    tick(market, now)


def cancel(market: Market, job_id: str, *, now: float = 0, account: str = "agent:a") -> Any:
    """Cancel a job."""
    return data_of(cancel_job(market, at(now), account, job_id))["job"]


def take_out(
    market: Market, amount: Any, *, now: float = 0, key: str = "k", account: str = "agent:a", **changed: Any
) -> Reply:
    """Ask for a withdrawal."""
    withdrawal_id = changed.pop("id", f"wdr_{key}_{now}")
    fields = {"asset": "USDT-TRC20", "amount": amount, "address": TRON, **changed}
    return withdraw(market, at(now), account, key, json.dumps(fields).encode(), withdrawal_id)


def balances(market: Market) -> dict[tuple[str, str], int]:
    """Return all USDT balances that are not zero, by account and part."""
    accounts = market.ledger.accounts.values()
    return {
        (one.name, part): units
        for one in accounts
        for (asset, part), units in one.balances.items()
        if units and asset == "USDT-TRC20"
    }


def assert_sound(market: Market) -> None:
    """Assert what holds of a market at any time, by going through all of it."""
    sums: dict[str, int] = {}
    for account in market.ledger.accounts.values():
        for (asset, part), units in account.balances.items():
            sums[asset] = sums.get(asset, 0) + units
            assert units >= 0 or account.name == FUNDING
            entries = [entry.amount for entry in account.entries if (entry.asset, entry.part) == (asset, part)]
            opening = account.openings.get((asset, part))
            assert sum(entries) + (opening.amount if opening else 0) == units
    assert not any(sums.values())
    assert market.ledger.imbalance() == 0
    held: dict[str, int] = {}
    for job in market.jobs.values():
        held[job.account] = held.get(job.account, 0) + job.escrow
        assert job.billed + job.escrow <= job.maximum
        assert bool(job.escrow) <= job.unfinished
    for account in market.ledger.accounts.values():
        assert account.balance("USDT-TRC20", "held") == held.get(account.name, 0)
    for offer in market.pool.offers.values():
        on_it = [job for job in market.jobs.values() if job.on_worker and job.worker_id == offer.worker_id]
        assert {job.id for job in on_it} == set(offer.jobs)
        assert not on_it or offer.is_open
        assert sum(job.need.cpu for job in on_it) == offer.held_cpu <= offer.total.cpu
        assert sum(job.need.memory for job in on_it) == offer.held_memory <= offer.total.memory
        assert not offer.overfull
    states = [job.state for job in market.jobs.values()]
    assert {state: states.count(state) for state in market.count_by_state} == market.count_by_state


def recovered(market: Market, now: Instant, heartbeats: list[tuple[Any, ...]]) -> Market:
    """Return a market to which the same changes were made again, between them the same heartbeats.

    `heartbeats` are (number of changes before, kind, moment, values).
    """
    again = Market(market.conditions, bounds=market.bounds)
    beats = iter(heartbeats)
    beat_ = next(beats, None)
    kept = msgspec.msgpack.decode(encode_changes(market.changes or []))
    for number, noted in enumerate([*kept, None]):
        while beat_ is not None and beat_[0] == number:
            beat_[1](again, *beat_[2:])
            beat_ = next(beats, None)
        if noted is not None:
            recover_change(again, now, noted)
    look_again(again, now)
    tick(again, now)
    return again
