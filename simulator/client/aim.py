"""What a user says of a target beside its URL and token: how it is reached, and what is known of how it was set up."""

from __future__ import annotations

import msgspec

from simulator.client.access import Access

JUDGED_SETTINGS = {
    "WORKER_STATUS_STALE_SECONDS": 60,
    "WORKER_AUTH_FAIL_ALERT_WINDOW_SECONDS": 300,
    "WORKER_AUTH_FAIL_ALERT_THRESHOLD": 10,
    "RATE_LIMIT_REFILL_PER_SECOND": 5,
    "RATE_LIMIT_BURST": 20,
    "AUDIT_EVENTS_PER_STREAM": 5000,
}
"""The settings that checkers must know, with the contract's defaults."""
PLAYED_SETTINGS = (
    "HTTP_HEADER_TIMEOUT_SECONDS",
    "HTTP_BODY_TIMEOUT_SECONDS",
    "WITHDRAWALS_PER_HOUR",
    "WITHDRAWAL_DAILY_LIMIT_USDT",
)
"""The settings that attacks must know besides."""
OWN, SHARED = "own", "shared"


class Aim(msgspec.Struct, frozen=True):
    """What is said of a target.

    `addresses` is `shared` where its server sees the whole fleet at one, `own` where it tells machines apart, and empty
    where that is to be found out. `settings` are the server's, over those that the scenario assumes;
    `strict_settings` takes them for certain, whatever the target shows. `options` are the flags that said all this,
    without secrets.
    """

    access: Access = Access()
    addresses: str = ""
    settings: dict[str, str] = {}
    strict_settings: bool = False
    options: tuple[str, ...] = ()
