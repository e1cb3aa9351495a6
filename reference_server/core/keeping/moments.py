"""Moments in files and back: a file has the wall clock's time, and the monotonic one follows from that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_server.core.changes import moment_then
from reference_server.wire.sections import kept_time
from reference_server.wire.timestamps import format_timestamp
from reference_server.wire.values import Instant

if TYPE_CHECKING:
    from reference_server.wire.sections import Reading


def write(at: Instant) -> str:
    """Write a moment."""
    return format_timestamp(at.wall_ns)


def write_maybe(at: Instant | None) -> str | None:
    """Write a moment, if there is one."""
    return None if at is None else write(at)


def read(now: Instant, text: str) -> Instant:
    """Read a moment that is over; its text was checked."""
    return moment_then(now, kept_time(text) or 0)


def read_maybe(now: Instant, text: str | None) -> Instant | None:
    """Read a moment that is over, if there is one."""
    return None if text is None else read(now, text)


def read_deadline(now: Instant, text: str | None) -> Instant | None:
    """Read a moment that may be yet to come, if there is one."""
    if text is None:
        return None
    wall_ns = kept_time(text) or 0
    return Instant(wall_ns, now.monotonic_ns + wall_ns - now.wall_ns)


def check(reading: Reading, place: str, **times: str | None) -> None:
    """Hold those times that are there against the contract's form (§1)."""
    reading.times(place, **{name: text for name, text in times.items() if text is not None})
