"""A machine's offer: the capacity it reports, scaled by its policy, within the policy's hours.

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
"""In all time zones, hours begin and clocks change at whole quarters of an hour."""
_QUARTER_NS = _QUARTER_SECONDS * SECOND_NS
_QUARTERS_LOOKED_AT = 4 * 24 * 2
"""Two days: hours that do not cover the whole day close within one day, even if a clock change moves them."""
_HOURS_A_DAY = 24
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Capacity(msgspec.Struct, frozen=True, gc=False):
    """Cores and gigabytes in millionths, and GPUs as (model, count), sorted by model."""

    cpu: int
    memory: int
    gpus: tuple[tuple[str, int], ...] = ()


class Maxima(msgspec.Struct, frozen=True):
    """The maxima that a policy allows, in millionths of a percent, and its hours (None for all) in a time zone."""

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
    """Decode `metrics.capacity`, or return None if any of its fields breaks the contract."""
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
    """Encode a capacity as JSON for `read_capacity`: this is stored, and not other fields that a machine sent."""
    gpus = [{"model": model, "count": count} for model, count in capacity.gpus]
    shown = {"cpu_cores": shown_micro(capacity.cpu), "memory_gb": shown_micro(capacity.memory), "gpus": gpus}
    return msgspec.json.encode(shown)


@lru_cache(maxsize=4096)
def maxima_of(rules: str) -> Maxima:
    """Return the maxima of a policy's rules, canonical JSON that was checked when the policy was made.

    Missing maxima of memory and GPUs are 0: nothing is offered that was not allowed. An unknown time zone is UTC.
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
    """Return the part of a capacity that a policy allows, each quantity rounded down; GPUs are whole, by model."""
    gpus = ((model, count * maxima.gpu_percent // _PERCENT) for model, count in capacity.gpus)
    return Capacity(
        capacity.cpu * maxima.cpu_percent // _PERCENT,
        capacity.memory * maxima.memory_percent // _PERCENT,
        tuple((model, count) for model, count in gpus if count),
    )


class Opening(msgspec.Struct, frozen=True):
    """Whether a policy's hours allow work now, and when that changes (Unix ns), or None if it never does."""

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
    except (ValueError, OSError, LookupError):  # an unknown name, a folder's, one with NUL, or one too long for a file
        return UTC
