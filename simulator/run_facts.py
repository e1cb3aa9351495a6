"""What checkers must know of a run besides its history: by which settings and by which clock the target went."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.checkers.facts import ClockFacts, Facts
from simulator.fleet.clocks import TOLERANCE_NS
from simulator.scenario.thresholds import MEMORY

if TYPE_CHECKING:
    from simulator.features import Feature
    from simulator.fleet.clocks import ClockBounds
    from simulator.scenario.values import Scenario

DEFAULTS = {
    "WORKER_STATUS_STALE_SECONDS": 60,
    "WORKER_AUTH_FAIL_ALERT_WINDOW_SECONDS": 300,
    "WORKER_AUTH_FAIL_ALERT_THRESHOLD": 10,
    "RATE_LIMIT_REFILL_PER_SECOND": 5,
    "RATE_LIMIT_BURST": 20,
    "AUDIT_EVENTS_PER_STREAM": 5000,
}
"""The contract's defaults of the settings that checkers must know; a scenario's `[server.settings]` overrides them."""
CERTIFICATE_SECONDS = 900.0
"""How long the contract lets a certificate live (§3). What a server was set to instead, its certificates show."""
UNSEEN_SETTINGS = frozenset(DEFAULTS) - {"WORKER_STATUS_STALE_SECONDS"}
"""Those that no route shows."""


def clock_facts(shown: ClockBounds | None) -> ClockFacts:
    """Say by which clock machines go: this machine's, or the target's own where that is surely another."""
    used_ns = shown.middle_ns if shown is not None and shown.surely_off_ns > TOLERANCE_NS else 0
    return ClockFacts(before=bounds_of(shown), used_ns=used_ns)


def bounds_of(shown: ClockBounds | None) -> tuple[int, int] | None:
    """Give a clock's bounds as checkers take them."""
    return None if shown is None else (shown.low_ns, shown.high_ns)


def settings_warnings(scenario: Scenario, stale_seconds: float | None) -> list[str]:
    """Say by which settings a target is judged, where its own may be others."""
    wanted = {**DEFAULTS, **scenario.server.settings}
    warnings = []
    wanted_seconds = float(wanted["WORKER_STATUS_STALE_SECONDS"])
    if stale_seconds is None:
        warnings.append(
            "the target does not show after how many seconds it calls workers stale: how many must be is not judged"
        )
    if stale_seconds is not None and stale_seconds != wanted_seconds:
        warnings.append(
            f"the target calls workers stale after {stale_seconds:g}s, not after the scenario's {wanted_seconds:g}s: "
            "it is judged by its own, and thresholds on that alert may not fit",
        )
    unseen = {name: value for name, value in scenario.server.settings.items() if name in UNSEEN_SETTINGS}
    if unseen:
        shown = ", ".join(f"{name}={value}" for name, value in unseen.items())
        warnings.append(f"the target is judged as if started with {shown}: the API does not show them, so make sure")
    if MEMORY in scenario.thresholds:
        warnings.append(f"{MEMORY} is not judged: only of a server that the run starts itself can it be seen")
    return warnings


def command_warnings(scenario: Scenario, stale_seconds: float | None) -> list[str]:
    """Say by which settings a scenario's command is judged, where it shows that it does not go by those it was given.

    `stale_seconds` is what it shows; None where it shows nothing, or is no command.
    """
    wanted_seconds = float({**DEFAULTS, **scenario.server.settings}["WORKER_STATUS_STALE_SECONDS"])
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
) -> Facts:
    """Give the facts: `stale_seconds` is what the target shows, which only of a server of the run's own is known else.

    `lacks` is what it was found not to have, None where nobody looked.
    """
    settings = {**DEFAULTS, **scenario.server.settings}
    if stale_seconds is None and only_client:
        stale_seconds = float(settings["WORKER_STATUS_STALE_SECONDS"])
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
    )


def stands_on(scenario: Scenario) -> tuple[str, ...]:
    """Return what the run's own server needs besides itself, for lack of which it may refuse requests with 5xx."""
    server = scenario.server
    redis = server.redis or server.instances > 1 or bool(server.environ().get("REDIS_ADDR"))
    disk = server.durable or server.instances > 1 or bool(server.environ().get("HATCHFARM_STATE_FILE"))
    return (*(("redis",) if redis else ()), *(("disk",) if disk else ()))
