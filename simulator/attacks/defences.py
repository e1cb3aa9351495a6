"""A target's limits and lifetimes, for attacks that go up to a limit or wait for an end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping


class Defences(msgspec.Struct, frozen=True):
    """The target's limits and lifetimes by its known settings, or else the contract's defaults (§6)."""

    burst: int = 20
    refill_per_second: float = 5.0
    header_seconds: float = 10.0
    body_seconds: float = 30.0
    withdrawals_per_hour: int = 10
    withdrawal_daily_usdt: str = "10000"
    stale_seconds: float = 60.0
    certificate_seconds: float = 900.0
    posts_per_hour: int = 30

    def allows(self, length_ns: int) -> int:
        """Return the most requests of one client that a correct server lets through within `length_ns`.

        That is one more than the token bucket holds and gains, because two clocks may differ.
        """
        return self.burst + int(self.refill_per_second * length_ns / 1e9) + 1


def defences_of(settings: Mapping[str, str | float]) -> Defences:
    """Return the limits and lifetimes from settings by variable name."""
    contract = Defences()
    return Defences(
        int(settings.get("RATE_LIMIT_BURST", contract.burst)),
        float(settings.get("RATE_LIMIT_REFILL_PER_SECOND", contract.refill_per_second)),
        float(settings.get("HTTP_HEADER_TIMEOUT_SECONDS", contract.header_seconds)),
        float(settings.get("HTTP_BODY_TIMEOUT_SECONDS", contract.body_seconds)),
        int(settings.get("WITHDRAWALS_PER_HOUR", contract.withdrawals_per_hour)),
        str(settings.get("WITHDRAWAL_DAILY_LIMIT_USDT", contract.withdrawal_daily_usdt)),
        float(settings.get("WORKER_STATUS_STALE_SECONDS", contract.stale_seconds)),
        float(settings.get("MACHINE_CERT_TTL_SECONDS", contract.certificate_seconds)),
        int(settings.get("FORUM_POSTS_PER_HOUR", contract.posts_per_hour)),
    )
