"""Histograms count exactly, and what they say of a duration is at most 0.1% too high."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_server.wire.units import SECOND_NS
from simulator.history.histogram import BUCKETS, Histogram, _bucket_of, _buckets_of, _highest_of, _lowest_of
from simulator.history.rows import NEVER_NS
from simulator.limits import HISTOGRAM_COUNT_MAX, HISTOGRAM_MAX_NS

WEEK_NS = HISTOGRAM_MAX_NS

edges = st.builds(lambda bits, by: max(0, (1 << bits) + by), st.integers(0, 50), st.integers(-2, 2))
durations = st.one_of(
    st.integers(0, 5000), st.integers(0, 60 * SECOND_NS), st.integers(0, WEEK_NS), edges, st.just(NEVER_NS)
)
many = st.lists(durations, max_size=60)
some = st.lists(durations, min_size=1, max_size=60)


def of(values: list[int]) -> Histogram:
    histogram = Histogram()
    histogram.record(np.array(values, dtype=np.int64))
    return histogram


def everything(histogram: Histogram) -> tuple[Any, ...]:
    return (histogram.count, histogram.to_wire(), histogram.in_milliseconds())


def ends_and_sum(wire: bytes) -> tuple[int, int, int]:
    """Read the shortest, the longest and the sum, in nanoseconds, from the head of what a histogram writes."""
    shortest, longest, upper, lower = struct.unpack_from("<qqQQ", wire, 8)
    return shortest, longest, (upper << 64) + lower


@given(many, many)
@settings(deadline=None)
def test_recording_in_two_steps_is_recording_all(first: list[int], second: list[int]) -> None:
    slowly = of(first)
    slowly.record(np.array(second, dtype=np.int64))
    assert everything(slowly) == everything(of(first + second))


@given(some)
@settings(deadline=None)
def test_count_shortest_longest_and_sum_are_exact(values: list[int]) -> None:
    """A wait without end counts as a week."""
    clamped = [min(value, WEEK_NS) for value in values]
    histogram = of(values)
    assert histogram.count == len(values)
    assert ends_and_sum(histogram.to_wire()) == (min(clamped), max(clamped), sum(clamped))


def test_a_sum_of_more_weeks_than_64_bits_hold_is_exact() -> None:
    assert ends_and_sum(of([WEEK_NS] * 40_000).to_wire())[2] == 40_000 * WEEK_NS > 1 << 64


@given(some)
@settings(deadline=None)
def test_every_duration_lies_in_its_own_bucket(values: list[int]) -> None:
    """No bucket is wider than 1/1024 of what is in it, and up to 2,047 ns each is one nanosecond."""
    clamped = np.minimum(np.array(values, dtype=np.int64), WEEK_NS)
    buckets = _buckets_of(clamped)
    assert buckets.tolist() == [_bucket_of(value) for value in clamped.tolist()]
    lowest, highest = _lowest_of(buckets), _highest_of(buckets)
    assert ((lowest <= clamped) & (clamped <= highest)).all()
    assert (highest - lowest <= clamped // 1024).all()


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
    shown = of(values).in_milliseconds()
    assert sum(shown.response_times.values()) == len(values)
    assert shown.total == pytest.approx(sum(values) / 1e6)
    assert shown.minimum == (min(values) / 1e6 if values else None)
    assert shown.maximum == (max(values) / 1e6 if values else 0)
    counted = [value for value, count in sorted(shown.response_times.items()) for _ in range(count)]
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
    again.record(np.array([1]))
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
    shortest, longest, total = ends_and_sum(bytes(wire))
    assert shortest * histogram.count <= total <= longest * histogram.count


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
    with pytest.raises(ValueError, match="-2 ns"):
        histogram.record(np.array([5, -2], dtype=np.int64))
    assert everything(histogram) == everything(Histogram())
