"""The canonical JSON that signatures and hashes are made over (contract §5), and the strict reading before it (§1)."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

_ESCAPED = re.compile('[\x00-\x1f"\\\\<>&\u2028\u2029\ud800-\udfff]')
_SURROGATE = re.compile("[\ud800-\udfff]")
_SHORT = {"\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}
_plain_json = json.JSONEncoder(ensure_ascii=False, check_circular=False, sort_keys=True, separators=(",", ":")).encode
_NOT_PLAIN = re.compile('[<>&\u2028\u2029\ud800-\udfff]|(?:":|[,\\[])-?(?:[0-9]+[.e]|[0-9]{16})')
"""Where Python's own writer of JSON may write otherwise: characters that it does not escape, and numbers that are no
integers below 1e15. It may be found inside of a string as well, which is no harm."""
_EXPONENT_FROM = 1e21
_EXPONENT_BELOW = 1e-6


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    if "\ud800" <= character <= "\udfff":
        return "\ufffd"
    return _SHORT.get(character) or f"\\u{ord(character):04x}"


def canonical_number(value: float) -> str:
    """Write an IEEE double in its shortest form; exponent form below 1e-6 and from 1e21."""
    number = float(value)
    magnitude = abs(number)
    text = repr(number)
    if magnitude != 0 and (magnitude < _EXPONENT_BELOW or magnitude >= _EXPONENT_FROM):
        mantissa, _, exponent = text.partition("e")
        return f"{mantissa.removesuffix('.0')}e{'-' if exponent[0] == '-' else '+'}{exponent.lstrip('+-0')}"
    if "e" in text:
        # repr turns to exponents from 1e16 and below 1e-4 on its own; spell the same digits out.
        mantissa, _, exponent = text.partition("e")
        sign = "-" if number < 0 else ""
        whole, _, fraction = mantissa.lstrip("-").partition(".")
        fraction = "" if fraction == "0" else fraction
        shift = int(exponent)
        if shift >= 0:
            return sign + (whole + fraction).ljust(len(whole) + shift, "0")
        return f"{sign}0.{'0' * (-shift - 1)}{whole}{fraction}"
    return text.removesuffix(".0")


def canonical_string(value: str) -> str:
    """Write a string with the contract's escapes, quotes included."""
    return f'"{_ESCAPED.sub(_escape, value)}"'


def canonical_json(value: Any) -> str:
    """Write a decoded JSON value canonically: keys sorted by UTF-8 bytes, no spaces."""
    if isinstance(value, dict | list):
        text = _plain_json(value)
        if not _NOT_PLAIN.search(text):
            return text
    return canonical_json_of_any(value)


def canonical_json_of_any(value: Any) -> str:
    """Write it as `canonical_json` does, which knows a way that takes a tenth of the time for nearly all there is."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return canonical_string(value)
        case int() | float():
            return canonical_number(value)
        case list() | tuple():
            return "[" + ",".join(map(canonical_json_of_any, value)) + "]"
        case dict():
            keys = sorted(value, key=lambda key: _SURROGATE.sub("\ufffd", key).encode())
            return "{" + ",".join(f"{canonical_string(key)}:{canonical_json_of_any(value[key])}" for key in keys) + "}"
    raise TypeError(f"not a JSON value: {type(value).__name__}")


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        _refuse(text)
    return number


def _double(text: str) -> float | int:
    number = int(text) if len(text) < 16 else _finite(text)  # noqa: PLR2004 - ints below 1e15 are exact doubles
    return -0.0 if text == "-0" else number


def decode_strict(body: bytes, depth_max: int) -> Any:
    """Decode a JSON body whose strings may hold lone surrogates (policy rules may, and canonicalise to U+FFFD).

    Raises ValueError for anything else than one JSON value in UTF-8: trailing data, `NaN`, numbers past a double,
    nesting past `depth_max`.
    """
    text = body.decode("utf-8")
    if text.count("[") + text.count("{") > depth_max and nests_deeper(body, depth_max):
        raise ValueError("nested too deeply")
    return json.loads(text, parse_constant=_refuse, parse_float=_finite, parse_int=_double)


_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[{}]"))
_BRACKETS_ALIKE = bytes.maketrans(b"[]", b"{}")


def nests_deeper(text: bytes, levels: int) -> bool:
    """Return whether a JSON text nests deeper than so many levels; a scalar has none. What is not closed is too deep.

    Each step is one call, as many heartbeats have to be looked at: a loop over their brackets takes ten times as long.
    """
    if b"\\" in text:
        text = _ESCAPE.sub(b"", text)
    outside_strings = b"".join(text.split(b'"')[::2])
    brackets = outside_strings.translate(_BRACKETS_ALIKE, _NO_BRACKETS)
    while brackets and levels:
        brackets = brackets.replace(b"{}", b"")
        levels -= 1
    return bool(brackets)
