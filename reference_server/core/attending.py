"""Effects of heartbeats, revocations and the passing of time on a state's market, and the notices sent to machines."""

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
    """Return whether an accepted heartbeat brings the market anything, or may be answered with notices from it.

    Most machines offer nothing and report no jobs, and most of the others report nothing new: for these the check must
    cost almost nothing. Work that other machines cause is left to `do_what_is_due`.
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
    """Requeue the jobs of a machine that was silent too long, and end jobs at their duration, before it is heard.

    A job that ended before this heartbeat is billed up to the heartbeat before, whatever triggers the check first.
    """
    market = state.market
    ends = market.deadlines.ends
    silent = offer.heard is not None and now.monotonic_ns - offer.heard.monotonic_ns > market.conditions.stale_ns
    if silent or (ends and ends[0][0] <= now.monotonic_ns and offer.jobs):
        bring_up(state, now, offer.worker_id)


def attend(state: State, now: Instant, worker: Worker, policy_id: str, metrics: bytes) -> dict[str, Any]:
    """Apply the capacity and job reports of an accepted heartbeat; return the notices for its answer."""
    rules = state.policies[policy_id].rules
    consented = worker.consents[policy_id].revoked_ns is None
    notices = working.attend(
        state.market, now, worker.id, worker.owner.id, policy_id, rules, metrics, consented=consented
    )
    if state.market.happened:
        audit_happenings(state, now)
    return notices


def bring_up(state: State, now: Instant, worker_id: str = "") -> None:
    """Bring the market up to `now`, starting with one machine; do nothing where changes are not allowed now."""
    working.tick(state.market, now, worker_id)
    audit_happenings(state, now)


def take_payouts(state: State, now: Instant, outcomes: Mapping[str, PayoutOutcome]) -> None:
    """Apply the payout gateway's outcomes of withdrawals, by withdrawal id."""
    for withdrawal_id, outcome in outcomes.items():
        apply_payout(state.market, now, withdrawal_id, outcome)
    audit_happenings(state, now)


def do_what_is_due(state: State, now: Instant) -> None:
    """Do everything that has become due on the market. Raises Frozen if that needs a change while none is allowed."""
    working.tick(state.market, now)
    match_all(state.market, now)
    working.require_nothing_due(state.market, now)
    audit_happenings(state, now)
