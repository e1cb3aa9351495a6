"""The log, which nobody can flood: each place that logs has a rate, each line a length, and no control characters."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from reference_server.limits import LOG_LINE_MAX_CHARACTERS, LOG_LINES_PER_SECOND, LOG_TRACE_MAX_CHARACTERS
from reference_server.wire.units import SECOND_NS

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.ports import Clock


def escaped(text: str) -> str:
    """Return a text as one line of characters that can be seen, whatever clients put into it."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def shortened(text: str, most: int = LOG_LINE_MAX_CHARACTERS) -> str:
    """Return its beginning, and how much is left out."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text) - most} characters left out)"


class _Place:
    """One place in the code that logs: how much it has logged in this second, and what was left out since."""

    __slots__ = ("left_out", "lines", "second")

    def __init__(self) -> None:
        self.second = -1
        self.lines = self.left_out = 0


class BoundedLog(logging.Handler):
    """Writes records, each as a line and, for a fault of ours, its traceback; no more of them than `limits` allows.

    What is left out is counted, and said with the next line of the same place, or when the log is closed.
    """

    def __init__(self, write: Callable[[str], object], clock: Clock) -> None:
        super().__init__(logging.WARNING)
        self._write = write
        self._clock = clock
        self._places: dict[tuple[str, int], _Place] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or count it."""
        now = self._clock.now()
        place = self._places.setdefault((record.pathname, record.lineno), _Place())
        second = now.monotonic_ns // SECOND_NS
        if place.second != second:
            place.second, place.lines = second, 0
        if place.lines >= LOG_LINES_PER_SECOND:
            place.left_out += 1
            return
        place.lines += 1
        try:
            at = datetime.fromtimestamp(now.wall_ns // SECOND_NS, UTC).strftime("%Y-%m-%d %H:%M:%S")
            self._say_left_out(place, at)
            self._write(f"{at} {record.levelname} {shortened(escaped(record.getMessage()))}\n{self._trace(record)}")
        except Exception:  # noqa: BLE001 - a log that cannot be written must not cost anybody an answer
            self.handleError(record)

    def close(self) -> None:
        """Log how much was left out last."""
        for place in self._places.values():
            self._say_left_out(place, "")
        super().close()

    def _say_left_out(self, place: _Place, at: str) -> None:
        if place.left_out:
            left_out, place.left_out = place.left_out, 0
            self._write(f"{at} WARNING {left_out} more lines like the following or the last were left out\n".lstrip())

    @staticmethod
    def _trace(record: logging.LogRecord) -> str:
        """Return the traceback of what is logged, from its end, where the fault is."""
        if not record.exc_info:
            return ""
        lines = [escaped(line) for line in logging.Formatter().formatException(record.exc_info).split("\n")]
        trace = "\n".join(f"  {shortened(line)}" for line in lines)
        if len(trace) > LOG_TRACE_MAX_CHARACTERS:
            trace = f"  ... {trace[-LOG_TRACE_MAX_CHARACTERS:]}"
        return trace + "\n"


def install(write: Callable[[str], object], clock: Clock) -> None:
    """Send everything that is logged in this process, by whichever library, through one bounded log alone."""
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    root.handlers[:] = [BoundedLog(write, clock)]
