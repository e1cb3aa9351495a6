"""Durations, offsets and threshold expressions against plain readers written for these tests."""

from __future__ import annotations

import operator
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.scenario.kinds import parse_duration, parse_offset
from simulator.scenario.metrics import MEMORY, TIMES
from simulator.scenario.thresholds import METRICS, Threshold, ThresholdError, parse_threshold
from tests.support.tiers import examples

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

UNITS_NS = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
WEEK_NS = 7 * 24 * 3600 * 10**9
OPERATORS = {
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    ">": operator.gt,
}
DIGITS = frozenset("0123456789")
ASKED = ("heartbeat.response_time", "heartbeat.service_time", "machines.connected", MEMORY)

quick = settings(deadline=None, max_examples=examples(200))
numbers = st.builds(
    lambda whole, part: f"{whole}.{part}" if part else str(whole),
    st.integers(0, 700_000),
    st.sampled_from(["", "0", "5", "25", "125", "001", "999"]),
)
units = st.sampled_from(sorted(UNITS_NS))


def plain_number(text: str) -> Fraction | None:
    """Read digits, with at most one point between them; without float."""
    whole, point, part = text.partition(".")
    if not whole or set(whole + part) - DIGITS or bool(point) != bool(part):
        return None
    return Fraction(int(whole + part), 10 ** len(part))


def plain_duration(text: str) -> int | None:
    """Read a duration: the longest unit that the text ends with, and a number before it."""
    for unit in ("ms", "s", "m", "h"):
        if text.endswith(unit):
            number = plain_number(text.removesuffix(unit))
            return None if number is None or number * UNITS_NS[unit] > WEEK_NS else round(number * UNITS_NS[unit])
    return None


@given(number=numbers, unit=units)
@quick
def test_a_duration_is_what_its_number_and_unit_say_up_to_a_week(number: str, unit: str) -> None:
    expected = plain_duration(number + unit)
    if expected is None:
        with pytest.raises(ValueError, match="longer than a week"):
            parse_duration(number + unit)
    else:
        assert parse_duration(number + unit) == expected


@given(text=st.text(st.sampled_from("0159.smh+- \n٣e"), max_size=8) | st.text(max_size=8))
@quick
def test_anything_else_is_no_duration(text: str) -> None:
    expected = plain_duration(text)
    if expected is None:
        with pytest.raises(ValueError, match=r"no duration|longer than a week"):
            parse_duration(text)
    else:
        assert parse_duration(text) == expected


@given(number=st.integers(0, 10_000), unit=st.sampled_from(["ms", "s", "m"]), sign=st.sampled_from(["", "+", "-"]))
@quick
def test_an_offset_is_a_duration_with_a_sign(number: int, unit: str, sign: str) -> None:
    expected = (-1 if sign == "-" else 1) * number * UNITS_NS[unit]
    assert parse_offset(f"{sign}{number}{unit}") == expected


@pytest.mark.parametrize("text", ["", "+", "-", "+-5s", "--5s", "- 5s", "5", "+5", "s"])
def test_a_sign_alone_or_doubled_is_no_offset(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration: write it like"):
        parse_offset(text)


@given(data=st.data(), metric=st.sampled_from(sorted(METRICS)), comparison=st.sampled_from(sorted(OPERATORS)))
@quick
def test_a_threshold_is_what_its_parts_say(data: st.DataObject, metric: str, comparison: str) -> None:
    aggregate = data.draw(st.sampled_from(METRICS[metric]))
    percentile = data.draw(st.integers(0, 1000)) / 10 if aggregate == "p" else None
    number = data.draw(numbers)
    time_unit = data.draw(st.sampled_from(["ms", "s"])) if METRICS[metric] is TIMES else ""
    unit = time_unit or ("MB" if metric == MEMORY else "")
    space = data.draw(st.sampled_from(["", " ", "  "]))
    called = aggregate if percentile is None else f"{aggregate}({space}{percentile}{space})"
    expression = f"{space}{called}{space}{comparison}{space}{number}{space}{unit}{space}"
    exact = plain_number(number)
    assert exact is not None
    bound = float(exact * UNITS_NS[unit] / 10**9) if time_unit else float(exact)
    if time_unit and plain_duration(number + unit) is None:
        with pytest.raises(ThresholdError, match="longer than a week"):
            parse_threshold(metric, expression)
        return
    threshold = parse_threshold(metric, expression)
    assert threshold == Threshold(metric, aggregate, percentile, comparison, bound, expression)
    for value in (bound, bound - 0.5, bound + 0.5, 0.0, float("inf")):
        assert threshold.holds(value) is OPERATORS[comparison](value, bound)


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_a_metric_takes_its_own_aggregates_and_unit_and_no_other(metric: str) -> None:
    bound = "1s" if METRICS[metric] is TIMES else "1MB" if metric == MEMORY else "1"
    for aggregate in ("p(50)", "min", "max", "med", "avg", "rate", "count", "sum"):
        if aggregate.removesuffix("(50)") in METRICS[metric]:
            parse_threshold(metric, f"{aggregate}<{bound}")
            for other in {"1", "1s", "1MB"} - {bound}:
                with pytest.raises(ThresholdError, match=r"unit|megabytes"):
                    parse_threshold(metric, f"{aggregate}<{other}")
        else:
            with pytest.raises(ThresholdError, match=f"{metric} has "):
                parse_threshold(metric, f"{aggregate}<{bound}")


@given(text=st.text(st.sampled_from("pratecoun()<>=!.0159msMB e-%"), max_size=14) | st.text(max_size=14))
@quick
def test_no_text_crashes_the_reader_of_thresholds(text: str) -> None:
    for metric in ASKED:
        try:
            threshold = parse_threshold(metric, text)
        except ThresholdError as error:
            assert repr(text) in str(error)  # noqa: PT017 - a refusal is one of two right outcomes
        else:
            assert threshold.comparison in text


WHOLE, SHARES = range(6), (0, 0.25, 0.5, 0.75, 1)


@pytest.mark.parametrize("comparison", ["<", "<=", "==", "!=", ">=", ">"])
@pytest.mark.parametrize(
    ("metric", "aggregate", "bounds", "values", "may_come"),
    [
        ("requests.lost", "count", WHOLE[1:-1], WHOLE, lambda value: range(value + 1, 6)),
        ("heartbeat.rate", "max", WHOLE[1:-1], WHOLE, lambda value: range(value + 1, 6)),
        ("heartbeat.rate", "min", WHOLE[1:-1], WHOLE, range),
        ("heartbeat.rate", "med", WHOLE[1:-1], WHOLE, lambda _: WHOLE),
        ("heartbeat.accepted", "rate", SHARES[::2], SHARES, lambda _: SHARES[1:-1]),
    ],
)
def test_what_is_missed_may_hold_later_where_a_value_that_may_still_come_makes_it(
    metric: str,
    aggregate: str,
    bounds: Sequence[float],
    values: Sequence[float],
    may_come: Callable[[float], Sequence[float]],
    comparison: str,
) -> None:
    for bound in bounds:
        threshold = parse_threshold(metric, f"{aggregate}{comparison}{bound}")
        for value in values:
            if not threshold.holds(value):
                assert threshold.may_hold_later(value) == any(map(threshold.holds, may_come(value))), (bound, value)
