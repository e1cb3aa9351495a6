"""Histograms add up exactly, and what they say of a duration is at most 0.1% too high."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.history.histogram import BUCKETS, Histogram
from simulator.history.rows import NEVER_NS
from simulator.judging.thresholds import percentile_of
from simulator.limits import HISTOGRAM_COUNT_MAX, HISTOGRAM_MAX_NS
from tests.support.tiers import examples

WEEK_NS = HISTOGRAM_MAX_NS
SECOND_NS = 1_000_000_000

edges = st.builds(lambda bits, by: max(0, (1 << bits) + by), st.integers(0, 50), st.integers(-2, 2))
durations = st.one_of(
    st.integers(0, 5000), st.integers(0, 60 * SECOND_NS), st.integers(0, WEEK_NS), edges, st.just(NEVER_NS)
)
many = st.lists(durations, max_size=60)
some = st.lists(durations, min_size=1, max_size=60)
percentiles = st.one_of(st.sampled_from([0, 50, 90, 95, 99, 99.9, 100]), st.integers(0, 1000).map(lambda n: n / 10))


def of(values: list[int]) -> Histogram:
    histogram = Histogram()
    histogram.record_many(np.array(values, dtype=np.int64))
    return histogram


def merged(*parts: Histogram) -> Histogram:
    whole = Histogram()
    for part in parts:
        whole.merge(part)
    return whole


def everything(histogram: Histogram) -> tuple[Any, ...]:
    return (
        histogram.count,
        histogram.minimum_ns,
        histogram.maximum_ns,
        histogram.sum_ns,
        histogram.to_wire(),
        histogram.in_milliseconds(),
    )


@given(many, many, many)
@settings(deadline=None)
def test_merging_parts_is_recording_all_in_any_order_and_grouping(a: list[int], b: list[int], c: list[int]) -> None:
    whole = everything(of(a + b + c))
    first, second, third = of(a), of(b), of(c)
    assert everything(merged(first, second, third)) == whole
    assert everything(merged(third, first, second)) == whole
    assert everything(merged(first, merged(second, third))) == whole
    assert everything(first) == everything(of(a)), "what was merged from stays as it was"


@given(many)
@settings(deadline=None)
def test_recording_one_by_one_is_recording_many(values: list[int]) -> None:
    slowly = Histogram()
    for value in values:
        slowly.record(value)
    assert everything(slowly) == everything(of(values))


@given(some)
@settings(deadline=None)
def test_count_shortest_longest_and_sum_are_exact(values: list[int]) -> None:
    """A wait without end counts as a week."""
    clamped = [min(value, WEEK_NS) for value in values]
    histogram = of(values)
    assert histogram.count == len(values)
    assert (histogram.minimum_ns, histogram.maximum_ns) == (min(clamped), max(clamped))
    assert histogram.sum_ns == sum(clamped)


def test_a_sum_of_more_weeks_than_64_bits_hold_is_exact() -> None:
    assert of([WEEK_NS] * 40_000).sum_ns == 40_000 * WEEK_NS > 1 << 64


@given(some, percentiles)
@settings(deadline=None, max_examples=examples(300))
def test_a_percentile_is_never_below_the_measured_one_and_at_most_a_thousandth_above(
    values: list[int], percentile: float
) -> None:
    """Up to 2,047 ns it is the measured one itself."""
    exact = int(percentile_of(np.minimum(values, WEEK_NS).astype(np.float64), percentile))
    told = of(values).percentile(percentile)
    assert exact <= told <= exact * 1.001
    assert told == exact or exact > 2047


def test_the_rank_is_exact_where_floating_point_is_not() -> None:
    """99.9% of 1,000 is more than 999 in floating point: one slow answer of 1,000 would count as two."""
    histogram = of([1] * 999 + [SECOND_NS])
    assert histogram.percentile(99.9) == 1
    assert histogram.percentile(100) == SECOND_NS


@given(some)
@settings(deadline=None)
def test_every_duration_lies_in_its_own_bucket(values: list[int]) -> None:
    """No bucket is wider than 1/1024 of what is in it, and buckets are in the order of durations."""
    for value in values:
        both = of([value, WEEK_NS])
        told, clamped = both.percentile(50), min(value, WEEK_NS)
        assert told == clamped, "a single duration is the shortest, which is exact"
        upper = of([0, value, WEEK_NS]).percentile(60)
        assert clamped <= upper <= clamped + clamped // 1024


def locust_rounds(milliseconds: float) -> int:
    """Round as `locust.stats.bucket_response_time` does (Locust 2.40)."""
    if milliseconds < 100:
        return round(milliseconds)
    if milliseconds < 1000:
        return round(milliseconds / 10) * 10
    if milliseconds < 10_000:
        return round(milliseconds / 100) * 100
    return round(milliseconds / 1000) * 1000


@given(st.lists(st.integers(0, 100 * SECOND_NS), max_size=60))
@settings(deadline=None)
def test_locust_gets_what_it_would_have_counted_itself(values: list[int]) -> None:
    """Each rounded as it rounds, but for those so near to the edge that 0.1% makes the difference."""
    told = of(values).in_milliseconds()
    assert sum(told.response_times.values()) == len(values)
    assert told.total == pytest.approx(sum(values) / 1e6)
    assert told.minimum == (min(values) / 1e6 if values else None)
    assert told.maximum == (max(values) / 1e6 if values else 0)
    counted = [value for value, count in sorted(told.response_times.items()) for _ in range(count)]
    for value, rounded in zip(sorted(values), counted, strict=True):
        assert locust_rounds(value / 1e6) <= rounded <= locust_rounds(value * 1.001 / 1e6)


def test_examples_of_rounding() -> None:
    """The examples are Locust's own: 147 becomes 150, 3432 becomes 3400 and 58760 becomes 59000."""
    values = [milliseconds * 1_000_000 for milliseconds in (7, 7, 147, 3432, 58_760)]
    assert of(values).in_milliseconds().response_times == {7: 2, 150: 1, 3400: 1, 59_000: 1}


@given(many)
@settings(deadline=None)
def test_what_is_written_is_read_again(values: list[int]) -> None:
    histogram = of(values)
    again = Histogram.from_wire(histogram.to_wire())
    assert everything(again) == everything(histogram)
    again.record(1)
    assert again.count == len(values) + 1


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(lambda rest: of([1, 2]).to_wire()[:36] + rest)))
@settings(deadline=None)
def test_bytes_of_anybody_are_refused_or_are_what_would_be_written(wire: bytes) -> None:
    try:
        histogram = Histogram.from_wire(wire)
    except ValueError:
        return
    assert histogram.to_wire() == wire


@given(some, st.data())
@settings(deadline=None)
def test_a_changed_byte_is_refused_or_is_another_histogram(values: list[int], data: st.DataObject) -> None:
    wire = bytearray(of(values).to_wire())
    wire[data.draw(st.integers(0, len(wire) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        histogram = Histogram.from_wire(bytes(wire))
    except ValueError:
        return
    assert histogram.to_wire() == bytes(wire) != of(values).to_wire()
    minimum_ns, maximum_ns = histogram.minimum_ns, histogram.maximum_ns
    assert minimum_ns is not None
    assert maximum_ns is not None
    assert minimum_ns * histogram.count <= histogram.sum_ns <= maximum_ns * histogram.count


def with_entry(bucket: int, count: int) -> bytes:
    """Write a histogram of one duration with another bucket and count in its only entry."""
    return of([7]).to_wire()[:-10] + bucket.to_bytes(2, "little") + count.to_bytes(8, "little", signed=True)


@pytest.mark.parametrize(
    ("what", "wire"),
    [
        ("nothing", b""),
        ("its head cut off", of([7]).to_wire()[:39]),
        ("its end cut off", of([7]).to_wire()[:-1]),
        ("bytes behind its end", of([7]).to_wire() + b"\0"),
        ("another version", b"HHH2" + of([7]).to_wire()[4:]),
        ("a bucket that is not", with_entry(BUCKETS, 1)),
        ("the bucket of another duration", with_entry(8, 1)),
        ("a count of none", with_entry(7, 0)),
        ("a count below none", with_entry(7, -1)),
        ("a count beyond all", with_entry(7, HISTOGRAM_COUNT_MAX + 1)),
        ("a count that its sum contradicts", with_entry(7, 2)),
        ("a bucket twice", of([7, 7]).to_wire()[:4] + b"\2" + of([7, 7]).to_wire()[5:-10] + 2 * with_entry(7, 1)[-10:]),
        ("something in an empty one", of([]).to_wire()[:-1] + b"\1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_no_histogram_writes_is_refused(what: str, wire: bytes) -> None:
    with pytest.raises(ValueError, match=r"histogram|buckets"):
        Histogram.from_wire(wire)
    assert what


def test_the_longest_histogram_on_the_wire_is_bounded() -> None:
    """Half a megabyte at the most; one of milliseconds to seconds takes a few kilobytes."""
    assert 40 + 10 * BUCKETS < 1 << 19
    rng = np.random.default_rng(1)
    usual = rng.lognormal(np.log(20e6), 0.5, 10_000).astype(np.int64)
    assert len(of(usual.tolist()).to_wire()) < 40_000


def test_a_negative_duration_is_refused_and_nothing_is_recorded() -> None:
    histogram = Histogram()
    with pytest.raises(ValueError, match="-1 ns"):
        histogram.record(-1)
    with pytest.raises(ValueError, match="-2 ns"):
        histogram.record_many(np.array([5, -2], dtype=np.int64))
    assert everything(histogram) == everything(Histogram())


def test_nothing_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="nothing"):
        Histogram().percentile(50)
    assert Histogram().minimum_ns is None
    assert Histogram().maximum_ns is None
