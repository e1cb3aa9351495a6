"""Amounts are exact, refused as the contract says, and prices are what exact fractions say."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_server.core.market.money import (
    BTC,
    USDT,
    divide_half_up,
    format_amount,
    parse_amount,
    read_micro,
    read_price,
    shown_micro,
)
from reference_server.core.market.prices import current_price, highest_rate, hourly_rate, utilisation_text

UNITS = st.integers(1, (1 << 63) - 1)


@given(UNITS, st.sampled_from([USDT, BTC]))
def test_what_is_written_is_read_as_the_same(units: int, asset: str) -> None:
    assert parse_amount(format_amount(units, asset), asset) == units
    assert Decimal(format_amount(-units, asset)) == -Decimal(format_amount(units, asset))


@given(UNITS, st.sampled_from([USDT, BTC]))
def test_zeros_behind_that_are_not_written_change_nothing(units: int, asset: str) -> None:
    short = format_amount(units, asset).rstrip("0")
    assert parse_amount(short.removesuffix("."), asset) == units


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "0.0",
        "0.000000",
        "-1",
        "+1",
        "1e2",
        "1E2",
        "01",
        "00.1",
        ".5",
        "1.",
        "1.0000001",
        " 1",
        "1 ",
        "1\n",
        "1,0",
        "0x1",
        "\u0661",
        "1_000",
        "NaN",
        "Infinity",
        "1" * 20,
        "9223372036855",
        "\u00bd",
        "1.5.1",
    ],
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    assert parse_amount(text, USDT) is None


def test_an_asset_has_its_own_decimals() -> None:
    assert parse_amount("0.00000001", BTC) == 1
    assert parse_amount("0.000000001", BTC) is None
    assert parse_amount("0.000001", USDT) == 1
    assert format_amount(-1, BTC) == "-0.00000001"
    assert format_amount(0, USDT) == "0.000000"


@given(st.text(alphabet="0123456789.+-eE _", max_size=12))
def test_an_amount_is_what_its_decimal_says_or_refused(text: str) -> None:
    units = parse_amount(text, USDT)
    if units is not None:
        assert Decimal(text) * 1_000_000 == units > 0
        assert not set(text) & set("+-eE _")


@pytest.mark.parametrize(
    ("raw", "micro"),
    [
        ('"0.1"', 100_000),
        ("0.1", 100_000),
        ("0.000001", 1),
        ("1e-6", 1),
        ("1E+2", 100_000_000),
        ("1000000", 10**12),
        ("1e6", 10**12),
        ("0.30000000", 300_000),
        ("4.35", 4_350_000),
        ('"1000000.000000"', 10**12),
    ],
)
def test_a_maximum_price_is_read_as_decimal(raw: str, micro: int) -> None:
    assert read_price(raw.encode()) == micro


@pytest.mark.parametrize(
    "raw",
    [
        "0",
        "0.0",
        "-1",
        "0.0000001",
        "1e-7",
        "1000000.000001",
        "1e999999999",
        "1e-999999999",
        "9e999999999999999999",
        "null",
        "true",
        "[]",
        "{}",
        '""',
        '"1e2"',
        '"-1"',
        '"0"',
        '"1000000.000001"',
        "0.1" + "0" * 60,
        "1.0000001",
    ],
)
def test_what_is_no_maximum_price_is_refused(raw: str) -> None:
    assert read_price(raw.encode()) is None


@given(st.integers(1, 10**12))
def test_a_number_means_as_much_as_a_text(micro: int) -> None:
    """Also where a float is not exact."""
    text = format_amount(micro)
    assert read_price(text.encode()) == read_price(json.dumps(text).encode()) == micro


@given(st.decimals(0, 2_000, allow_nan=False, places=8))
def test_quantities_are_rounded_up_for_needs_and_down_for_offers(value: Decimal) -> None:
    raw = f"{value:f}".encode()
    down, up = read_micro(raw, 1_024, up=False), read_micro(raw, 1_024, up=True)
    if not 0 < value <= 1_024:
        assert down is up is None
        return
    exact = value * 1_000_000
    assert (down or 0) <= exact <= (up or 0)
    assert (up or 0) - (down or 0) <= 1


@given(st.integers(1, 1_024_000_000))
def test_a_quantity_is_shown_as_it_was_sent(micro: int) -> None:
    assert read_micro(json.dumps(shown_micro(micro)).encode(), 1_024, up=False) == micro


def nearest(value: Fraction) -> int:
    return floor(value + Fraction(1, 2))


@given(st.integers(0, 10**9), st.integers(0, 10**12), st.integers(0, 10**12))
def test_a_price_follows_its_utilisation(base: int, held: int, offered: int) -> None:
    use = min(Fraction(1), Fraction(held, offered)) if offered else Fraction(1)
    factor = Fraction(1, 2) + use if use <= Fraction(1, 2) else 2 * use
    assert current_price(base, held, offered) == nearest(base * factor)
    assert Fraction(utilisation_text(held, offered)) == Fraction(nearest(use * 10_000), 10_000)
    assert len(utilisation_text(held, offered)) == 6


@pytest.mark.parametrize(
    ("held", "offered", "price", "use"),
    [
        (0, 8, 5_000, "0.0000"),
        (4, 8, 10_000, "0.5000"),
        (8, 8, 20_000, "1.0000"),
        (0, 0, 20_000, "1.0000"),
        (2, 8, 7_500, "0.2500"),
        (6, 8, 15_000, "0.7500"),
        (1, 3, 8_333, "0.3333"),
        (2, 3, 13_333, "0.6667"),
    ],
)
def test_prices_of_the_contract(held: int, offered: int, price: int, use: str) -> None:
    assert current_price(10_000, held, offered) == price
    assert utilisation_text(held, offered) == use


@given(st.integers(0, 10**10), st.integers(0, 10**11), st.integers(0, 10**8), st.integers(0, 10**7))
def test_a_rate_is_rounded_once(cpu: int, memory: int, gpus: int, price: int) -> None:
    exact = Fraction(cpu * price + memory * (price + 1), 1_000_000) + gpus
    assert hourly_rate(cpu, memory, gpus, price, price + 1) == nearest(exact)


@given(st.integers(1, 10**12), st.integers(1, 10_080))
def test_the_highest_rate_is_the_last_within_the_maximum(maximum: int, minutes: int) -> None:
    rate = highest_rate(maximum, minutes)
    assert Fraction(rate * minutes, 60) <= maximum < Fraction((rate + 1) * minutes, 60)


@given(st.integers(0, 10**18), st.integers(1, 10**9))
def test_halves_go_up(numerator: int, denominator: int) -> None:
    assert divide_half_up(numerator, denominator) == nearest(Fraction(numerator, denominator))
