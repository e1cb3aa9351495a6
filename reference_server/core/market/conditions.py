"""What the operator sets of the market: prices, fees, waits and limits, each with the contract's default."""

from __future__ import annotations

import msgspec

from reference_server.core.market.prices import BasePrices
from reference_server.wire.units import SECOND_NS

HOUR_NS = 3_600 * SECOND_NS
DAY_NS = 24 * HOUR_NS


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """Money in units of its asset, waits in nanoseconds. Each is one setting of the contract, but `stale_ns`."""

    base_prices: BasePrices = BasePrices()
    stale_ns: int = 60 * SECOND_NS
    """`WORKER_STATUS_STALE_SECONDS`: silence after which a machine offers nothing, and is not billed for."""
    queue_timeout_ns: int = HOUR_NS
    fee_basis_points: int = 0
    dev_credit: int = 0
    cooldown_ns: int = DAY_NS
    withdrawals_per_hour: int = 10
    daily_limit_usdt: int = 10_000 * 1_000_000
    daily_limit_btc: int = 100_000_000
    posts_per_hour: int = 30
