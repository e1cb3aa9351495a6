"""What is wrong with a scenario's `[market]`, and what of it has no effect. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_server.wire.units import SECOND_NS
from simulator.fleet.load_users import MARKET_USERS
from simulator.scenario.values import DOWN_FAULTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.scenario.values import Scenario

CREDIT = "WALLET_DEV_CREDIT_USDT"
COOLDOWN = "WITHDRAWAL_ADDRESS_COOLDOWN_SECONDS"
SHARE_ROUNDING = 1e-9
"""What adding up shares in binary may be off by."""
MARKET_METRICS = ("job.", "jobs.", "withdrawal.", "withdrawals.", "market.")


def market_problems(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """Find what is well-formed but makes no sense."""
    market = scenario.market
    if market is None:
        for metric in scenario.thresholds:
            if metric.startswith(MARKET_METRICS) and not _has_agents(scenario):
                yield f'thresholds."{metric}"', "the run has no market: add [market]"
        return
    if sum(market.offer.wrong().values()) > 1 + SHARE_ROUNDING:
        yield "market.offer", "the shares of machines that do wrong add up to more than 1"
    if market.offer.abandons and market.offer.abandoned_for_ns <= 0:
        yield "market.offer.abandoned_for", "must be longer than nothing"
    forgetting = [fault.kind for fault in scenario.faults if fault.kind in DOWN_FAULTS]
    if forgetting and not (scenario.server.durable or scenario.server.instances > 1):
        yield "market", f"after {forgetting[0]} the server knows no agent any more: write `durable = true` in [server]"


def market_remarks(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """Find what is right and without effect."""
    market = scenario.market
    if market is None:
        if _has_agents(scenario):
            yield "load", "no machine offers anything to these agents: add [market]"
        return
    if not (market.agents or _has_agents(scenario)):
        yield "market", "machines offer what nobody asks for: `agents` says how many do, or [[load]]"
        return
    if (market.jobs_per_minute or market.withdrawals_per_minute) and not _setting(scenario, CREDIT, 0):
        yield "market", f"agents have no money: give them some with {CREDIT} in [server.settings]"
    if min(market.minutes) * 60 * SECOND_NS > scenario.duration_ns:
        yield "market.minutes", "the run ends before any job has taken its time"
    if market.withdrawals_per_minute and _setting(scenario, COOLDOWN, 86_400) * SECOND_NS >= scenario.duration_ns:
        yield "market.withdrawals_per_minute", f"no address is ever out of its cooldown: set {COOLDOWN}"
    fleet = scenario.fleet
    shares = {"share": market.offer.share, **{one.value: share for one, share in market.offer.wrong().items()}}
    for name, share in shares.items():
        if share and not round(share * fleet.machines):
            yield f"market.offer.{name}", "nobody: of all machines it is not one"


def _setting(scenario: Scenario, name: str, default: float) -> float:
    """Return a number that the server is set to; what is no number is refused elsewhere."""
    try:
        return float(scenario.server.environ().get(name, default))
    except ValueError:
        return default


def _has_agents(scenario: Scenario) -> bool:
    return any(load.user in MARKET_USERS for load in scenario.load)
