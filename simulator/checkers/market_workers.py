"""What machines may, and must, have offered to the market: by their reports, their heartbeats and their policies.

A bound from above counts whatever may have been offered; one from below only what surely was.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reference_server.wire.units import SECOND_NS
from simulator.checkers.bounds import slack_ns_of
from simulator.checkers.judging import UNSURE
from simulator.contract.answers import Answer, Operation
from simulator.contract.pricing import Capacity, capacity_of, scale
from simulator.fleet.clocks import SKEW_WINDOW_NS
from simulator.history.rows import NEVER_NS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulator.checkers.facts import Facts
    from simulator.history.market_records import CapacityReport
    from simulator.history.rows import History

NOTHING = Capacity(0, 0)
_HEARD_WITHIN_NS = 2 * SKEW_WINDOW_NS
"""By when a heartbeat without an answer was heard, or never: it is refused once its timestamp is out of the window."""


class Beats(NamedTuple):
    """A machine's heartbeats in the order of sending: those that were accepted, and those that may have been."""

    sent_ns: NDArray[np.int64]
    answered_ns: NDArray[np.int64]
    first_answered_ns: NDArray[np.int64]
    """The earliest answer to each or any later one."""
    maybe_sent_ns: NDArray[np.int64]
    maybe_answered_ns: NDArray[np.int64]

    def may_be_between(self, from_ns: int, to_ns: int) -> bool:
        """Return whether a heartbeat may have been heard between two moments of which nobody knows."""
        return bool(np.any((self.maybe_sent_ns <= to_ns) & (self.maybe_answered_ns >= from_ns)))

    def one_within(self, from_ns: int, to_ns: int) -> bool:
        """Return whether one was sent and accepted between two moments."""
        first = int(np.searchsorted(self.sent_ns, from_ns))
        return first < len(self.sent_ns) and bool(self.first_answered_ns[first] <= to_ns)


class Workers:
    """The machines of a run as the market sees them."""

    def __init__(self, history: History, facts: Facts) -> None:
        self.numbers = {record.worker_id: number for number, record in history.machines.items()}
        """Machines by their workers' ids."""
        self.stale_ns = None if facts.stale_seconds is None else int(facts.stale_seconds * SECOND_NS)
        self._reports: dict[int, list[CapacityReport]] = defaultdict(list)
        for one in history.capacity_reports:
            self._reports[one.machine].append(one)
        for reports in self._reports.values():
            reports.sort(key=lambda one: one.sent_ns)
        rows = history.rows()
        beats = rows[rows["operation"] == Operation.HEARTBEAT]
        # Sorted once, so that no machine's heartbeats are looked for among all.
        self._rows = beats[np.lexsort((beats["sent_ns"], beats["machine"]))]
        self._beats: dict[int, Beats] = {}
        revoked = [
            (history.consents[one.consent - 1].machine, one.sent_ns)
            for one in history.revocations
            if 0 < one.consent <= len(history.consents)
        ]
        self._revoked_ns = {machine: min(at for other, at in revoked if other == machine) for machine, _ in revoked}
        consented = [one.machine for one in history.consents]
        self._several_consents = {machine for machine in set(consented) if consented.count(machine) > 1}

    def take_part(self) -> list[int]:
        """Return the machines that said what they have."""
        return sorted(self._reports)

    def beats(self, machine: int) -> Beats:
        """Return a machine's heartbeats."""
        if machine not in self._beats:
            machines = self._rows["machine"]
            own = self._rows[np.searchsorted(machines, machine) : np.searchsorted(machines, machine, side="right")]
            sure, maybe = own[own["got"] == Answer.ACCEPTED], own[np.isin(own["got"], UNSURE)]
            self._beats[machine] = Beats(
                sure["sent_ns"].copy(),
                sure["answered_ns"].copy(),
                np.minimum.accumulate(sure["answered_ns"][::-1])[::-1],
                maybe["sent_ns"].copy(),
                maybe["answered_ns"].copy(),
            )
        return self._beats[machine]

    def may_offer(self, machine: int, from_ns: int, to_ns: int) -> list[Capacity]:
        """Return all that a machine may have had to offer at a moment between two, jobs included."""
        reports = self._reports.get(machine, [])
        over_ns = max((one.sent_ns for one in reports if one.honest and one.answered_ns < from_ns), default=-NEVER_NS)
        found = []
        for one in reports:
            capacity = capacity_of(one.capacity) if one.sent_ns <= to_ns and over_ns <= _heard_by_ns(one) else None
            if capacity is not None:
                found.append(scale(capacity, one.rules) if one.rules else capacity)
        return found

    def may_be_fresh(self, machine: int, from_ns: int, to_ns: int) -> bool:
        """Return whether a machine may have counted as fresh at a moment between two."""
        if self.stale_ns is None:
            return True
        beats, since_ns = self.beats(machine), from_ns - self.stale_ns - slack_ns_of(self.stale_ns)
        sure = np.any((beats.sent_ns <= to_ns) & (beats.answered_ns >= since_ns))
        return bool(sure) or beats.may_be_between(since_ns, to_ns)

    def surely_offers(self, machine: int, from_ns: int, to_ns: int) -> Capacity:
        """Return the least that a machine had to offer at every moment between two, jobs included."""
        reports = [one for one in self._reports.get(machine, ()) if one.sent_ns <= to_ns]
        known = [one for one in reports if one.honest and one.answered_ns <= from_ns]
        if not known or machine in self._several_consents or self._revoked_ns.get(machine, NEVER_NS) <= to_ns:
            return NOTHING
        if not self._surely_fresh(machine, from_ns, to_ns):
            return NOTHING
        offers = []
        for one in (one for one in reports if known[-1].sent_ns <= _heard_by_ns(one)):
            capacity = capacity_of(one.capacity)
            if capacity is None:
                continue  # what is malformed is ignored, and the last good one stays
            if not one.rules or "allowed_hours" in one.rules:
                return NOTHING
            offers.append(scale(capacity, one.rules))
        if not offers:
            return NOTHING
        return Capacity(
            min(one.cpu for one in offers),
            min(one.memory for one in offers),
            {model: min(one.gpus.get(model, 0) for one in offers) for model in offers[0].gpus},
        )

    def _surely_fresh(self, machine: int, from_ns: int, to_ns: int) -> bool:
        if self.stale_ns is None:
            return False
        beats = self.beats(machine)
        first = int(np.searchsorted(beats.answered_ns, from_ns, side="right")) - 1
        if first < 0:
            return False
        last = int(np.searchsorted(beats.sent_ns, to_ns, side="right"))
        sent_ns = beats.sent_ns[first:last]
        heard_ns = np.append(beats.answered_ns[first + 1 : last], to_ns)
        longest_ns = int((heard_ns - sent_ns[: len(heard_ns)]).max(initial=0))
        return longest_ns + slack_ns_of(longest_ns) <= self.stale_ns


def _heard_by_ns(one: CapacityReport) -> int:
    """Return by when a report was heard, if it was at all."""
    return one.answered_ns if one.answered_ns != NEVER_NS else one.sent_ns + _HEARD_WITHIN_NS


def most_of(offers: list[Capacity]) -> Capacity:
    """Return the most of each quantity that is in any of some capacities."""
    models = {model for one in offers for model in one.gpus}
    return Capacity(
        max((one.cpu for one in offers), default=0),
        max((one.memory for one in offers), default=0),
        {model: max(one.gpus.get(model, 0) for one in offers) for model in models},
    )


def sum_of(offers: list[Capacity]) -> Capacity:
    """Return what some capacities come to."""
    models = {model for one in offers for model in one.gpus}
    gpus: dict[str, Any] = {model: sum(one.gpus.get(model, 0) for one in offers) for model in models}
    return Capacity(sum(one.cpu for one in offers), sum(one.memory for one in offers), gpus)
