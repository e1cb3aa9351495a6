"""The search for the highest rate that holds: doubling, then bisection. No clock, no I/O: outcomes in, next rate out.

Measurements are noisy, so no single trial decides where the search turns: a rate that did not hold is tried again until
two trials agree, and so is every rate of the bisection and, at the end, the highest rate that held. The reported
interval is based on all trials: a trial that contradicts the majority widens it.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from simulator.limits import CAPACITY_STEPS_MAX

AGREEING = 2
"""The number of trials of a rate that must agree: the majority of three."""


class TrialOutcome(StrEnum):
    """HELD: every limit held. BROKE: the server broke one. HARNESS: the harness could not generate this load."""

    HELD = "held"
    BROKE = "broke"
    HARNESS = "harness"


class Bounds(msgspec.Struct, frozen=True):
    """The range to search, in heartbeats per second. `precision` is the interval's width as a share of its upper end.

    `is_required` is true if both ends are the one rate that a server must bear.
    """

    lowest: int
    highest: int
    precision: float
    is_required: bool = False

    @property
    def required(self) -> int | None:
        """Return the rate that is required, None if none is."""
        return self.highest if self.is_required else None


class Trial(msgspec.Struct, frozen=True):
    """The rate and the outcome of one step."""

    rate: int
    outcome: TrialOutcome


class Interval(msgspec.Struct, frozen=True):
    """The knowledge of a search, in heartbeats per second.

    `held` is the highest rate that held by majority, None if none did; `failed` is the lowest rate above it that did
    not hold, None if none failed. All trials up to `low` held, and all from `high` on did not: noise moves `low` and
    `high` further apart than `held` and `failed`.
    """

    held: int | None
    failed: int | None
    low: int | None
    high: int | None

    @property
    def width(self) -> float | None:
        """Return the distance from `low` to `high` as a share of `high`; None while there is no `high`."""
        return None if self.high is None else (self.high - (self.low or 0)) / self.high


class Search:
    """A search that returns one rate after the other, and takes the outcome of each."""

    def __init__(self, bounds: Bounds) -> None:
        if not 0 < bounds.lowest <= bounds.highest or not 0 < bounds.precision < 1:
            raise ValueError("a search goes from a positive rate to one not below it, with a precision between 0 and 1")
        self._bounds = bounds
        self.trials: list[Trial] = []

    def record(self, rate: int, outcome: TrialOutcome) -> None:
        """Add the outcome of a step at `rate`."""
        self.trials.append(Trial(rate, outcome))

    def next_rate(self) -> int | None:
        """Return the rate to try next; None if the interval is narrow enough or the bound on steps is reached."""
        if len(self.trials) >= CAPACITY_STEPS_MAX:
            return None
        undecided = next((rate for rate in self._rates() if self._votes(rate) in {(0, 1), (1, 1)}), None)
        if undecided is not None:
            return undecided
        held, failed = self._edges()
        bounds = self._bounds
        if failed is None:
            if held is None:
                return bounds.lowest
            if held < bounds.highest:
                return min(2 * held, bounds.highest)
            return held if not self._sure(held) else None
        return None if held is None else self._between(held, failed)

    def _between(self, held: int, failed: int) -> int | None:
        unsure = next((rate for rate in self._rates() if self._in_bisection(rate) and not self._sure(rate)), None)
        if unsure is not None:
            return unsure
        middle = (held + failed) // 2
        if failed - held > self._bounds.precision * failed and held < middle:
            return middle
        return None if self._sure(held) else held

    def _in_bisection(self, rate: int) -> bool:
        """Return whether `rate` was first tried after a rate had failed to hold."""
        first = next(index for index, trial in enumerate(self.trials) if trial.rate == rate)
        return any(trial.outcome is not TrialOutcome.HELD for trial in self.trials[:first])

    def interval(self) -> Interval:
        """Return the interval that the trials so far prove."""
        held, failed = self._edges()
        broken = [trial.rate for trial in self.trials if trial.outcome is not TrialOutcome.HELD]
        sound = [trial.rate for trial in self.trials if trial.outcome is TrialOutcome.HELD]
        low = max((rate for rate in sound if not broken or rate < min(broken)), default=None)
        high = min((rate for rate in broken if not sound or rate > max(sound)), default=None)
        return Interval(held, failed, low, high)

    def harness_was_the_limit(self) -> bool:
        """Return whether the harness, and not the server, was the limit at the lowest rate that failed.

        It was, unless the server broke a limit at that rate in as many trials as must agree.
        """
        _, failed = self._edges()
        return failed is not None and self.trials.count(Trial(failed, TrialOutcome.BROKE)) < AGREEING

    def _rates(self) -> list[int]:
        return list(dict.fromkeys(trial.rate for trial in self.trials))

    def _votes(self, rate: int) -> tuple[int, int]:
        """Return how often `rate` held, and how often it did not."""
        outcomes = [trial.outcome for trial in self.trials if trial.rate == rate]
        held = outcomes.count(TrialOutcome.HELD)
        return held, len(outcomes) - held

    def _sure(self, rate: int) -> bool:
        return max(self._votes(rate)) >= AGREEING

    def _edges(self) -> tuple[int | None, int | None]:
        """Return the highest rate that held below all that failed, and the lowest that failed, each by majority."""
        failed = min((rate for rate in self._rates() if self._votes(rate)[1] >= AGREEING), default=None)
        held = max(
            (
                rate
                for rate in self._rates()
                if self._votes(rate)[0] > self._votes(rate)[1] and (failed is None or rate < failed)
            ),
            default=None,
        )
        return held, failed
