"""What a machine offers: what it says of itself, scaled by its policy, within its policy's hours.

Contract: Capacity and resources. Quantities are millionths of a core or a gigabyte, and whole GPUs by model.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import msgspec

from reference_server.core.market.money import MICRO, read_decimal, read_micro, shown_micro
from reference_server.limits import GPU_MODEL_MAX_CHARACTERS, JOB_CPU_CORES_MAX, JOB_GPUS_MAX, JOB_MEMORY_GB_MAX
from reference_server.wire.units import SECOND_NS

if TYPE_CHECKING:
    from datetime import tzinfo

_PERCENT = 100 * MICRO
_QUARTER_SECONDS = 15 * 60
"""Hours of all time zones begin and clocks are set at whole quarters of an hour."""
_QUARTER_NS = _QUARTER_SECONDS * SECOND_NS
_QUARTERS_LOOKED_AT = 4 * 24 * 2
"""Two days: hours that are not allowed every hour of the day close within one, whatever a clock is set by."""
_HOURS_A_DAY = 24
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Capacity(msgspec.Struct, frozen=True, gc=False):
    """Cores and gigabytes in millionths, and GPUs as (model, count), sorted by model."""

    cpu: int
    memory: int
    gpus: tuple[tuple[str, int], ...] = ()


class Maxima(msgspec.Struct, frozen=True):
    """What a policy allows: millionths of a percent, and hours (None for all) in a time zone."""

    cpu_percent: int
    memory_percent: int
    gpu_percent: int
    hours: frozenset[int] | None
    timezone: str


class _Gpus(msgspec.Struct, frozen=True):
    model: str
    count: msgspec.Raw


class _Reported(msgspec.Struct, frozen=True):
    cpu_cores: msgspec.Raw
    memory_gb: msgspec.Raw
    gpus: list[_Gpus] = []


class _Rules(msgspec.Struct, frozen=True):
    max_cpu_percent: msgspec.Raw = msgspec.Raw(b"0")
    max_memory_percent: msgspec.Raw = msgspec.Raw(b"0")
    max_gpu_percent: msgspec.Raw = msgspec.Raw(b"0")
    allowed_hours: list[float] | None = None
    timezone: str = "UTC"


_decode_reported = msgspec.json.Decoder(_Reported).decode
_decode_rules = msgspec.json.Decoder(_Rules).decode


def read_capacity(raw: bytes) -> Capacity | None:
    """Read `metrics.capacity` as it was sent; None, for the whole of it, where any field is not within the contract."""
    try:
        reported = _decode_reported(raw)
    except (ValueError, RecursionError):
        return None
    cpu = read_micro(bytes(reported.cpu_cores), JOB_CPU_CORES_MAX, up=False)
    memory = read_micro(bytes(reported.memory_gb), JOB_MEMORY_GB_MAX, up=False)
    if cpu is None or memory is None or len(reported.gpus) > JOB_GPUS_MAX:
        return None
    counts: dict[str, int] = {}
    for gpus in reported.gpus:
        count = read_decimal(bytes(gpus.count))
        if count is None or not 0 < count <= JOB_GPUS_MAX or count != int(count):
            return None
        if not 0 < len(gpus.model) <= GPU_MODEL_MAX_CHARACTERS:
            return None
        counts[gpus.model] = counts.get(gpus.model, 0) + int(count)
    if sum(counts.values()) > JOB_GPUS_MAX:
        return None
    return Capacity(cpu, memory, tuple(sorted(counts.items())))


def write_capacity(capacity: Capacity) -> bytes:
    """Write a capacity as JSON that `read_capacity` reads as the same: this is kept, not what else a machine sent."""
    gpus = [{"model": model, "count": count} for model, count in capacity.gpus]
    shown = {"cpu_cores": shown_micro(capacity.cpu), "memory_gb": shown_micro(capacity.memory), "gpus": gpus}
    return msgspec.json.encode(shown)


@lru_cache(maxsize=4096)
def maxima_of(rules: str) -> Maxima:
    """Read the maxima of a policy's rules, canonical JSON that was checked when the policy was made.

    What is absent for memory and GPUs is 0: nothing is offered that nobody allowed. A time zone that is none is UTC.
    """
    read = _decode_rules(rules)

    def percent(raw: msgspec.Raw) -> int:
        return read_micro(bytes(raw), 100, up=False) or 0

    hours = None if read.allowed_hours is None else frozenset(map(int, read.allowed_hours))
    return Maxima(
        percent(read.max_cpu_percent),
        percent(read.max_memory_percent),
        percent(read.max_gpu_percent),
        None if hours is not None and len(hours) == _HOURS_A_DAY else hours,
        read.timezone,
    )


def scale(capacity: Capacity, maxima: Maxima) -> Capacity:
    """Return what a policy allows of a capacity, each quantity rounded down; GPUs are whole, by model."""
    gpus = ((model, count * maxima.gpu_percent // _PERCENT) for model, count in capacity.gpus)
    return Capacity(
        capacity.cpu * maxima.cpu_percent // _PERCENT,
        capacity.memory * maxima.memory_percent // _PERCENT,
        tuple((model, count) for model, count in gpus if count),
    )


class Opening(msgspec.Struct, frozen=True):
    """Whether a policy's hours allow work now, and when that changes (Unix ns); None where it never does."""

    is_open: bool
    until_ns: int | None


_ALWAYS = Opening(is_open=True, until_ns=None)


def opening_at(maxima: Maxima, wall_ns: int) -> Opening:
    """Return whether a policy's hours allow work at a wall time (Unix ns), and until when that holds."""
    if maxima.hours is None:
        return _ALWAYS
    return _opening(maxima.hours, maxima.timezone, wall_ns // _QUARTER_NS)


@lru_cache(maxsize=4096)
def _opening(hours: frozenset[int], timezone: str, quarter: int) -> Opening:
    zone = _zone(timezone)
    now_open = _hour(zone, quarter) in hours
    for later in range(quarter + 1, quarter + _QUARTERS_LOOKED_AT):
        if (_hour(zone, later) in hours) is not now_open:
            return Opening(now_open, later * _QUARTER_NS)
    return Opening(now_open, None)


def _hour(zone: tzinfo, quarter: int) -> int:
    return (_EPOCH + timedelta(seconds=quarter * _QUARTER_SECONDS)).astimezone(zone).hour


@lru_cache(maxsize=1024)
def _zone(timezone: str) -> tzinfo:
    try:
        return ZoneInfo(timezone)
    except (ValueError, OSError, LookupError):  # a name that is none, of a folder, with a NUL, or past a file's length
        return UTC
