"""What a run can tell while it goes on: counters, and what goes on for a while, for whoever looks now and then."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from simulator.contract.answers import ALTERNATIVES, Answer
from simulator.history.counting import AnswerCounts
from simulator.limits import CHANGES_KEPT_MAX
from simulator.platform.ending import Ending

MARKET_COUNTERS = ("jobs_posted", "jobs_ended", "withdrawals_asked", "withdrawals_settled")
"""What those who play agents count."""


class Phase(StrEnum):
    """What a run is at."""

    STARTING = "starting"
    POLICIES = "policies"
    WORKERS = "workers"
    """Processes that play shares of it are awaited."""
    RAMPING = "ramping"
    RUNNING = "running"
    LAST_ANSWERS = "last answers"
    ACCOUNTS = "accounts"
    AUDIT = "audit"
    DONE = "done"
    JUDGING = "judging"
    WRITING = "writing"


class Kind(StrEnum):
    """What goes on for a while."""

    FAULT = "fault"
    ATTACK = "attack"
    ALERT = "alert"


class Happening(msgspec.Struct, frozen=True):
    """A fault, a campaign or an alert, by the run's time in nanoseconds; `ended_ns` is None while it goes on.

    `number` tells apart what has one name. `note` says what there is to be said of its end.
    """

    kind: Kind
    name: str
    number: int
    began_ns: int
    ended_ns: int | None = None
    note: str = ""


class Progress:
    """Counters of one run, which began at `started_ns` of the system's monotonic clock.

    `counts` are of rows that somebody counted, and `ending` is what the run waits for at its end.
    """

    def __init__(self) -> None:
        self.phase = Phase.STARTING
        self.counts = AnswerCounts()
        self.ending = Ending()
        self.machines_wanted = 0
        self.machines_running = 0
        self.connected = 0
        self.connected_max = 0
        self.memory_max_bytes: int | None = None
        self.sent = 0
        self.in_flight = 0
        self.accepted = 0
        self.refused = 0
        self.lost = 0
        self.connect_failures = 0
        self.onboarding_failures = 0
        self.dropped_starts = 0
        self.held_up = 0
        self.attacks_refused = 0
        self.attacks_accepted = 0
        self.attacks_other = 0
        self.attempts_skipped = 0
        self.jobs_posted = 0
        self.jobs_ended = 0
        self.withdrawals_asked = 0
        self.withdrawals_settled = 0
        self.elapsed_ns = 0
        self.started_ns = 0
        self.scrape_failures = 0
        self.last_problem = ""
        self.alerts_raised: dict[str, int] = {}
        self.under_way: dict[tuple[Kind, int, str], Happening] = {}
        """What goes on now, by kind, number and name."""
        self._changes: list[Happening] = []

    def connect(self) -> None:
        """Count a machine's connection: at once, as fewer may be up whenever somebody looks."""
        self.connected += 1
        self.connected_max = max(self.connected_max, self.connected)

    def answered(self, got: Answer) -> None:
        """Count an honest heartbeat's answer."""
        if got is Answer.ACCEPTED:
            self.accepted += 1
        else:
            self.refused += 1

    def attacked(self, got: Answer, expected: Answer) -> None:
        """Count a hostile request's answer."""
        allowed = got is expected or got in ALTERNATIVES.get(expected, ())
        if got is Answer.ACCEPTED and not allowed:
            self.attacks_accepted += 1
        elif got in {Answer.RATE_LIMITED, Answer.UNAVAILABLE, Answer.FAILED, Answer.LOST}:
            self.attacks_other += 1
        else:
            self.attacks_refused += 1

    def begin(self, kind: Kind, name: str, number: int, at_ns: int) -> None:
        """Note that something begins."""
        self.under_way[kind, number, name] = happening = Happening(kind, name, number, at_ns)
        self._changed(happening)

    def end(self, kind: Kind, name: str, number: int, at_ns: int, note: str = "") -> None:
        """Note that something ends; what was not seen to begin, or has ended already, does not."""
        if (happening := self.under_way.pop((kind, number, name), None)) is not None:
            self._changed(msgspec.structs.replace(happening, ended_ns=at_ns, note=note))

    def see_alert(self, name: str, at_ns: int, *, on: bool) -> None:
        """Note what a target shows of an alert."""
        if on is not ((Kind.ALERT, 0, name) in self.under_way):
            if on:
                self.alerts_raised[name] = self.alerts_raised.get(name, 0) + 1
                self.begin(Kind.ALERT, name, 0, at_ns)
            else:
                self.end(Kind.ALERT, name, 0, at_ns)

    def take_changes(self) -> list[Happening]:
        """Return what has begun or ended since the last call."""
        taken, self._changes = self._changes, []
        return taken

    def follow(self, changes: list[Happening], shift_ns: int) -> None:
        """Note what began and ended elsewhere, where times count from `shift_ns` of this run."""
        for one in changes:
            if one.ended_ns is None:
                self.begin(one.kind, one.name, one.number, one.began_ns + shift_ns)
            else:
                self.end(one.kind, one.name, one.number, one.ended_ns + shift_ns, one.note)

    def _changed(self, happening: Happening) -> None:
        if len(self._changes) < CHANGES_KEPT_MAX:
            self._changes.append(happening)
