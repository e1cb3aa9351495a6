"""A clock that is set ahead or back while the server runs, as a system's clock is: what a fault or an attack sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_server.wire.units import drifted_ns
from reference_server.wire.values import Instant

if TYPE_CHECKING:
    from pathlib import Path

    from reference_server.ports import Clock


class SteppedClock:
    """Another clock, whose wall time is off by the nanoseconds that stand in a file, which is read each time.

    Whoever writes the file steps the clock; it is to be replaced as one. A second number is a drift in parts per
    million, from when the file is first read. The monotonic clock stays as it is, as it does when a system's clock is
    set.
    """

    def __init__(self, clock: Clock, file: Path) -> None:
        self._clock = clock
        self._file = file
        self._text = ""
        self._since_ns = 0

    def now(self) -> Instant:
        """Return the present moment. Raises OSError and ValueError for a file without a number."""
        now, text = self._clock.now(), self._file.read_text("ascii")
        if text != self._text:
            self._text, self._since_ns = text, now.monotonic_ns
        by_ns, _, drift_ppm = text.partition(" ")
        gained_ns = drifted_ns(float(drift_ppm or 0), now.monotonic_ns - self._since_ns)
        return Instant(now.wall_ns + int(by_ns) + gained_ns, now.monotonic_ns)
