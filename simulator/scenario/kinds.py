"""The kinds of values that a scenario's tables are made of: lengths of time, shares, amounts, and a table itself."""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator import limits

_UNITS_NS = {
    "d": 86_400 * SECOND_NS, "h": 3600 * SECOND_NS, "m": 60 * SECOND_NS, "s": SECOND_NS, "ms": MILLISECOND_NS,
}  # fmt: skip
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
DURATION_PATTERN = "(?=[0-9])" + "".join(rf"(?:{_NUMBER}{unit}{'(?!s)' if unit == 'm' else ''})?" for unit in _UNITS_NS)
"""A duration: numbers with their units, the longest unit first and each at most once."""
_DURATION = re.compile(DURATION_PATTERN)  # backtracking: each number is tried once for each of five units
_PART = re.compile(f"({_NUMBER})(ms|[dhms])")  # backtracking: of what is a duration, so that each number has a unit
_OFFSET = re.compile(r"([+-]?)(.+)")


class Duration(int):
    """A length of time in nanoseconds, written like `250ms`, `30s`, `1m30s`, `2h`, `1d`."""


class Offset(int):
    """A signed length of time in nanoseconds, written like `+120s` or `-2m`."""


def parse_duration(text: str) -> Duration:
    """Read a duration. Raises ValueError, saying how one is written."""
    if _DURATION.fullmatch(text) is None:
        raise ValueError(f"{text!r} is no duration: write it like '250ms', '30s', '1m30s' or '2h'")
    length_ns = sum(float(number) * _UNITS_NS[unit] for number, unit in _PART.findall(text))
    if length_ns > limits.DURATION_MAX_SECONDS * SECOND_NS:
        raise ValueError(f"{text!r} is longer than a week")
    return Duration(round(length_ns))


def parse_offset(text: str) -> Offset:
    """Read a signed duration. Raises ValueError, saying how one is written."""
    match = _OFFSET.fullmatch(text)
    sign, rest = (match[1], match[2]) if match else ("", text)
    return Offset(-parse_duration(rest) if sign == "-" else parse_duration(rest))


def decode_value(kind: type, value: Any) -> Any:
    """Decode the types msgspec does not know."""
    if kind in (Duration, Offset):
        if not isinstance(value, str):
            raise ValueError("a duration is text and has a unit, like '30s'")
        return parse_duration(value) if kind is Duration else parse_offset(value)
    raise NotImplementedError(kind)


Share = Annotated[float, Meta(ge=0, le=1, description="A share from 0 to 1.")]

Money = Annotated[
    str,
    Meta(
        pattern=r"^(0|[1-9][0-9]{0,5})(\.[0-9]{1,6})?$",
        max_length=13,
        description="An amount of USDT as text, like '0.50'.",
    ),
]


def micro_of(money: str) -> int:
    """Return an amount of USDT in millionths."""
    whole, _, decimals = money.partition(".")
    return int(whole) * 1_000_000 + int(decimals.ljust(6, "0") or "0")


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One table of a scenario file: a key that is none of its fields is a mistake."""
