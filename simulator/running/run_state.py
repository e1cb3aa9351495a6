"""What a run finds out while it goes on, before it is a record that is judged."""

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
    """What is known of a run, from before it begins until it is judged."""

    history: History
    progress: Progress
    baseline: dict[str, float]
    target: str
    started_at: datetime
    warnings: list[str]
    interrupted: str | None = None
    stale_seconds: float | None = None
    """What the target says; None where the scenario's is known to hold, or nothing better is known."""
    tape: Tape | None = None
    authority: str = ""
    clock: ClockFacts | None = None
    lacks: frozenset[Feature] | None = None
    """What the target was found not to have; None before anybody looked."""
    addresses: str = APART
    """Whether the server tells the run's addresses apart."""
    ended_early: EndedEarly | None = None
    conducted: Callable[[], tuple[History, int]] | None = None
    """Returns what `known` does of a run that is conducted."""
    failure: Exception | None = None
    """What the harness itself failed by."""
    secrets: KnownSecrets = msgspec.field(default_factory=KnownSecrets)
    log: LogSearch | None = None
    look_when_due: Callable[[], None] = lambda: None
    """Shows how the run stands, unless it was shown just now: for who plays where real time does not pass by itself."""
    tell: Callable[[str], None] = lambda _: None
    """Shows a warning to whoever watches the run."""

    def warn(self, *warnings: str) -> None:
        """Keep what the verdict's readers must know, and tell it at once: who watches may end the run and mend it."""
        self.warnings += warnings
        for one in warnings:
            self.tell(one)

    def known(self) -> tuple[History, int]:
        """Return what is known so far, and the moment of the run until which all is, in nanoseconds."""
        return (self.history, NEVER_NS) if self.conducted is None else self.conducted()

    def note_end(self, ended: EndedEarly) -> None:
        """Note what ended the run before its time."""
        self.ended_early = ended
        self.warn(f"ended early: {ended}")
