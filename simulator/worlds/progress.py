"""The progress of a run: counters and happenings, for observers that look at it now and then."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from simulator.contract.answers import ALTERNATIVES, Answer
from simulator.history.counting import AnswerCounts
from simulator.limits import CHANGES_KEPT_MAX
from simulator.platform.ending import Ending

MARKET_COUNTERS = ("jobs_posted", "jobs_ended", "withdrawals_asked", "withdrawals_settled")
"""Counters of the players of agents."""


class Phase(StrEnum):
    """The phase of a run."""

    STARTING = "starting"
    POLICIES = "policies"
    WORKERS = "workers"
    """Waiting for the processes that play parts of the run."""
    RAMPING = "ramping"
    RUNNING = "running"
    LAST_ANSWERS = "last answers"
    ACCOUNTS = "accounts"
    AUDIT = "audit"
    DONE = "done"
    JUDGING = "judging"
    WRITING = "writing"


class Kind(StrEnum):
    """The kind of a happening."""

    FAULT = "fault"
    ATTACK = "attack"
    ALERT = "alert"


class Happening(msgspec.Struct, frozen=True):
    """A fault, a campaign or an alert, with times of the run in nanoseconds; `ended_ns` is None while it goes on.

    `number` distinguishes happenings with one name. `note` is a remark about its end.
    """

    kind: Kind
    name: str
    number: int
    began_ns: int
    ended_ns: int | None = None
    note: str = ""


class Progress:
    """Counters of one run, which began at `started_ns` of the system's monotonic clock.

    `counts` are the counted rows of the history, and `ending` the waits at the end of the run.
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
        """Current happenings, by kind, number and name."""
        self._changes: list[Happening] = []

    def connect(self) -> None:
        """Count a machine's connection at once: observers look only now and then, and could miss the maximum."""
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
        """Record the start of a happening."""
        self.under_way[kind, number, name] = happening = Happening(kind, name, number, at_ns)
        self._changed(happening)

    def end(self, kind: Kind, name: str, number: int, at_ns: int, note: str = "") -> None:
        """Record the end of a happening; ignored if its start was not recorded or it has ended."""
        if (happening := self.under_way.pop((kind, number, name), None)) is not None:
            self._changed(msgspec.structs.replace(happening, ended_ns=at_ns, note=note))

    def see_alert(self, name: str, at_ns: int, *, on: bool) -> None:
        """Record the state of an alert as the target shows it."""
        if on is not ((Kind.ALERT, 0, name) in self.under_way):
            if on:
                self.alerts_raised[name] = self.alerts_raised.get(name, 0) + 1
                self.begin(Kind.ALERT, name, 0, at_ns)
            else:
                self.end(Kind.ALERT, name, 0, at_ns)

    def take_changes(self) -> list[Happening]:
        """Return the happenings that began or ended since the last call."""
        taken, self._changes = self._changes, []
        return taken

    def follow(self, changes: list[Happening], shift_ns: int) -> None:
        """Record happenings of another process, whose times count from `shift_ns` of this run."""
        for one in changes:
            if one.ended_ns is None:
                self.begin(one.kind, one.name, one.number, one.began_ns + shift_ns)
            else:
                self.end(one.kind, one.name, one.number, one.ended_ns + shift_ns, one.note)

    def _changed(self, happening: Happening) -> None:
        if len(self._changes) < CHANGES_KEPT_MAX:
            self._changes.append(happening)
