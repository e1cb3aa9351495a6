"""Amounts of money: whole micro-USDT and satoshis inside, decimal strings outside (contract: Wallet, Jobs)."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

import msgspec

from reference_server.limits import AMOUNT_UNITS_MAX, JOB_PRICE_MAX_MICRO, JSON_NUMBER_MAX_CHARACTERS

USDT, BTC = "USDT-TRC20", "BTC"
ASSETS = (USDT, BTC)
DECIMALS = {USDT: 6, BTC: 8}
"""Decimals of each asset: one unit is 10 to the minus that."""
MICRO = 1_000_000
"""Micro-USDT of one USDT, and likewise of cores and gigabytes."""
_MILLIONTH = Decimal("0.000001")
_AMOUNT = re.compile(r"(0|[1-9][0-9]{0,18})(?:\.([0-9]{1,18}))?")


def divide_half_up(numerator: int, denominator: int) -> int:
    """Divide and round to the nearest whole number, halves up; both are not negative."""
    return (2 * numerator + denominator) // (2 * denominator)


def parse_amount(text: str, asset: str) -> int | None:
    """Return an amount's units, or None where the contract refuses it.

    A decimal string above zero without sign, exponent or needless zeros in front, with no more decimals than the asset
    has; `.5` and `1.` are refused.
    """
    match = _AMOUNT.fullmatch(text)
    if match is None:
        return None
    whole, fraction = match[1], match[2] or ""
    decimals = DECIMALS[asset]
    if len(fraction) > decimals:
        return None
    units = int(whole + fraction.ljust(decimals, "0"))
    return units if 0 < units <= AMOUNT_UNITS_MAX else None


def format_amount(units: int, asset: str = USDT) -> str:
    """Write units as a decimal string with all decimals of the asset; negative ones with a minus sign."""
    decimals = DECIMALS[asset]
    whole, fraction = divmod(abs(units), 10**decimals)
    return f"{'-' if units < 0 else ''}{whole}.{fraction:0{decimals}d}"


def read_decimal(raw: bytes) -> Decimal | None:
    """Return the exact value of a JSON number as it was sent, never through a float; None for anything else.

    Numbers of more characters than anything here needs are refused, so that exact arithmetic stays cheap.
    """
    if not 0 < len(raw) <= JSON_NUMBER_MAX_CHARACTERS or not (raw[:1].isdigit() or raw[:1] == b"-"):
        return None
    try:
        return Decimal(raw.decode())
    except (InvalidOperation, ValueError):
        return None


def read_micro(raw: bytes, most: int, *, up: bool, least: int = 0) -> int | None:
    """Return a JSON number above zero and not above `most` in millionths; None for anything else.

    What is finer than a millionth is rounded: `up` for what is needed, down for what there is. It is not below `least`
    millionths as it was sent, before it is rounded.
    """
    value = read_decimal(raw)
    if value is None or not 0 < value <= most:
        return None
    if value < _MILLIONTH:
        return 1 if up and not least else None
    numerator, denominator = value.as_integer_ratio()
    down, rest = divmod(numerator * MICRO, denominator)
    if down < least:
        return None
    return down + 1 if up and rest else down


def read_price(raw: bytes) -> int | None:
    """Return a job's maximum price in micro-USDT, from a decimal string or a JSON number of at most 6 decimals.

    None unless it is above zero and at most a million USDT.
    """
    if raw[:1] == b'"':
        units = parse_amount(msgspec.json.decode(raw, type=str), USDT)
    else:
        value = read_decimal(raw)
        if value is None or not _MILLIONTH <= value <= JOB_PRICE_MAX_MICRO // MICRO:
            return None
        numerator, denominator = value.as_integer_ratio()
        units, rest = divmod(numerator * MICRO, denominator)
        if rest:
            return None
    return units if units is not None and 0 < units <= JOB_PRICE_MAX_MICRO else None


def shown_micro(micro: int) -> int | float:
    """Return millionths as the JSON number that says exactly as much: whole where it is whole."""
    whole, rest = divmod(micro, MICRO)
    return micro / MICRO if rest else whole
