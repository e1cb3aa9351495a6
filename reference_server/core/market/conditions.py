"""The operator's settings of the market: prices, fees, waits and limits, with the contract's defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from reference_server.core.market.money import BTC, DECIMALS, USDT
from reference_server.core.market.prices import BasePrices
from reference_server.wire.units import SECOND_NS

if TYPE_CHECKING:
    from decimal import Decimal

    from reference_server.settings import Settings

HOUR_NS = 3_600 * SECOND_NS
DAY_NS = 24 * HOUR_NS


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """Money in units of its asset, waits in nanoseconds. Each field but `stale_ns` is one setting of the contract."""

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


def conditions_of(settings: Settings) -> Conditions:
    """Return the market's conditions from a server's settings."""
    return Conditions(
        base_prices=BasePrices(
            _units(settings.price_cpu_hour, USDT),
            _units(settings.price_memory_gb_hour, USDT),
            _units(settings.price_gpu_hour, USDT),
        ),
        stale_ns=settings.stale_seconds * SECOND_NS,
        queue_timeout_ns=settings.job_queue_timeout_seconds * SECOND_NS,
        fee_basis_points=settings.platform_fee_basis_points,
        dev_credit=_units(settings.wallet_dev_credit_usdt, USDT),
        cooldown_ns=settings.withdrawal_cooldown_seconds * SECOND_NS,
        withdrawals_per_hour=settings.withdrawals_per_hour,
        daily_limit_usdt=_units(settings.withdrawal_daily_limit_usdt, USDT),
        daily_limit_btc=_units(settings.withdrawal_daily_limit_btc, BTC),
    )


def _units(amount: Decimal, asset: str) -> int:
    """Return an amount in its asset's smallest units; settings have no more decimals than their asset."""
    return int(amount.scaleb(DECIMALS[asset]))
