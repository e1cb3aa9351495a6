"""The system's clocks. The only place of the server that reads them."""

from __future__ import annotations

import time

from reference_server.wire.values import Instant


class SystemClock:
    """Unix time and the monotonic clock."""

    def now(self) -> Instant:
        """Read both clocks, one right after the other."""
        return Instant(time.time_ns(), time.monotonic_ns())  # noqa: TID251 - the one place that may
