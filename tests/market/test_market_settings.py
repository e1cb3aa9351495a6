"""What an operator sets of the market, in the words of the environment, is what the market goes by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from reference_server.adapters.memory.clocks import LoopClock
from reference_server.adapters.memory.entropy import SeededEntropy
from reference_server.app import make_api
from reference_server.core.market.conditions import DAY_NS, Conditions, conditions_of
from reference_server.core.market.prices import BasePrices
from reference_server.ports import Payout, PayoutOutcome
from reference_server.settings import load_settings
from reference_server.wire.units import SECOND_NS

if TYPE_CHECKING:
    from trio.testing import MockClock


@pytest.mark.parametrize(
    ("variable", "value", "conditions"),
    [
        ("PRICE_CPU_HOUR", "0.25", Conditions(base_prices=BasePrices(cpu=250_000))),
        ("PRICE_MEMORY_GB_HOUR", "0.000001", Conditions(base_prices=BasePrices(memory=1))),
        ("PRICE_GPU_HOUR", "3", Conditions(base_prices=BasePrices(gpu=3_000_000))),
        ("JOB_QUEUE_TIMEOUT_SECONDS", "90", Conditions(queue_timeout_ns=90 * SECOND_NS)),
        ("PLATFORM_FEE_BASIS_POINTS", "250", Conditions(fee_basis_points=250)),
        ("WALLET_DEV_CREDIT_USDT", "10.5", Conditions(dev_credit=10_500_000)),
        ("WITHDRAWAL_ADDRESS_COOLDOWN_SECONDS", "86400", Conditions(cooldown_ns=DAY_NS)),
        ("WITHDRAWALS_PER_HOUR", "3", Conditions(withdrawals_per_hour=3)),
        ("WITHDRAWAL_DAILY_LIMIT_USDT", "0.5", Conditions(daily_limit_usdt=500_000)),
        ("WITHDRAWAL_DAILY_LIMIT_BTC", "0.00000001", Conditions(daily_limit_btc=1)),
        ("WORKER_STATUS_STALE_SECONDS", "30", Conditions(stale_ns=30 * SECOND_NS)),
    ],
)
def test_a_setting_is_one_condition_of_the_market(variable: str, value: str, conditions: Conditions) -> None:
    assert conditions_of(load_settings({variable: value})) == conditions
    assert conditions_of(load_settings({})) == Conditions()


async def test_payouts_are_settled_after_the_seconds_that_are_set(autojump_clock: MockClock) -> None:
    del autojump_clock
    environ = {
        "HATCHFARM_API_TOKEN": "a-token-for-tests",
        "PAYOUT_SIMULATED_SECONDS": "5",
        "WORKER_STATUS_STATE_FILE": "",
    }
    api = make_api(environ, SeededEntropy("payouts"), LoopClock())
    assert api.payouts is not None
    payout, outcomes = Payout("a", "BTC", 1, "x"), []
    for seconds in (0, 4, 1):
        await trio.sleep(seconds)
        outcomes.append(await api.payouts.pay_out(payout))
    assert outcomes == [PayoutOutcome.UNKNOWN, PayoutOutcome.UNKNOWN, PayoutOutcome.SETTLED]


@pytest.mark.parametrize(("share", "least", "most"), [("0", 0, 0), ("0.3", 200, 400), ("1", 1000, 1000)])
async def test_the_share_of_payouts_that_is_set_comes_to_nothing(
    autojump_clock: MockClock, share: str, least: int, most: int
) -> None:
    del autojump_clock
    environ = {
        "HATCHFARM_API_TOKEN": "a-token-for-tests",
        "PAYOUT_SIMULATED_SECONDS": "0",
        "PAYOUT_SIMULATED_FAILURES": share,
        "WORKER_STATUS_STATE_FILE": "",
    }
    asked = [Payout(f"wdr_{number:016x}", "BTC", 1, "x") for number in range(1000)]
    outcomes = []
    for _ in range(2):
        api = make_api(environ, SeededEntropy("payouts"), LoopClock())
        assert api.payouts is not None
        outcomes.append([await api.payouts.pay_out(payout) for payout in asked])
    assert least <= outcomes[0].count(PayoutOutcome.RETURNED) <= most
    assert outcomes[0] == outcomes[1]
