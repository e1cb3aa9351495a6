"""A clock that is set ahead or back while the server runs, as a system's clock is: what a staged attack steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_server.wire.values import Instant

if TYPE_CHECKING:
    from pathlib import Path

    from reference_server.ports import Clock


class SteppedClock:
    """Another clock, whose wall time is off by the nanoseconds that stand in a file, which is read each time.

    Whoever writes the file steps the clock; it is to be replaced as one. The monotonic clock stays as it is, as it does
    when a system's clock is set.
    """

    def __init__(self, clock: Clock, file: Path) -> None:
        self._clock = clock
        self._file = file

    def now(self) -> Instant:
        """Return the present moment. Raises OSError and ValueError for a file without a number."""
        now = self._clock.now()
        return Instant(now.wall_ns + int(self._file.read_text("ascii")), now.monotonic_ns)
