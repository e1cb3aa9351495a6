"""Moments in files: a file has wall time, from which the monotonic time is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_server.core.changes import moment_then
from reference_server.wire.sections import kept_time
from reference_server.wire.timestamps import format_timestamp
from reference_server.wire.values import Instant

if TYPE_CHECKING:
    from reference_server.wire.sections import Reading


def write(at: Instant) -> str:
    """Return a moment as text."""
    return format_timestamp(at.wall_ns)


def write_maybe(at: Instant | None) -> str | None:
    """Return a moment as text, or None."""
    return None if at is None else write(at)


def read(now: Instant, text: str) -> Instant:
    """Return a past moment from its text, which is valid."""
    return moment_then(now, kept_time(text) or 0)


def read_maybe(now: Instant, text: str | None) -> Instant | None:
    """Return a past moment from its text, or None."""
    return None if text is None else read(now, text)


def read_deadline(now: Instant, text: str | None) -> Instant | None:
    """Return a moment that may be in the future, or None."""
    if text is None:
        return None
    wall_ns = kept_time(text) or 0
    return Instant(wall_ns, now.monotonic_ns + wall_ns - now.wall_ns)


def check(reading: Reading, place: str, **times: str | None) -> None:
    """Report each of these times that does not have the contract's form (§1); None is skipped."""
    reading.times(place, **{name: text for name, text in times.items() if text is not None})
