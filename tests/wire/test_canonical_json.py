from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reference_server.wire.canonical_json import (
    canonical_json,
    canonical_json_of_any,
    canonical_number,
    decode_strict,
    nests_deeper,
)
from reference_server.wire.signing import sign_text

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "canonical_rules.json").read_text(encoding="utf-8"))
DEPTH_MAX = 64

texts = st.text(st.characters(codec=None, categories=None), max_size=12)
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**18), 10**18).map(float)
values = st.recursive(
    st.none() | st.booleans() | texts | numbers,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def repaired(value: Any) -> Any:
    """A value as it is read back: lone surrogates become U+FFFD."""
    match value:
        case str():
            return re.sub("[\ud800-\udfff]", "\ufffd", value)
        case list():
            return [repaired(item) for item in value]
        case dict():
            return {repaired(key): repaired(item) for key, item in value.items()}
    return value


def depth(value: Any) -> int:
    match value:
        case list():
            return 1 + max(map(depth, value), default=0)
        case dict():
            return 1 + max(map(depth, value.values()), default=0)
    return 0


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["canonical"][:40])
def test_vector(vector: dict[str, str]) -> None:
    """Another implementation's rules canonicalise to the same text and the same signature."""
    rules = decode_strict(vector["input"].encode("utf-8", "surrogatepass"), DEPTH_MAX)
    assert canonical_json(rules) == vector["canonical"]
    text = f"{vector['owner_id']}|{vector['canonical']}"
    assert sign_text(vector["secret"].encode(), text).decode() == vector["signature"]


@given(values)
def test_canonical_text_says_the_same_value(value: Any) -> None:
    text = canonical_json(value)
    text.encode()
    if not _merges(value):
        assert json.loads(text, parse_int=float) == repaired(value)


def _merges(value: Any) -> bool:
    """Whether two keys of some object become one when mended."""
    match value:
        case list():
            return any(map(_merges, value))
        case dict():
            return len(repaired(value)) != len(value) or any(map(_merges, value.values()))
    return False


misleading = st.text('ab,:[]{}"-1.eIN ', max_size=8)
mixed = st.recursive(
    st.none() | st.booleans() | texts | misleading | numbers | st.integers(-(10**30), 10**30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@given(mixed)
@example({"a": 10**15})
@example([2**53 + 1])
@example({"a": 10**400})
@example([-(10**15), 10**16, 1e16, 0.1, -0.0, 1e-7])
@example({"\ue000": 1, "\U0001f600": 2})
def test_the_short_way_writes_what_the_long_one_does(value: Any) -> None:
    try:
        text = canonical_json_of_any(value)
    except OverflowError:
        with pytest.raises(OverflowError):
            canonical_json(value)
    else:
        assert canonical_json(value) == text


@given(values)
def test_canonical_text_is_a_fixed_point(value: Any) -> None:
    if not _merges(value):
        text = canonical_json(value)
        assert canonical_json(decode_strict(text.encode(), 200)) == text


@given(st.dictionaries(texts, st.integers(0, 9), max_size=6), st.randoms())
def test_keys_come_in_the_order_of_their_utf8_bytes_whatever_order_they_came_in(
    value: dict[str, int],
    shuffler: Any,
) -> None:
    keys = list(value)
    shuffler.shuffle(keys)
    text = canonical_json({key: value[key] for key in keys})
    if not _merges(value):
        assert text == canonical_json(value)
        read = list(json.loads(text))
        assert [key.encode() for key in read] == sorted(key.encode() for key in read)


@given(values)
def test_nothing_that_html_or_javascript_reads_differently_stands_unescaped(value: Any) -> None:
    text = canonical_json(value)
    assert not re.search("[<>&\u2028\u2029\x00-\x1f]", text)
    outside_strings = re.sub(r'"(?:[^"\\]|\\.)*"', "", text)
    assert " " not in outside_strings


@given(numbers)
def test_number_is_the_shortest_text_of_its_double(number: float) -> None:
    """The digits are the shortest that read back (Python's repr finds those); only their spelling is the contract's."""
    text = canonical_number(number)
    assert float(text) == number
    assert math.copysign(1, float(text)) == math.copysign(1, number)

    def digits(shown: str) -> str:
        return re.sub(r"[-.]|e.*", "", shown).strip("0")

    assert digits(text) == digits(repr(number))
    exponent = number != 0 and not 1e-6 <= abs(number) < 1e21
    assert ("e" in text) == exponent
    assert re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]*[1-9])?(e[+-][1-9][0-9]*)?", text)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0"), (-0.0, "-0"), (1e-6, "0.000001"), (9.99e-7, "9.99e-7"), (1e-7, "1e-7"), (1e20, "1" + "0" * 20),
        (1e21, "1e+21"), (1.5e300, "1.5e+300"), (-1e21, "-1e+21"), (5e-324, "5e-324"), (123456789012345680.0,
        "123456789012345680"), (0.00001234, "0.00001234"), (-0.000025, "-0.000025"), (33.333, "33.333"),
    ],
)  # fmt: skip
def test_number_turns_to_exponents_below_a_millionth_and_from_ten_to_the_21(number: float, text: str) -> None:
    assert canonical_number(number) == text


@given(values, st.sampled_from('[]{}"\\\\'), st.booleans())
def test_depth_is_that_in_which_json_nests(value: Any, text: str, ascii_only: bool) -> None:  # noqa: FBT001 - drawn
    for nested in (value, [text * 3, value, {text: [text]}]):
        written = json.dumps(nested, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
        assert [nests_deeper(written, levels) for levels in range(depth(nested) + 2)] == [True] * depth(nested) + [
            False,
            False,
        ]


@given(values, st.text('"\\\\[]{}', max_size=20))
def test_what_is_no_json_hides_nothing_that_was_read_before_it(value: Any, rest: str) -> None:
    """It is refused later, but not before a reader has gone as deep as it nests up to there."""
    opened = f"[{json.dumps(value)}"
    assert nests_deeper(opened.encode(), depth(value))
    assert nests_deeper(f"{opened}}}{rest}".encode(), max(0, depth(value) - 1))
    assert nests_deeper((f'{opened},"' + rest.replace('"', "")).encode(), depth(value))


@pytest.mark.parametrize(
    "body",
    [
        b"", b" ", b"{", b"{}x", b"{} {}", b'{"a":NaN}', b'{"a":Infinity}', b'{"a":-Infinity}', b'{"a":1e999}',
        b'{"a":01}', b"\xff", b'{"a":"\xed\xa0\x80"}', b"\xef\xbb\xbf{}", b"{'a':1}", b'{"a":1,}', b"[" * 65,
        b"[" * 65 + b"]" * 65,
        b'{"a":' * 65 + b"1" + b"}" * 65, b"[" * 100_000, b'{"a":[' * 33 + b"]}" * 33,
    ],
)  # fmt: skip
def test_what_is_not_strict_json_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_strict(body, DEPTH_MAX)


@pytest.mark.parametrize(
    "body",
    [b"[" * 64 + b"]" * 64, b'{"a":[' * 32 + b"]}" * 32, b'"' + b"[" * 100 + b'"', b'{"a":"' + b'{\\"' * 90 + b'"}'],
)
def test_nesting_counts_outside_strings_only(body: bytes) -> None:
    decode_strict(body, DEPTH_MAX)


@given(st.binary(max_size=40))
def test_no_bytes_make_anything_but_a_value_or_a_value_error(body: bytes) -> None:
    try:
        value = decode_strict(body, DEPTH_MAX)
    except ValueError:
        return
    assert depth(value) <= DEPTH_MAX
