"""The system's clocks. The only place of the server that reads them.

Where there is one, the monotonic clock is CLOCK_BOOTTIME, which goes on while the machine is suspended: a certificate
of 15 minutes must not live through a night in which a laptop, or a virtual machine, slept.
"""

from __future__ import annotations

import time

from reference_server.wire.values import Instant

_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemClock:
    """Unix time and the monotonic clock."""

    def now(self) -> Instant:
        """Read both clocks, one right after the other."""
        return Instant(time.time_ns(), time.clock_gettime_ns(_STEADY))  # noqa: TID251 - the one place that may
