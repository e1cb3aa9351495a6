"""The ingredients of drawn scenarios: attacks, settings, habits of a fleet and faults, by the name coverage counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.attacks import CATALOGUE
from simulator.attacks.script import ScriptAttack

if TYPE_CHECKING:
    from collections.abc import Mapping

SettingChoices = tuple[str | int | float | bool, ...]

EXPIRES = "certificate.expired"
LASTING_CERTIFICATES = 30
"""Seconds: the one choice below that leaves time for attacks which need a certificate that does not expire soon."""
BURST = 18
"""Below the default, and above the requests that scripts send from one address at once: less would refuse some."""
SETTINGS: Mapping[str, SettingChoices] = {
    "WORKER_STATUS_STALE_SECONDS": (2, 3, 4, 8, 20),
    "WORKER_AUTH_FAIL_ALERT_WINDOW_SECONDS": (3, 5, 10, 60),
    "WORKER_AUTH_FAIL_ALERT_THRESHOLD": (1, 2, 5, 20),
    "MACHINE_CERT_TTL_SECONDS": (4, 6, 10, LASTING_CERTIFICATES),
    "RATE_LIMIT_BURST": (BURST, 40),
    "RATE_LIMIT_REFILL_PER_SECOND": (6.0, 20.0),
    "AUDIT_EVENTS_PER_STREAM": (20, 50, 200),
    "HTTP_IDLE_TIMEOUT_SECONDS": (3.0, 8.0),
    "METRICS_PUBLIC": (True,),
}
"""Settings of any server, with values at which something happens within seconds."""
COOLDOWN, FAILURES = "WITHDRAWAL_ADDRESS_COOLDOWN_SECONDS", "PAYOUT_SIMULATED_FAILURES"
MARKET_SETTINGS: Mapping[str, SettingChoices] = {
    "PLATFORM_FEE_BASIS_POINTS": (1, 250, 10_000),
    COOLDOWN: (0, 5, 20),
    "WITHDRAWALS_PER_HOUR": (1, 2, 3),
    "WITHDRAWAL_DAILY_LIMIT_USDT": (0.05, 1),
    "JOB_QUEUE_TIMEOUT_SECONDS": (5, 30),
    "PAYOUT_SIMULATED_SECONDS": (0.2, 5.0, 30.0),
    FAILURES: (0.3, 1.0),
    "FORUM_POSTS_PER_HOUR": (2,),
    "PRICE_CPU_HOUR": ("0.5", "6"),
}
"""Settings that matter only in a market."""
CREDIT = "WALLET_DEV_CREDIT_USDT"
CREDITS = (1, 10, 100)
MARKET_DEFAULTS: Mapping[str, SettingChoices] = {CREDIT: CREDITS, COOLDOWN: (0, 0, 5), FAILURES: (0, 0.3)}
"""Settings of a market for which none were drawn: with the default cooldown of a day no money would leave it, and
without credit nothing would happen."""
MONEY: Mapping[str, SettingChoices] = {CREDIT: (10, 100)}
GOES_WITH: Mapping[str, Mapping[str, SettingChoices]] = {
    EXPIRES: {"MACHINE_CERT_TTL_SECONDS": (4, 6)},
    **{key: {"RATE_LIMIT_BURST": (BURST,)} for key in ("limit.burst", "limit.spoofed-ip", "limit.window-edge")},
    **dict.fromkeys(("wallet.double-spend", "wallet.idempotency", "wallet.amounts", "wallet.address"), MONEY),
    **dict.fromkeys(("job.inflate", "job.foreign", "job.bodies"), MONEY),
    "wallet.velocity": {**MONEY, "WITHDRAWALS_PER_HOUR": (1, 3)},
    "wallet.cooldown": {**MONEY, "WITHDRAWAL_ADDRESS_COOLDOWN_SECONDS": (2, 20)},
}
"""Settings without which an attack would prove nothing in so short a time, or with agents that have no money."""
STALE_DEFAULT = 20
"""The stale threshold, in seconds, if none was drawn: few workers become stale by chance."""
ALERT_DEFAULTS = (1, 2, 3)
"""Auth failures that turn the alert on, in turn by seed: so few that a single attack exceeds them."""
TOO_LONG = frozenset({
    "audit.evict", "job.hoard", "nonce.flood", "policy-fetch.bogus", "http.slowloris", "http.slow-body",
    "http.slow-read",
    *(f"strain.{name}" for name in ("audit-turn", "bodies", "connects", "flood", "headers", "slow-read")),
})  # fmt: skip
"""Attacks of which one attempt sends so much, or takes so long, that ten other scenarios fit into its time."""


def attacks_drawn() -> tuple[str, ...]:
    """Return the names of the attacks that can be played in virtual time with nothing but the server itself."""
    return tuple(name for name, attack in CATALOGUE.items() if name not in TOO_LONG and _stands_alone(attack))


def attacks_on_targets() -> tuple[str, ...]:
    """Return the names of the `attacks_drawn` that prove something within seconds, whatever the server's settings."""
    return tuple(name for name in attacks_drawn() if name not in GOES_WITH)


def _stands_alone(attack: type) -> bool:
    if not issubclass(attack, ScriptAttack):
        return True
    return attack.sandbox is None and not (attack.needs_settings or attack.needs_identity or attack.needs_http2)


MARKET = "market"
HABITS = ("stages", "silence", "clock.offset", "clock.drift", "clock.step", "rotation", "jitter", "scrapes", MARKET)
"""Habits of a fleet, in addition to sending heartbeats."""
HABITS_ON_TARGETS = tuple(habit for habit in HABITS if habit != MARKET)
"""Habits of a fleet on an existing deployment, where it is not known whether jobs may be posted and money spent."""

MEMORY, INSTANCES = "memory", "instances"
DEPLOYMENTS = ("durable", "redis", INSTANCES)
"""Kinds of deployments other than a server in memory."""
MISHAPS: Mapping[str, tuple[str, ...]] = {
    MEMORY: ("server.kill", "server.restart", "server.pause"),
    "durable": ("server.kill", "server.restart", "server.pause", "disk.full"),
    "redis": ("server.kill", "server.pause", "redis.down", "redis.pause", "redis.flush", "redis.crash"),
    INSTANCES: (
        "server.kill", "server.restart", "server.pause", "redis.down", "redis.pause", "redis.flush", "redis.crash"
    ),
}  # fmt: skip
"""The faults that may happen to each kind of deployment."""

FORGETTING = ("redis.flush", "redis.crash")
"""Faults after which heartbeats are refused for longer than a run lasts: they come last."""

OF_MONEY = ("wallet.", "job.")
"""Prefixes of the names of attacks on a market: in a scenario with a market they are drawn before all others."""
