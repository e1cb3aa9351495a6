"""What is wrong with a scenario's market, and what of it has no effect, named with its place."""

from __future__ import annotations

import pytest

from simulator.fleet.work import Manner
from simulator.scenario.kinds import micro_of
from simulator.scenario.loading import ScenarioError, parse_scenario
from simulator.scenario.market_values import MarketOptions, OfferOptions
from simulator.scenario.remarks import remarks

HEAD = """\
version = 1
name = "market"
duration = "2m"
[fleet]
machines = 20
"""
MONEY = "[server.settings]\nWALLET_DEV_CREDIT_USDT = 5\nWITHDRAWAL_ADDRESS_COOLDOWN_SECONDS = 1\n"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("[market.offer]\nforeign = 0.6\nabandons = 0.6", "market.offer: the shares of machines that do wrong"),
        ('[market.offer]\nabandons = 0.1\nabandoned_for = "0s"', "market.offer.abandoned_for: must be longer"),
        ('[market]\nmax_price_usdt = "1,5"', "market.max_price_usdt: "),
        ("[market]\nminutes = [0]", "market.minutes"),
        ("[market]\nagents = 501", "market.agents"),
        ('[thresholds]\n"jobs.finished" = ["count>1"]', 'thresholds."jobs.finished": the run has no market'),
        (
            '[market]\nagents = 1\n[[faults]]\nkind = "server.kill"\nat = "1s"',
            "market: after server.kill the server knows no agent any more",
        ),
    ],
)
def test_a_market_that_makes_no_sense_is_refused_with_its_place(more: str, says: str) -> None:
    with pytest.raises(ScenarioError) as refusal:
        parse_scenario(f"{HEAD}{more}\n")
    assert says in str(refusal.value)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("[market]\n", "market: machines offer what nobody asks for"),
        ("[market]\nagents = 2\n", "market: agents have no money"),
        (f"{MONEY}[market]\nagents = 2\nminutes = [3]\n", "market.minutes: the run ends before any job"),
        (f"{MONEY.replace('= 1', '= 120')}[market]\nagents = 2\n", "market.withdrawals_per_minute: no address"),
        (f"{MONEY}[market]\nagents = 2\n[market.offer]\nforeign = 0.001\n", "market.offer.foreign: nobody"),
        ('[[load]]\nuser = "agent-market"\nstages = [{ duration = "1s", target = 1 }]\n', "load: no machine offers"),
    ],
)
def test_what_has_no_effect_is_remarked(more: str, says: str) -> None:
    text = f"{HEAD}{more}"
    assert [one.what for one in remarks(parse_scenario(text), text.encode()) if says in one.what]


def test_a_market_that_is_right_is_not_remarked_on() -> None:
    text = f"{HEAD}{MONEY}[market]\nagents = 2\n[market.offer]\nforeign = 0.1\n"
    assert remarks(parse_scenario(text), text.encode()) == []


def test_options_arrive_as_habits_in_their_units() -> None:
    assert [micro_of(one) for one in ("0", "1", "0.5", "12.000001", "999999.999999")] == [
        0, 1_000_000, 500_000, 12_000_001, 999_999_999_999,
    ]  # fmt: skip
    habits = MarketOptions(max_price_usdt="0.25", withdrawal_usdt="2").habits()
    assert (habits.max_price_micro, habits.withdrawal_micro) == (250_000, 2_000_000)
    offer = OfferOptions(gpus=0, claims_more=0.1, foreign=0.2, abandons=0.3)
    assert offer.habits().capacity == {"cpu_cores": 8.0, "memory_gb": 32.0, "gpus": []}
    assert offer.wrong() == {Manner.CLAIMS_MORE: 0.1, Manner.FOREIGN: 0.2, Manner.ABANDONS: 0.3}
