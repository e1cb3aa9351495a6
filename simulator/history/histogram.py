"""A histogram of durations in a few kilobytes, with which a shard reports its response times to Locust.

Buckets are log-linear, as in an HDR histogram: each power of two is cut into `STEPS` buckets of equal width, and below
`2 * STEPS` nanoseconds each bucket is one nanosecond. So no bucket is wider than 1/1024 of the durations in it.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from reference_server.wire.units import MILLISECOND_NS
from simulator.limits import HISTOGRAM_COUNT_MAX, HISTOGRAM_MAX_NS

if TYPE_CHECKING:
    from numpy.typing import NDArray

STEPS_BITS = 10
STEPS = 1 << STEPS_BITS
"""Buckets for each power of two: a duration is reported at most 1/1024 too high, less than 0.1%."""

_HALVES_BITS = 24
"""Lower bits that are summed apart from the upper ones: a sum of fifteen thousand weeks in ns does not fit 64 bits."""
_HEAD = struct.Struct("<4sIqqQQ")
_MAGIC = b"HHH1"
_ENTRY = np.dtype([("bucket", "<u2"), ("count", "<i8")])


def _bucket_of(value_ns: int) -> int:
    shift = max(0, value_ns.bit_length() - STEPS_BITS - 1)
    return (shift << STEPS_BITS) + (value_ns >> shift)


def _buckets_of(values_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    # The exponent of a float is the number of bits of the integer: exact, as a week has fewer than 53.
    bits = np.frexp(values_ns.astype(np.float64))[1].astype(np.int64)
    shift = np.maximum(0, bits - STEPS_BITS - 1)
    buckets: NDArray[np.int64] = (shift << STEPS_BITS) + (values_ns >> shift)
    return buckets


BUCKETS = _bucket_of(HISTOGRAM_MAX_NS) + 1


def _highest_of(buckets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the longest duration of each bucket, in nanoseconds."""
    shift = np.maximum(0, (buckets >> STEPS_BITS) - 1)
    highest: NDArray[np.int64] = ((buckets - (shift << STEPS_BITS) + 1) << shift) - 1
    return highest


def _lowest_of(buckets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the shortest duration of each bucket, in nanoseconds."""
    shift = np.maximum(0, (buckets >> STEPS_BITS) - 1)
    lowest: NDArray[np.int64] = (buckets - (shift << STEPS_BITS)) << shift
    return lowest


def _sum_of(values: NDArray[np.int64], counts: NDArray[np.int64]) -> int:
    """Return the exact sum of values times counts, however large."""
    return sum(value * count for value, count in zip(values.tolist(), counts.tolist(), strict=True))


class Milliseconds(msgspec.Struct, frozen=True):
    """A histogram in Locust's terms, in milliseconds: `response_times` maps each rounded value to its count.

    `minimum` is None if nothing was recorded, as in Locust. Minimum, maximum and total are not rounded.
    """

    response_times: dict[int, int]
    total: float
    minimum: float | None
    maximum: float


class Histogram:
    """A histogram of durations in nanoseconds. Durations over a week, and waits that never end, count as a week."""

    def __init__(self) -> None:
        self._counts: NDArray[np.int64] = np.zeros(BUCKETS, dtype=np.int64)
        self._minimum_ns = HISTOGRAM_MAX_NS
        self._maximum_ns = 0
        self._sum_ns = 0
        self._count = 0

    def record(self, values_ns: NDArray[np.int64]) -> None:
        """Add durations, shape (n,). Raises ValueError, and adds nothing, if one is negative."""
        if not len(values_ns):
            return
        if (least_ns := int(values_ns.min())) < 0:
            raise ValueError(f"a duration of {least_ns} ns")
        values_ns = np.minimum(values_ns, HISTOGRAM_MAX_NS)
        self._counts += np.bincount(_buckets_of(values_ns), minlength=BUCKETS)
        self._minimum_ns = min(self._minimum_ns, least_ns)
        self._maximum_ns = max(self._maximum_ns, int(values_ns.max()))
        upper, lower = values_ns >> _HALVES_BITS, values_ns & ((1 << _HALVES_BITS) - 1)
        self._sum_ns += (int(upper.sum()) << _HALVES_BITS) + int(lower.sum())
        self._count += len(values_ns)

    @property
    def count(self) -> int:
        """Return the number of durations recorded."""
        return self._count

    def in_milliseconds(self) -> Milliseconds:
        """Return what Locust's `StatsEntry` would hold for the same durations, with Locust's rounding.

        Locust rounds to 1 ms below 100 ms, to 10 ms below 1,000 ms, to 100 ms below 10,000 ms, and to 1,000 ms above.
        """
        buckets = np.flatnonzero(self._counts)
        taken = np.minimum(_highest_of(buckets), self._maximum_ns) / MILLISECOND_NS
        step = np.select([taken < 100, taken < 1000, taken < 10_000], [1, 10, 100], 1000)  # noqa: PLR2004 - as Locust
        rounded = (np.rint(taken / step) * step).astype(np.int64)
        values, where = np.unique(rounded, return_inverse=True)
        counts = np.zeros(len(values), dtype=np.int64)
        np.add.at(counts, where, self._counts[buckets])
        return Milliseconds(
            response_times=dict(zip(values.tolist(), counts.tolist(), strict=True)),
            total=self._sum_ns / MILLISECOND_NS,
            minimum=self._minimum_ns / MILLISECOND_NS if self._count else None,
            maximum=self._maximum_ns / MILLISECOND_NS,
        )

    def to_wire(self) -> bytes:
        """Return the histogram as bytes for another process: 40, and ten for each bucket that is not empty."""
        buckets = np.flatnonzero(self._counts)
        entries = np.empty(len(buckets), dtype=_ENTRY)
        entries["bucket"], entries["count"] = buckets, self._counts[buckets]
        upper, lower = self._sum_ns >> 64, self._sum_ns & ((1 << 64) - 1)
        head = _HEAD.pack(_MAGIC, len(buckets), self._minimum_ns, self._maximum_ns, upper, lower)
        return head + entries.tobytes()

    @classmethod
    def from_wire(cls, wire: bytes) -> Histogram:
        """Return the histogram that `to_wire` wrote. Raises ValueError for bytes that it cannot have written."""
        if len(wire) < _HEAD.size:
            raise ValueError("a histogram is cut off")
        magic, length, minimum_ns, maximum_ns, upper, lower = _HEAD.unpack_from(wire)
        if magic != _MAGIC:
            raise ValueError("no histogram, or one of another version")
        if length > BUCKETS or len(wire) != _HEAD.size + length * _ENTRY.itemsize:
            raise ValueError("a histogram of another length than it says")
        entries = np.frombuffer(wire, dtype=_ENTRY, offset=_HEAD.size)
        buckets, counts = entries["bucket"].astype(np.int64), entries["count"].astype(np.int64)
        found = cls()
        found._sum_ns = (upper << 64) + lower
        found._minimum_ns, found._maximum_ns = minimum_ns, maximum_ns
        if length:
            found._fill(buckets, counts)
        elif (minimum_ns, maximum_ns, found._sum_ns) != (HISTOGRAM_MAX_NS, 0, 0):
            raise ValueError("an empty histogram that says it has something")
        return found

    def _fill(self, buckets: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        if (np.diff(buckets) <= 0).any() or buckets[-1] >= BUCKETS:
            raise ValueError("buckets of a histogram are out of order, or are none")
        if counts.min() < 1 or (count := sum(counts.tolist())) > HISTOGRAM_COUNT_MAX:
            raise ValueError("a histogram counts less than one, or more than there can be")
        minimum_ns, maximum_ns = self._minimum_ns, self._maximum_ns
        if not 0 <= minimum_ns <= maximum_ns <= HISTOGRAM_MAX_NS:
            raise ValueError("the shortest and the longest of a histogram contradict each other")
        if (_bucket_of(minimum_ns), _bucket_of(maximum_ns)) != (buckets[0], buckets[-1]):
            raise ValueError("the shortest and the longest of a histogram are in other buckets than its own")
        # The shortest and the longest duration are known exactly; the buckets bound what the others add to the sum.
        ends_ns, others = minimum_ns + maximum_ns, counts.copy()
        others[0] -= 1
        others[-1] -= 1
        if count == 1:
            possible = minimum_ns == maximum_ns == self._sum_ns
        else:
            least_ns = ends_ns + _sum_of(np.maximum(_lowest_of(buckets), minimum_ns), others)
            most_ns = ends_ns + _sum_of(np.minimum(_highest_of(buckets), maximum_ns), others)
            possible = least_ns <= self._sum_ns <= most_ns
        if not possible:
            raise ValueError("the sum of a histogram is none of what it counts")
        self._counts[buckets] = counts
        self._count = count
