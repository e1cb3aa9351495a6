"""The state of a run in progress, from which the record for judging is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from simulator.checkers.facts import APART
from simulator.client.known_secrets import KnownSecrets
from simulator.history.rows import NEVER_NS

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from simulator.checkers.facts import ClockFacts
    from simulator.checkers.server_log import LogSearch
    from simulator.contract.features import Feature
    from simulator.history.rows import History
    from simulator.judging.record import EndedEarly
    from simulator.traces.tape import Tape
    from simulator.worlds.progress import Progress


class RunState(msgspec.Struct):
    """Everything known of a run, from before it begins until it is judged."""

    history: History
    progress: Progress
    baseline: dict[str, float]
    target: str
    started_at: datetime
    warnings: list[str]
    interrupted: str | None = None
    stale_seconds: float | None = None
    """The stale threshold that the target shows, in seconds; None if the scenario's holds or the target shows none."""
    tape: Tape | None = None
    authority: str = ""
    clock: ClockFacts | None = None
    lacks: frozenset[Feature] | None = None
    """The features that the target lacks; None before it was probed."""
    addresses: str = APART
    """Whether the server tells the run's addresses apart, as a value of `simulator.checkers.facts`."""
    ended_early: EndedEarly | None = None
    conducted: Callable[[], tuple[History, int]] | None = None
    """For a run that Locust conducts, the function that `known` calls."""
    failure: Exception | None = None
    """The exception by which the harness itself failed, if it did."""
    secrets: KnownSecrets = msgspec.field(default_factory=KnownSecrets)
    log: LogSearch | None = None
    look_when_due: Callable[[], None] = lambda: None
    """Updates the view if an update is due; called in virtual time, where no task can do this by the real clock."""
    tell: Callable[[str], None] = lambda _: None
    """Shows a warning in the view of the run."""

    def warn(self, *warnings: str) -> None:
        """Keep warnings for the verdict, and show each at once, so that the user can end the run and fix the cause."""
        self.warnings += warnings
        for one in warnings:
            self.tell(one)

    def known(self) -> tuple[History, int]:
        """Return the history so far, and the time of the run up to which it is complete, in nanoseconds."""
        return (self.history, NEVER_NS) if self.conducted is None else self.conducted()

    def note_end(self, ended: EndedEarly) -> None:
        """Note the threshold that ended the run early, and warn of it."""
        self.ended_early = ended
        self.warn(f"ended early: {ended}")
