"""What checkers must know of a run besides its history: by which settings and by which clock the target went."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from simulator.attacks.defences import defences_of
from simulator.checkers.facts import APART, SHARED, UNKNOWN, ClockFacts, Facts, MarketFacts
from simulator.client.aim import JUDGED_SETTINGS
from simulator.contract.pricing import BTC, DECIMALS, USDT
from simulator.fleet.clocks import TOLERANCE_NS
from simulator.scenario.metrics import MEMORY
from simulator.scenario.values import NETWORK_FAULTS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from simulator.client.target import Target
    from simulator.contract.features import Feature
    from simulator.fleet.clocks import ClockBounds
    from simulator.scenario.values import Scenario

STALE_SECONDS = "WORKER_STATUS_STALE_SECONDS"
CERTIFICATE_SECONDS = 900.0
"""How long the contract lets a certificate live (§3). What a server was set to instead, its certificates show."""
MARKET_SETTINGS: Mapping[str, str | float] = {
    "PLATFORM_FEE_BASIS_POINTS": 0,
    "WALLET_DEV_CREDIT_USDT": 0,
    "WITHDRAWAL_ADDRESS_COOLDOWN_SECONDS": 86_400,
    "WITHDRAWALS_PER_HOUR": 10,
    "WITHDRAWAL_DAILY_LIMIT_USDT": 10_000,
    "WITHDRAWAL_DAILY_LIMIT_BTC": 1,
    "JOB_QUEUE_TIMEOUT_SECONDS": 3_600,
    "PRICE_CPU_HOUR": "0.010000",
    "PRICE_MEMORY_GB_HOUR": "0.001000",
    "PRICE_GPU_HOUR": "0.500000",
    "PAYOUT_SIMULATED_SECONDS": 1,
}
"""What the checkers of the market must know of a server, with the contract's defaults."""
UNSEEN_SETTINGS = frozenset(JUDGED_SETTINGS) - {STALE_SECONDS}
"""Those that no route shows."""


def with_settings(scenario: Scenario, settings: dict[str, str]) -> Scenario:
    """Return a scenario that assumes these settings of its server, over those that it says itself."""
    server = msgspec.structs.replace(scenario.server, settings={**scenario.server.settings, **settings})
    return msgspec.structs.replace(scenario, server=server)


def addresses_of(target: Target) -> str:
    """Return whether a target tells the addresses of a run apart, as far as that is known."""
    if not target.addresses_known:
        return UNKNOWN
    return APART if target.own_addresses else SHARED


def clock_facts(shown: ClockBounds | None) -> ClockFacts:
    """Return by which clock machines go: this machine's, or the target's own where that is surely another."""
    used_ns = shown.middle_ns if shown is not None and shown.surely_off_ns > TOLERANCE_NS else 0
    return ClockFacts(before=bounds_of(shown), used_ns=used_ns)


def bounds_of(shown: ClockBounds | None) -> tuple[int, int] | None:
    """Return a clock's bounds as checkers take them."""
    return None if shown is None else (shown.low_ns, shown.high_ns)


def settings_warnings(scenario: Scenario, stale_seconds: float | None, *, stale_is_stated: bool = False) -> list[str]:
    """Return by which settings a target is judged, where its own may be others.

    `stale_is_stated` where the scenario's staleness is not only assumed of a target that shows none.
    """
    wanted = {**JUDGED_SETTINGS, **scenario.server.settings}
    warnings = []
    wanted_seconds = float(wanted[STALE_SECONDS])
    if stale_seconds is None:
        judged = f"it is judged by {wanted_seconds:g}s" if stale_is_stated else "how many must be is not judged"
        warnings.append(f"the target does not show after how many seconds it calls workers stale: {judged}")
    if stale_seconds is not None and stale_seconds != wanted_seconds:
        warnings.append(
            f"the target calls workers stale after {stale_seconds:g}s, not after the scenario's {wanted_seconds:g}s: "
            "it is judged by its own, and thresholds on that alert may not fit",
        )
    unseen = {name: value for name, value in scenario.server.settings.items() if name in UNSEEN_SETTINGS}
    if unseen:
        shown = ", ".join(f"{name}={value}" for name, value in unseen.items())
        warnings.append(f"the target is judged as if started with {shown}: the API does not show them, so make sure")
    if MEMORY in scenario.judged_thresholds:
        warnings.append(f"{MEMORY} is not judged: only of a server that the run starts itself can it be seen")
    return warnings


def command_warnings(scenario: Scenario, stale_seconds: float | None) -> list[str]:
    """Return by which settings a scenario's command is judged, where it shows that it goes by others than it was given.

    `stale_seconds` is what it shows; None where it shows nothing, or is no command.
    """
    wanted_seconds = float({**JUDGED_SETTINGS, **scenario.server.settings}[STALE_SECONDS])
    if stale_seconds is None or stale_seconds == wanted_seconds:
        return []
    warning = (
        f"the command was given WORKER_STATUS_STALE_SECONDS={wanted_seconds:g} and calls workers stale after "
        f"{stale_seconds:g}s: it is judged by its own, but does it read any of its settings from its environment?"
    )
    return [warning]


def facts_of(
    scenario: Scenario,
    baseline: dict[str, float],
    stale_seconds: float | None,
    *,
    only_client: bool,
    clock: ClockFacts | None = None,
    lacks: frozenset[Feature] | None = None,
    addresses: str = APART,
    stated: Collection[str] = (),
    strict_settings: bool = False,
) -> Facts:
    """Return the facts: `stale_seconds` is what the target shows, None where it shows nothing.

    `lacks` is what it was found not to have, None where nobody looked. A target's settings are only assumed, apart from
    what it shows, unless they are strict; how stale is, is not even that, unless it is `stated` of the target.
    """
    sure = only_client or strict_settings
    unsure = () if sure else tuple(JUDGED_SETTINGS if stale_seconds is None else sorted(UNSEEN_SETTINGS))
    settings = {**JUDGED_SETTINGS, **scenario.server.settings}
    if stale_seconds is None and (sure or STALE_SECONDS in stated):
        stale_seconds = float(settings[STALE_SECONDS])
    defences = defences_of(scenario.server.environ())
    certificate_seconds = float(settings.get("MACHINE_CERT_TTL_SECONDS", CERTIFICATE_SECONDS))
    return Facts(
        stale_seconds=stale_seconds,
        auth_window_seconds=float(settings["WORKER_AUTH_FAIL_ALERT_WINDOW_SECONDS"]),
        auth_threshold=int(settings["WORKER_AUTH_FAIL_ALERT_THRESHOLD"]),
        baseline=baseline,
        rate_limit_refill_per_second=float(settings["RATE_LIMIT_REFILL_PER_SECOND"]),
        rate_limit_burst=int(settings["RATE_LIMIT_BURST"]),
        audit_events_per_stream=int(settings["AUDIT_EVENTS_PER_STREAM"]),
        only_client=only_client,
        clock=clock,
        # Whether a given target was set as the scenario says, nobody asked it.
        certificate_seconds=(certificate_seconds,) if only_client else (CERTIFICATE_SECONDS, certificate_seconds),
        durable=scenario.server.durable or scenario.server.instances > 1,
        instances=scenario.server.instances,
        lacks=None if lacks is None else tuple(sorted(lacks)),
        nonce_fallback=scenario.server.environ().get("REDIS_NONCE_FALLBACK") == "true",
        stands_on=stands_on(scenario) if clock is None else None,
        addresses=addresses,
        request_seconds=min(defences.header_seconds, defences.body_seconds)
        if not only_client or _is_delayed(scenario)
        else None,
        unsure_settings=unsure,
        market=market_facts(settings) if sure else None,
    )


def _is_delayed(scenario: Scenario) -> bool:
    """Return whether the run's own network stands between it and its server."""
    return any(fault.kind in NETWORK_FAULTS for fault in scenario.faults)


def market_facts(settings: Mapping[str, str | float]) -> MarketFacts:
    """Return how a market is set by settings, with the contract's default for each that is not among them."""
    values = {**MARKET_SETTINGS, **settings}

    def money(name: str, asset: str = USDT) -> int:
        return int(Decimal(str(values[name])).scaleb(DECIMALS[asset]))

    return MarketFacts(
        fee_basis_points=int(values["PLATFORM_FEE_BASIS_POINTS"]),
        dev_credit=money("WALLET_DEV_CREDIT_USDT"),
        cooldown_seconds=float(values["WITHDRAWAL_ADDRESS_COOLDOWN_SECONDS"]),
        withdrawals_per_hour=int(values["WITHDRAWALS_PER_HOUR"]),
        daily_limit_usdt=money("WITHDRAWAL_DAILY_LIMIT_USDT"),
        daily_limit_btc=money("WITHDRAWAL_DAILY_LIMIT_BTC", BTC),
        queue_timeout_seconds=float(values["JOB_QUEUE_TIMEOUT_SECONDS"]),
        price_cpu_hour=money("PRICE_CPU_HOUR"),
        price_memory_gb_hour=money("PRICE_MEMORY_GB_HOUR"),
        price_gpu_hour=money("PRICE_GPU_HOUR"),
        payout_seconds=float(values["PAYOUT_SIMULATED_SECONDS"]),
    )


def stands_on(scenario: Scenario) -> tuple[str, ...]:
    """Return what the run's own server needs besides itself, for lack of which it may refuse requests with 5xx."""
    server = scenario.server
    redis = server.redis or server.instances > 1 or bool(server.environ().get("REDIS_ADDR"))
    disk = server.durable or server.instances > 1 or bool(server.environ().get("HATCHFARM_STATE_FILE"))
    return (*(("redis",) if redis else ()), *(("disk",) if disk else ()))
