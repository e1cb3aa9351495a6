"""Checkers know a market's settings where the run knows them, with the defaults that the contract gives."""

from __future__ import annotations

from reference_server.core.market.conditions import conditions_of
from reference_server.settings import Settings
from reference_server.wire.units import SECOND_NS
from simulator.checkers.facts import MarketFacts
from simulator.judging.facts import market_facts


def test_defaults_are_those_of_the_server() -> None:
    settings = Settings()
    conditions = conditions_of(settings)
    prices = conditions.base_prices
    assert (
        market_facts({})
        == MarketFacts()
        == MarketFacts(
            fee_basis_points=conditions.fee_basis_points,
            dev_credit=conditions.dev_credit,
            cooldown_seconds=conditions.cooldown_ns / SECOND_NS,
            withdrawals_per_hour=conditions.withdrawals_per_hour,
            daily_limit_usdt=conditions.daily_limit_usdt,
            daily_limit_btc=conditions.daily_limit_btc,
            queue_timeout_seconds=conditions.queue_timeout_ns / SECOND_NS,
            price_cpu_hour=prices.cpu,
            price_memory_gb_hour=prices.memory,
            price_gpu_hour=prices.gpu,
            payout_seconds=settings.payout_simulated_seconds,
        )
    )


def test_what_is_set_is_read_exactly() -> None:
    found = market_facts(
        {"WALLET_DEV_CREDIT_USDT": "0.100001", "WITHDRAWAL_DAILY_LIMIT_BTC": 0.1, "PLATFORM_FEE_BASIS_POINTS": "250"}
    )
    assert (found.dev_credit, found.daily_limit_btc, found.fee_basis_points) == (100_001, 10_000_000, 250)
