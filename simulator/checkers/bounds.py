"""What every figure of a scrape may be, given what was sent and answered around it.

A request took effect somewhere between its sending and its answer; one whose answer was lost, at any time after it was
sent, or never. A scrape read somewhere between its own two ends. So each figure has a lower and an upper bound that
follow from the history, and outside of them is a proven error (design: truth and verdicts). Of two things at the same
nanosecond either may have come first: clocks may be coarser than that.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from reference_server.wire.units import SECOND_NS
from simulator.checkers.judging import UNSURE
from simulator.contract.answers import ALTERNATIVES, REASONS, Answer, Operation
from simulator.history.rows import NEVER_NS, NO_MACHINE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from simulator.checkers.facts import Facts
    from simulator.history.records import Scrape
    from simulator.history.rows import History

CLOCK_RATE_TOLERANCE = 500e-6
"""How differently two clocks may run: what NTP allows a clock to be slewed. Also covers windows counted in steps."""
LONG_AGO_NS = -(1 << 62)
LATE_REASONS = (
    Answer.TIMESTAMP_OUT_OF_WINDOW,
    Answer.INVALID_CERTIFICATE,
    Answer.POLICY_INVALID_CERTIFICATE,
)
"""What a request may be refused for only because it took effect long after it was sent."""


UNBOUNDED = 1 << 40
"""An upper bound where nobody knows how many there were: more than any run can have, and exact as a float."""


class Range(msgspec.Struct, frozen=True, gc=False):
    """A lower and an upper bound, both possible."""

    low: int
    high: int

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low} or more" if self.high >= UNBOUNDED else f"{self.low} to {self.high}"

    def open_above(self) -> Range:
        """Return the range of what may be that many or any more."""
        return Range(self.low, UNBOUNDED)


class ScrapeBounds(msgspec.Struct, frozen=True):
    """What a correct server may show in one scrape, in excess of what it showed before the run."""

    scrape: Scrape
    workers: Range
    unknown: Range
    stale: Range
    failures: Range
    recent: Range
    unattributed: Range
    by_reason: dict[str, Range]


class _Failures:
    """Failures in order: how many surely, and how many possibly, took effect by a moment or within a window."""

    def __init__(self, rows: NDArray[Any], possible: NDArray[Any]) -> None:
        self._sure_answered = np.sort(rows["answered_ns"])
        self._sure_sent = np.sort(rows["sent_ns"])
        self._possible_sent = np.sort(np.concatenate([rows["sent_ns"], possible["sent_ns"]]))
        self._possible_answered = np.sort(np.concatenate([rows["answered_ns"], possible["answered_ns"]]))

    def by(self, start_ns: int, end_ns: int) -> Range:
        """Count the failures up to a scrape between two moments."""
        low = int(np.searchsorted(self._sure_answered, start_ns, side="left"))
        return Range(low, int(np.searchsorted(self._possible_sent, end_ns, side="right")))

    def within(self, start_ns: int, end_ns: int, window_ns: int, apart_ns: int) -> Range:
        """Count those no older than the window at such a scrape, by clocks that are so far apart."""
        slack_ns = slack_ns_of(window_ns) + apart_ns
        # Surely inside: answered before the scrape began, less those that may have left the window by its end.
        left_by_end = int(np.searchsorted(self._sure_sent, end_ns - window_ns + slack_ns, side="right"))
        low = max(0, int(np.searchsorted(self._sure_answered, start_ns, side="left")) - left_by_end)
        # Possibly inside: sent before the scrape ended, less those that had surely left when it began.
        gone_by_start = int(np.searchsorted(self._possible_answered, start_ns - window_ns - slack_ns, side="left"))
        return Range(low, int(np.searchsorted(self._possible_sent, end_ns, side="right")) - gone_by_start)


def slack_ns_of(length_ns: int) -> int:
    """Return how much longer a length may seem on one clock than on the other: the slower one stretches it the most."""
    return math.ceil(length_ns * CLOCK_RATE_TOLERANCE / (1 - CLOCK_RATE_TOLERANCE))


def _latest(into: NDArray[np.int64], machines: NDArray[Any], moments: NDArray[Any]) -> None:
    np.maximum.at(into, machines, moments)


class _Advancing:
    """Rows in the order of one of their times, handed out as a cursor moves over them."""

    def __init__(self, rows: NDArray[Any], field: str) -> None:
        self._rows = rows[np.argsort(rows[field], kind="stable")]
        self._times = np.ascontiguousarray(self._rows[field])  # else each search copies it
        self._at = 0

    def until(self, moment_ns: int) -> NDArray[Any]:
        """Return the rows not given yet whose time is at or before a moment."""
        end = int(np.searchsorted(self._times, moment_ns, side="right"))
        taken = self._rows[self._at : end]
        self._at = max(self._at, end)
        return taken


class _Heard:
    """Which workers were registered and heard, surely and possibly, as a cursor moves over the scrapes in order."""

    def __init__(self, rows: NDArray[Any], possible: NDArray[Any], facts: Facts, apart_ns: int) -> None:
        operation, got, machine = rows["operation"], rows["got"], rows["machine"]
        accepted = rows[(operation == Operation.HEARTBEAT) & (got == Answer.ACCEPTED) & (machine != NO_MACHINE)]
        maybe = possible[(possible["operation"] == Operation.HEARTBEAT) & (possible["machine"] != NO_MACHINE)]
        self._sure_by_answer = _Advancing(accepted, "answered_ns")
        self._any_by_sending = _Advancing(np.concatenate([accepted, maybe]), "sent_ns")
        registered = rows[operation == Operation.REGISTER]
        refused = np.isin(registered["got"], [Answer.RATE_LIMITED, Answer.REFUSED])
        self._sure_registered = np.sort(registered["answered_ns"][registered["got"] == Answer.ACCEPTED])
        self._any_registered = np.sort(registered["sent_ns"][~refused])
        # The last acceptance of each machine: when the last sure one was sent at the earliest, and when the last
        # possible one took effect at the latest. Without a sure one, the first possible one was the earliest.
        machines = int(machine.max()) + 1 if len(rows) else 0
        self._sure_sent = np.full(machines, LONG_AGO_NS, dtype=np.int64)
        self._first_sent = np.full(machines, NEVER_NS, dtype=np.int64)
        self._possible_effect = np.full(machines, LONG_AGO_NS, dtype=np.int64)
        # Where nobody knows after how long a worker is stale, any that was ever heard of may be, and none must.
        self._known = facts.stale_seconds is not None
        self._stale_ns = int((facts.stale_seconds or 0.0) * SECOND_NS)
        self._slack_ns = slack_ns_of(self._stale_ns) + apart_ns

    def at(self, start_ns: int, end_ns: int) -> tuple[Range, Range, Range]:
        """Return how many workers there are, how many are unknown and how many stale, at a scrape between two times."""
        new = self._sure_by_answer.until(start_ns - 1)
        _latest(self._sure_sent, new["machine"], new["sent_ns"])
        new = self._any_by_sending.until(end_ns)
        _latest(self._possible_effect, new["machine"], new["answered_ns"])
        np.minimum.at(self._first_sent, new["machine"], new["sent_ns"])
        surely_heard = self._sure_sent > LONG_AGO_NS
        possibly_heard = self._possible_effect > LONG_AGO_NS
        stale_ns, slack_ns = self._stale_ns, self._slack_ns
        possibly_stale = end_ns - np.maximum(self._sure_sent, self._first_sent) > stale_ns - slack_ns
        possibly_fresh = possibly_heard & (self._possible_effect >= start_ns - stale_ns - slack_ns)
        workers = Range(
            int(np.searchsorted(self._sure_registered, start_ns, side="left")),
            int(np.searchsorted(self._any_registered, end_ns, side="right")),
        )
        unknown = Range(max(0, workers.low - int(possibly_heard.sum())), max(0, workers.high - int(surely_heard.sum())))
        surely_stale = int((surely_heard & ~possibly_fresh).sum()) if self._known else 0
        return workers, unknown, Range(surely_stale, int(possibly_stale.sum()))


def scrape_bounds(rows: NDArray[Any], scrapes: list[Scrape], facts: Facts, apart_ns: int = 0) -> Iterator[ScrapeBounds]:
    """Work out the bounds for each scrape, in order. Cost: rows, and machines for each scrape.

    Instances that share what they know tell each other when something was by their wall clocks, which are so far apart:
    by so much longer or less long ago it is for another one of them.
    """
    operation, got = rows["operation"], rows["got"]
    machine_facing = (operation == Operation.HEARTBEAT) | (operation == Operation.POLICY_FETCH)
    possible = rows[machine_facing & np.isin(got, UNSURE)].copy()
    possible["answered_ns"] = np.where(possible["got"] == Answer.LOST, NEVER_NS, possible["answered_ns"])
    failed = rows[np.isin(got, list(REASONS))]
    total = _Failures(failed, possible)
    nobody = _Failures(failed[failed["machine"] == NO_MACHINE], possible[possible["machine"] == NO_MACHINE])
    by_reason = _failures_by_reason(rows, failed, possible)
    heard = _Heard(rows, possible, facts, apart_ns)
    for scrape in scrapes:
        start_ns, end_ns = scrape.sent_ns, scrape.answered_ns
        workers, unknown, stale = heard.at(start_ns, end_ns)
        yield ScrapeBounds(
            scrape=scrape,
            workers=workers,
            unknown=unknown,
            stale=stale,
            failures=total.by(start_ns, end_ns),
            recent=total.within(start_ns, end_ns, int(facts.auth_window_seconds * SECOND_NS), apart_ns),
            unattributed=nobody.by(start_ns, end_ns),
            by_reason={reason: failures.by(start_ns, end_ns) for reason, failures in by_reason.items()},
        )


def _failures_by_reason(rows: NDArray[Any], failed: NDArray[Any], possible: NDArray[Any]) -> dict[str, _Failures]:
    """Return the failures by reason, but for those that say nothing about a certificate that may have been replaced."""
    doubted, unsure = perhaps_replaced(failed, rows), perhaps_replaced(possible, rows)
    found = {}
    for answer, reason in REASONS.items():
        for_certificate = answer in {Answer.INVALID_CERTIFICATE, Answer.POLICY_INVALID_CERTIFICATE}
        counted = failed["got"] == answer
        perhaps = failed[doubted & (counted | for_certificate)]
        more = possible[may_fail_as(possible, answer) | (unsure & for_certificate)]
        found[reason] = _Failures(failed[counted & ~doubted], np.concatenate([perhaps, more]))
    return found


def may_fail_as(possible: NDArray[Any], answer: Answer) -> NDArray[np.bool_]:
    """Return which unsure rows may have counted for a reason: the expected one, or any if the answer was unexpected.

    A lost one may also have come so late that its timestamp or its certificate was no longer good.
    """
    selected: NDArray[np.bool_] = (
        (possible["expected"] == answer)
        | np.isin(possible["expected"], list(ALTERNATIVES))
        | (possible["got"] == Answer.UNEXPECTED)
        | ((possible["got"] == Answer.LOST) & (answer in LATE_REASONS))
    )
    return selected


def perhaps_replaced(rows: NDArray[Any], others: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which requests may have been refused for a certificate that a rotation without answer had replaced.

    That check comes before those of signature and nonce, and its answer is the same (contract §4).
    """
    machines = max(1, int(rows["machine"].max(initial=-1)) + 1)
    rotations = others[(others["operation"] == Operation.CERTIFICATE) & np.isin(others["got"], UNSURE)]
    rotations = rotations[(rotations["machine"] != NO_MACHINE) & (rotations["machine"] < machines)]
    since_ns = np.full(machines, NEVER_NS, dtype=np.int64)
    np.minimum.at(since_ns, rotations["machine"], rotations["sent_ns"])
    open_timestamp = (rows["expected"] == Answer.EITHER) & (rows["got"] == Answer.TIMESTAMP_OUT_OF_WINDOW)
    later_checks = np.isin(rows["got"], [Answer.INVALID_SIGNATURE, Answer.NONCE_REPLAYED, *UNSURE])
    after = (rows["machine"] != NO_MACHINE) & (rows["answered_ns"] >= since_ns[rows["machine"]])
    replaced: NDArray[np.bool_] = (later_checks | open_timestamp) & after
    return replaced


def clocks_apart_ns(history: History, facts: Facts) -> int:
    """Return by how much the wall clocks of instances that share what they know differed at most, as faults set them.

    One server by itself measures all times by a clock that nobody sets.
    """
    low_ns, high_ns = faulty_clocks_ns(history)
    return high_ns - low_ns if facts.instances > 1 else 0


def faulty_clocks_ns(history: History) -> tuple[int, int]:
    """Return how far ahead faults set any wall clock, at least and at most: one that is right is among them."""
    low_ns = min((one.clock_low_ns for one in history.faults), default=0)
    return low_ns, max((one.clock_high_ns for one in history.faults), default=0)
