"""What a setting is: one row for each environment variable, and how its text is read (contract §11)."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

NUMBER_MAX_CHARACTERS = 40
"""Of a whole number; to read one takes time with the square of its length."""
_AMOUNT = re.compile(r"[0-9]{1,12}(?:\.([0-9]{1,18}))?")


class Setting(msgspec.Struct, frozen=True):
    """One environment variable: how it is read, what is allowed, and what it is for."""

    variable: str
    field: str
    parse: Callable[[str], Any]
    allowed: str
    purpose: str
    may_be_empty: bool = False
    may_hold_a_secret: bool = False
    """Its value is shown in no message: it is one, or people put one into it by mistake."""
    shape: dict[str, Any] = {}
    """What of its values a JSON Schema can say, for editors; nothing for any text."""


def any_text(text: str) -> str:
    """Read any text."""
    return text


def boolean(text: str) -> bool:
    """Read yes or no."""
    return {"true": True, "1": True, "false": False, "0": False}[text.lower()]


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """Read a whole number within bounds."""

    def parse(text: str) -> int:
        if len(text) > NUMBER_MAX_CHARACTERS or not (text.isascii() and text.isdigit()):  # int() also reads `1_0`
            raise ValueError
        number = int(text)
        if not low <= number <= high:
            raise ValueError
        return number

    return parse


def real_number(low: float, high: float) -> Callable[[str], float]:
    """Read a finite number within bounds."""

    def parse(text: str) -> float:
        number = float(text) if text.isascii() and "_" not in text else math.nan
        if not (math.isfinite(number) and low <= number <= high):
            raise ValueError
        return number

    return parse


def whole(variable: str, field: str, low: int, high: int, purpose: str) -> Setting:
    """Return a setting that is a whole number."""
    allowed = f"a whole number from {low} to {high}"
    shape = {"type": ["integer", "string"], "minimum": low, "maximum": high, "pattern": "^[0-9]+$"}
    return Setting(variable, field, whole_number(low, high), allowed, purpose, shape=shape)


def real(variable: str, field: str, low: float, high: float, purpose: str) -> Setting:
    """Return a setting that is a number."""
    shape = {"type": ["number", "string"], "minimum": low, "maximum": high, "pattern": "^[0-9]"}
    return Setting(variable, field, real_number(low, high), f"a number from {low:g} to {high:g}", purpose, shape=shape)


def flag(variable: str, field: str, purpose: str) -> Setting:
    """Return a setting that is on or off."""
    shape = {"enum": [True, False, "true", "false", 1, 0, "1", "0"]}
    return Setting(variable, field, boolean, "true or false", purpose, shape=shape)


def amount(variable: str, field: str, decimals: int, most: int, purpose: str) -> Setting:
    """Return a setting that is an amount of money, exact."""

    def parse(text: str) -> Decimal:
        match = _AMOUNT.fullmatch(text)
        if match is None or len(match[1] or "") > decimals or not Decimal(text) <= most:
            raise ValueError
        return Decimal(text)

    allowed = f"an amount from 0 to {most} with at most {decimals} decimals"
    shape = {"type": ["number", "string"], "minimum": 0, "maximum": most, "pattern": "^[0-9]"}
    return Setting(variable, field, parse, allowed, purpose, shape=shape)
