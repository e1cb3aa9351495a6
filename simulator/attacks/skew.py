"""Timestamps outside the window, rightly signed."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from simulator.attacks.catalogue import Moment, Shot, ShotAttack, forge
from simulator.history import Answer

if TYPE_CHECKING:
    import numpy as np

    from simulator.fleet.machine import Machine

SECOND_NS = 1_000_000_000
BEHIND_SECONDS = 95
AHEAD_SECONDS = 115
"""Far enough outside the 90 s window that no clock difference brings it back in, nor, for a stamp that time catches up
with, the longest wait for a connection and an answer."""
FARTHEST_SECONDS = 86_400


class _Skewed(ShotAttack):
    direction: ClassVar[int]
    nearest_seconds: ClassVar[int]
    verdict = "401 invalid heartbeat auth"
    effect = "one worker_auth_failed event, reason timestamp_out_of_window"
    anchor = "contract §4, check 5"

    def shot(self, victim: Machine, moment: Moment, rng: np.random.Generator) -> Shot:
        """Stamp it a minute and a half to a day off."""
        seconds = self.nearest_seconds * (FARTHEST_SECONDS / self.nearest_seconds) ** float(rng.random())
        skew_ns = self.direction * int(seconds * SECOND_NS)
        return forge(victim, moment, rng, Answer.TIMESTAMP_OUT_OF_WINDOW, skew_ns=skew_ns)


class SkewBehind(_Skewed):
    """A heartbeat stamped in the past."""

    name = "skew.behind"
    shape = "a rightly signed heartbeat stamped 95 s to one day in the past"
    direction = -1
    nearest_seconds = BEHIND_SECONDS


class SkewAhead(_Skewed):
    """A heartbeat stamped in the future."""

    name = "skew.ahead"
    shape = "a rightly signed heartbeat stamped 115 s to one day in the future"
    direction = 1
    nearest_seconds = AHEAD_SECONDS
