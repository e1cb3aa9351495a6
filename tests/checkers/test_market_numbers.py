"""Amounts and quantities as checkers read them: by their digits alone, whatever a server shows, and never an error."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_server.core.market.money import format_amount
from simulator.contract.pricing import BTC, DECIMALS, USDT, asked_units, millionths, units

WRONG: tuple[Any, ...] = (
    "1e9999999", "1E2", "1_000", " 1 ", "1\n", "NaN", "Infinity", "", "٣", "+1", ".5", "1.", "9" * 13,
    float("nan"), float("inf"), 1e12, -1e12, 10**400, 10**5_000, True, None, [], {},
)  # fmt: skip


@pytest.mark.parametrize("number", WRONG, ids=range(len(WRONG)))
def test_what_is_no_number_is_none(number: Any) -> None:
    assert millionths(number) is None


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.text("-0123456789.eE_ ")))
def test_nothing_that_is_shown_is_an_error(shown: Any) -> None:
    assert isinstance(millionths(shown), int | None)
    for asset in (USDT, BTC, "DOGE"):
        assert isinstance(units(shown, asset), int | None)
        assert isinstance(asked_units(shown, asset), int | None)


@given(st.integers(-(10**12) + 1, 10**12 - 1), st.integers(0, 10**18 - 1), st.integers(1, 18))
def test_decimal_strings_are_read_to_the_last_digit(whole: int, rest: int, places: int) -> None:
    text = f"{whole}.{str(rest).zfill(18)[:places]}"
    assert millionths(text) == int(Fraction(text) * 1_000_000)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (1, 1_000_000),
        (0.1, 100_000),
        (1e-7, 0),
        (-2.5, -2_500_000),
        (1e-300, 0),
        (999_999_999_999, 999_999_999_999 * 10**6),
    ],
)
def test_json_numbers_are_read(number: float, expected: int) -> None:
    assert millionths(number) == expected


@given(st.integers(-(10**27), 10**27), st.sampled_from([USDT, BTC]))
def test_amounts_are_read_as_they_are_written(amount: int, asset: str) -> None:
    text = format_amount(amount, asset)
    whole = text.lstrip("-").partition(".")[0]
    assert units(text, asset) == (amount if len(whole) <= 20 else None)


def test_amounts_of_more_digits_than_a_decimal_context_has_are_exact() -> None:
    assert units("99999999999999999999.123456") == 99999999999999999999123456
    assert units("99999999999999999999.12345678", BTC) == 9999999999999999999912345678
    assert asked_units("9" * 19 + ".00000001", BTC) == int("9" * 19 + "00000001")


def test_more_decimals_than_an_asset_has_are_no_amount_even_if_they_are_zero() -> None:
    for asset, places in DECIMALS.items():
        right = "1." + "0" * places
        assert (units(right, asset), units(right + "0", asset)) == (10**places, None)
        assert (asked_units(right, asset), asked_units(right + "0", asset)) == (10**places, None)
    assert units("9" * 20 + "." + "0" * 17 + "1") is None
    assert asked_units("0.000000", USDT) is None
