"""What heartbeats, revocations and time do on the market of a state, and what machines are told of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reference_server.core.happenings import audit_happenings
from reference_server.core.market import working
from reference_server.core.market.matching import match_all
from reference_server.core.market.repeats import market_part, repeats
from reference_server.core.market.wallet import apply_payout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reference_server.core.market.market import Market
    from reference_server.core.market.pool import Offer
    from reference_server.core.records import Worker
    from reference_server.core.state import State
    from reference_server.ports import PayoutOutcome
    from reference_server.wire.values import Instant


def concerns_market(market: Market, offer: Offer | None, metrics: bytes) -> bool:
    """Return whether the market has to take, or may tell, anything with a heartbeat that was just accepted.

    Most machines offer nothing and say nothing of it, and of the others most have nothing new: these cost as little as
    can be. What other machines have to be looked at for is done when it is looked what is due.
    """
    part = market_part(metrics)
    if offer is None:
        return bool(part)
    if hash(part) == offer.repeated_hash and not market.unsettled:
        return False
    if offer.assigned or offer.cancelled or offer.worker_id in market.unsettled:
        return True
    return bool(part) and not repeats(offer, metrics, part)


def end_what_is_over(state: State, now: Instant, offer: Offer) -> None:
    """Have a machine give its jobs back that was silent for too long, and end what ran long enough, before it is heard.

    What ended before this heartbeat is billed up to the one before, whoever looks at it first.
    """
    market = state.market
    ends = market.deadlines.ends
    silent = offer.heard is not None and now.monotonic_ns - offer.heard.monotonic_ns > market.conditions.stale_ns
    if silent or (ends and ends[0][0] <= now.monotonic_ns and offer.jobs):
        bring_up(state, now, offer.worker_id)


def attend(state: State, now: Instant, worker: Worker, policy_id: str, metrics: bytes) -> dict[str, Any]:
    """Take what a heartbeat that was just accepted says, and return what its answer tells the machine."""
    rules = state.policies[policy_id].rules
    consented = worker.consents[policy_id].revoked_ns is None
    notices = working.attend(
        state.market, now, worker.id, worker.owner.id, policy_id, rules, metrics, consented=consented
    )
    if state.market.happened:
        audit_happenings(state, now)
    return notices


def bring_up(state: State, now: Instant, worker_id: str = "") -> None:
    """Bring the market up to a moment, as far as that may be changed now: one machine before all others."""
    working.tick(state.market, now, worker_id)
    audit_happenings(state, now)


def take_payouts(state: State, now: Instant, outcomes: Mapping[str, PayoutOutcome]) -> None:
    """Take what the payout gateway part of withdrawals, by id."""
    for withdrawal_id, outcome in outcomes.items():
        apply_payout(state.market, now, withdrawal_id, outcome)
    audit_happenings(state, now)


def do_what_is_due(state: State, now: Instant) -> None:
    """Do all that has become due on the market. Raises Frozen where that would change what may not be changed now."""
    working.tick(state.market, now)
    match_all(state.market, now)
    working.require_nothing_due(state.market, now)
    audit_happenings(state, now)
