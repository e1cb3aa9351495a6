"""The harness's own health in each second: the lag of its event loop, its CPU time, its waits for a CPU.

The runner of an event loop, Trio's or gevent's, sleeps `LAG_PROBE_SECONDS` repeatedly and reports when it woke.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from simulator.history.records import CpuWait, GeneratorSample
from simulator.history.starvation import HARNESS
from simulator.platform.cpu_waits import WaitMeter, read_waits

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.history.rows import History

LAG_PROBE_SECONDS = 0.1


def nothing_missed() -> tuple[int, int]:
    """Return zero counts, for processes without a schedule."""
    return 0, 0


class OwnHealth:
    """Records this process's health in a history, one sample a second. `ending` returns whether the run is over.

    `missed` returns the planned starts dropped so far, and those held up by the target. Waits for a CPU are recorded if
    this process is `apart` from the one that the run's own watch measures.
    """

    def __init__(
        self,
        history: History,
        now: Callable[[], int],
        missed: Callable[[], tuple[int, int]] = nothing_missed,
        *,
        ending: bool = False,
        apart: bool = False,
    ) -> None:
        self._history = history
        self._now = now
        self._missed = missed
        self._ending = ending
        self._before = missed() if ending else (0, 0)
        self._process = os.getpid()
        self._meter = WaitMeter(lambda: read_waits((self._process,)), now()) if apart else None
        self.begin()

    def begin(self) -> None:
        """Start a second."""
        self._began, self._cpu_began, self._worst = time.monotonic(), time.process_time(), 0.0

    @property
    def seconds(self) -> float:
        """Return the seconds since `begin`."""
        return time.monotonic() - self._began

    def woke(self, after_seconds: float) -> None:
        """Record how long a probe's sleep really took."""
        self._worst = max(self._worst, after_seconds - LAG_PROBE_SECONDS)

    def note(self) -> None:
        """Record the second."""
        share = (time.process_time() - self._cpu_began) / max(self.seconds, LAG_PROBE_SECONDS)
        missed, self._before = self._before, self._missed()
        dropped, held_up = (now - before for before, now in zip(missed, self._before, strict=True))
        now_ns = self._now()
        sample = GeneratorSample(now_ns, int(self._worst * 1e9), share, dropped, held_up, self._ending)
        self._history.generator.append(sample)
        if self._meter is not None and (waited := self._meter.read(now_ns)) is not None:
            self._history.cpu_waits.append(CpuWait(HARNESS, self._process, *waited))
