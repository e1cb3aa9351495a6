"""What machines may, and must, have offered to the market: by their reports, their heartbeats and their policies.

A bound from above counts whatever may have been offered; one from below only what surely was.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from itertools import accumulate
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


class _Reports:
    """What one machine said that it has, in the order of sending: so that no moment is looked for among all of them."""

    def __init__(self, reports: list[CapacityReport]) -> None:
        self._reports = sorted(reports, key=lambda one: one.sent_ns)
        self._sent_ns = [one.sent_ns for one in self._reports]
        self._heard_by_ns = list(accumulate(map(_heard_by_ns, self._reports), max))
        """The latest by which any up to each was heard."""
        honest = sorted((one for one in self._reports if one.honest), key=lambda one: one.answered_ns)
        self._known_ns = [one.answered_ns for one in honest]
        self._over_ns = list(accumulate((one.sent_ns for one in honest), max))
        self._offered: dict[int, Capacity | None] = {}

    def known_since(self, moment_ns: int, *, at_it: bool) -> int:
        """Return when the last one was sent that was surely heard before a moment, or at it; `-NEVER_NS` for none."""
        count = (bisect_right if at_it else bisect_left)(self._known_ns, moment_ns)
        return self._over_ns[count - 1] if count else -NEVER_NS

    def not_over(self, over_ns: int, to_ns: int) -> list[int]:
        """Return which, sent until a moment, may have been heard at or after another."""
        last, first = bisect_right(self._sent_ns, to_ns), bisect_left(self._sent_ns, over_ns)
        first = min(first, last)
        while first and self._heard_by_ns[first - 1] >= over_ns:
            first -= 1
        return [at for at in range(first, last) if _heard_by_ns(self._reports[at]) >= over_ns]

    def offered(self, at: int) -> Capacity | None:
        """Return what one offers, as far as its policy lets it; None for what is malformed."""
        if at not in self._offered:
            one = self._reports[at]
            capacity = capacity_of(one.capacity)
            self._offered[at] = scale(capacity, one.rules) if capacity is not None and one.rules else capacity
        return self._offered[at]

    def always(self, at: int) -> bool:
        """Return whether one is known to be offered at every hour."""
        rules = self._reports[at].rules
        return bool(rules) and "allowed_hours" not in rules


class Workers:
    """The machines of a run as the market sees them."""

    def __init__(self, history: History, facts: Facts) -> None:
        self.numbers = {record.worker_id: number for number, record in history.machines.items()}
        """Machines by their workers' ids."""
        self.names = {number: worker_id for worker_id, number in self.numbers.items()}
        self.stale_ns = None if facts.stale_seconds is None else int(facts.stale_seconds * SECOND_NS)
        reports: dict[int, list[CapacityReport]] = defaultdict(list)
        for one in history.capacity_reports:
            reports[one.machine].append(one)
        self._reports = {machine: _Reports(own) for machine, own in reports.items()}
        rows = history.rows()
        beats = rows[rows["operation"] == Operation.HEARTBEAT]
        # Sorted once, so that no machine's heartbeats are looked for among all.
        self._rows = beats[np.lexsort((beats["sent_ns"], beats["machine"]))]
        self._machines = self._rows["machine"].astype(np.int64)  # else each search copies it
        self._beats: dict[int, Beats] = {}
        self._revoked_ns: dict[int, int] = {}
        for revoked in history.revocations:
            if 0 < revoked.consent <= len(history.consents):
                machine = history.consents[revoked.consent - 1].machine
                self._revoked_ns[machine] = min(revoked.sent_ns, self._revoked_ns.get(machine, NEVER_NS))
        consented = Counter(one.machine for one in history.consents)
        self._several_consents = {machine for machine, count in consented.items() if count > 1}

    def take_part(self) -> list[int]:
        """Return the machines that said what they have."""
        return sorted(self._reports)

    def beats(self, machine: int) -> Beats:
        """Return a machine's heartbeats."""
        if machine not in self._beats:
            own = self._rows[slice(*np.searchsorted(self._machines, [machine, machine + 1]))]
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
        reports = self._reports.get(machine)
        if reports is None:
            return []
        found = map(reports.offered, reports.not_over(reports.known_since(from_ns, at_it=False), to_ns))
        return [one for one in found if one is not None]

    def may_be_fresh(self, machine: int, from_ns: int, to_ns: int) -> bool:
        """Return whether a machine may have counted as fresh at a moment between two."""
        if self.stale_ns is None:
            return True
        beats, since_ns = self.beats(machine), from_ns - self.stale_ns - slack_ns_of(self.stale_ns)
        sure = np.any((beats.sent_ns <= to_ns) & (beats.answered_ns >= since_ns))
        return bool(sure) or beats.may_be_between(since_ns, to_ns)

    def surely_offers(self, machine: int, from_ns: int, to_ns: int) -> Capacity:
        """Return the least that a machine had to offer at every moment between two, jobs included."""
        reports = self._reports.get(machine)
        known_ns = -NEVER_NS if reports is None else reports.known_since(from_ns, at_it=True)
        if reports is None or known_ns == -NEVER_NS or self._revoked_ns.get(machine, NEVER_NS) <= to_ns:
            return NOTHING
        if machine in self._several_consents or not self._surely_fresh(machine, from_ns, to_ns):
            return NOTHING
        offers = []
        for at in reports.not_over(known_ns, to_ns):
            capacity = reports.offered(at)
            if capacity is None:
                continue  # what is malformed is ignored, and the last good one stays
            if not reports.always(at):
                return NOTHING
            offers.append(capacity)
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
