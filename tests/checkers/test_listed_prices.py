"""The page of prices: a right one is never accused, whatever is held of whatever is offered; one that is off is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_server.core.market.money import format_amount
from reference_server.core.market.prices import current_price, utilisation_text
from simulator.checkers.facts import MarketFacts
from simulator.checkers.market_listed import wrong_page
from simulator.contract.answers import Operation
from simulator.history.market_records import MarketExchange

MARKET = MarketFacts()
BASES = {
    "cpu-hour": MARKET.price_cpu_hour,
    "memory-gb-hour": MARKET.price_memory_gb_hour,
    "gpu-hour": MARKET.price_gpu_hour,
}


def page(*rows: Any) -> MarketExchange:
    read = Operation.PRICES_READ
    return MarketExchange("agent:a", read, 1, 2, 200, "", "", False, {}, {"prices": list(rows)})  # noqa: FBT003 - no key


def row(resource: str, price: int, utilisation: str) -> dict[str, str]:
    return {"resource": resource, "price": format_amount(price), "utilisation": utilisation}


@given(st.sampled_from(sorted(BASES)), st.integers(0, 10**12), st.integers(0, 10**12))
def test_what_a_right_server_lists_is_right(resource: str, held: int, offered: int) -> None:
    price = current_price(BASES[resource], held, offered)
    shown = row(resource, price, utilisation_text(held, offered))
    assert not [*wrong_page(page(shown), MARKET, None)]


@given(st.sampled_from(sorted(BASES)), st.integers(0, 10_000), st.sampled_from([-1, 1]))
def test_what_is_listed_off_its_utilisation_is_found(resource: str, held: int, way: int) -> None:
    base = BASES[resource]
    price = current_price(base, held, 10_000) + way * (base // 2_000 + 2)
    (finding,) = wrong_page(page(row(resource, price, utilisation_text(held, 10_000))), MARKET, None)
    assert finding.rule == "metering.listed"


@pytest.mark.parametrize(
    "listed",
    [None, [], [None], ["cpu-hour"], [{}], [{"resource": "disk-hour"}], [{"resource": ["cpu-hour"]}],
     [row("cpu-hour", 1, "")], [row("cpu-hour", 1, "0.5")], [row("cpu-hour", 1, "2.0000")],
     [row("cpu-hour", 1, "0.\u0661234")], [{**row("cpu-hour", 1, "0.5000"), "price": 1}]],
)  # fmt: skip
def test_what_cannot_be_read_is_for_others_to_judge(listed: Any) -> None:
    one = page()
    one.data["prices"] = listed
    assert not [*wrong_page(one, MARKET, None)]
