"""Ending a process of tests that hangs where no exception reaches it: with the stacks of all its threads."""

from __future__ import annotations

import faulthandler
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SLACK_SECONDS = 60.0
"""How long a guard stays as it is: pytest's own is made and ended for each test, a thread each time, which waited for
a core for a tenth of the time that quick tests take on a busy machine."""


class Guard:
    """Ends this process when no test has begun for `seconds`, or up to SLACK_SECONDS more."""

    def __init__(
        self,
        seconds: float,
        arm: Callable[[float], None] | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stacks_to = os.dup(2)  # before tests have it captured
        self._seconds = seconds
        self._arm = arm or self._arm_really
        self._now = now
        self._armed_at: float | None = None

    def a_test_begins(self) -> None:
        """Have the guard wait for this test as long as for any."""
        now = self._now()
        if self._armed_at is None or now - self._armed_at >= SLACK_SECONDS:
            self._arm(self._seconds + SLACK_SECONDS)
            self._armed_at = now

    def close(self) -> None:
        """Leave the process alone."""
        faulthandler.cancel_dump_traceback_later()
        os.close(self._stacks_to)

    def _arm_really(self, seconds: float) -> None:
        faulthandler.dump_traceback_later(seconds, file=self._stacks_to, exit=True)
