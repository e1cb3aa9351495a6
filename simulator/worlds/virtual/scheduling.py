"""Trio by a seed: one number decides which task goes first wherever several may, and time passes when all wait.

The shipped pipeline plays here as it is, and each of its awaits is a place where another task may come first. The other
way would be to have it yield what it waits for, to a player of generators. Measured on a busy machine with two cores,
CPU each: a switch between tasks costs 6 us here and 0.6 there, a wait for a time 65 us and 0.7. An answer of three
instances that share their state costs 570 us, of which its four waits are 260; so 30 such answers a second play 58
times as fast as they would live, and a player of generators would at best double that. Heartbeats in memory, most of
what any world plays, wait for nothing either way. And for that factor of two every lock, event, timeout and
cancellation would have a second form, whose faults would be found in place of the pipeline's, and would be in the way
of real answers.
"""

from __future__ import annotations

import math
import random  # noqa: TID251 - a generator with a seed takes the place of Trio's own, which has none
from typing import TYPE_CHECKING, TypeVar

import trio
from trio._core import _run  # the one place that touches Trio's private parts: pyproject.toml bounds its version for it

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Result = TypeVar("Result")
SWITCH, RANDOM = "_ALLOW_DETERMINISTIC_SCHEDULING", "_r"
"""What Trio keeps for this: pytest-trio turns the first on for Hypothesis. Each batch of tasks that may run is then put
in the order in which they were made, and shuffled by the second."""
DAY_SECONDS = 86_400.0


class JumpingClock(trio.abc.Clock):
    """A clock that begins at 0, and jumps to the next deadline as soon as every task waits."""

    def __init__(self) -> None:
        self._now_seconds = 0.0

    def start_clock(self) -> None:
        """Do nothing: it never runs by itself."""

    def current_time(self) -> float:
        """Return how many seconds have passed."""
        return self._now_seconds

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Jump to a deadline, if there is one: Trio asks this when no task can run."""
        if deadline == math.inf:
            return deadline  # as Trio ends it waits for its own wake-up
        self._now_seconds = max(self._now_seconds, deadline)
        return 0.0


def run_seeded(
    main: Callable[..., Awaitable[Result]], *arguments: object, seed: int, seconds_max: float = DAY_SECONDS
) -> Result:
    """Run an async function to its end under a clock that begins at 0 and jumps, and return what it returns.

    The same seed and arguments give the same order of all steps, in any process, as long as nothing in it takes a
    thread, a socket or a signal. One at a time in a process. Raises TooSlowError past `seconds_max`, which comes at
    once where every task waits for another.
    """

    async def bounded() -> Result:
        with trio.fail_after(seconds_max):
            return await main(*arguments)

    before = vars(_run)[SWITCH], vars(_run)[RANDOM]
    vars(_run).update({SWITCH: True, RANDOM: random.Random(seed)})  # noqa: S311 - repeatable, not secret
    try:
        return trio.run(bounded, clock=JumpingClock())
    finally:
        vars(_run).update(zip((SWITCH, RANDOM), before, strict=True))
