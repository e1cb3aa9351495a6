"""The clock checker: whether the target and this machine agree on the time, without which neither can judge the other.

A correct server refuses heartbeats stamped more than 90 s off by its own clock (contract §4, check 5). Whose clock is
wrong nobody can tell from here, so a difference never fails a run. It is inconclusive, though: in earnest every honest
machine would be refused.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from reference_server.wire.units import SECOND_NS
from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.contract.answers import Answer, Operation

if TYPE_CHECKING:
    from simulator.checkers.facts import Facts
    from simulator.history.rows import History

WINDOW_NS = 90 * SECOND_NS
AGREEMENT_NS = SECOND_NS
"""Nearer to each other than this, and what was not known of either, clocks count as one."""
UNAUTHORIZED = HTTPStatus.UNAUTHORIZED
HINT = "Set both clocks by NTP and run again"


def check_clock(_history: History, facts: Facts) -> Verdict:
    """Hold the target's clock against this machine's, before the run and after it."""
    clock = facts.clock
    if clock is None:
        return Verdict("clock", Status.NOT_APPLICABLE, "Only the clock of a --target is held against this machine's.")
    figures: dict[str, Any] = {"before_ns": clock.before, "after_ns": clock.after, "used_ns": clock.used_ns}
    if clock.before is None:
        summary = "The target shows no time, neither on its health page nor as a Date: nobody knows how far it is off."
        return Verdict("clock", Status.INCONCLUSIVE, summary, (), figures)
    step_ns = _step_ns(facts)
    if step_ns:
        summary = (
            f"The target's clock was set {'ahead' if step_ns > 0 else 'back'} by about {_seconds(step_ns)} during the "
            f"run, so what it must have refused cannot be known. {HINT}."
        )
        return _undecided("clock.step", summary, figures)
    difference = _describe_offset(clock.before)
    if _surely_off_ns(clock.before) > WINDOW_NS:
        summary = (
            f"The target's clock is {difference} this machine's, and heartbeats more than 90 s off are refused: no "
            f"honest machine with this one's time could send any. {HINT}. In this run machines went by the target's "
            "clock, so that the rest could be judged."
        )
        return _undecided("clock.off", summary, figures)
    if clock.used_ns:
        summary = f"The target's clock is {difference} this machine's; machines went by the target's."
        return Verdict("clock", Status.PASS, summary, (), figures)
    return Verdict("clock", Status.PASS, "The target's clock agrees with this machine's.", (), figures)


def excuse_unknown_clock(history: History, facts: Facts) -> History:
    """Return a history that accuses nobody of what only a known clock could prove; the same one where it is known.

    What a server refused with 401 may have been out of its window, whatever else it was, and what it accepted may have
    been inside of it.
    """
    if facts.clock is None or (facts.clock.before is not None and not _step_ns(facts)):
        return history
    rows = history.rows().copy()
    heartbeats = rows["operation"] == Operation.HEARTBEAT
    refused = heartbeats & (rows["status"] == UNAUTHORIZED)
    skewed = heartbeats & (rows["expected"] == Answer.TIMESTAMP_OUT_OF_WINDOW)
    rows["expected"] = np.where(refused | skewed, Answer.EITHER, rows["expected"])
    rows["got"] = np.where(refused, Answer.UNAVAILABLE, rows["got"])
    doubtful = history.with_rows(rows)
    doubtful.claims = [msgspec.structs.replace(one, held=one.held or None) for one in history.claims]
    return doubtful


def _undecided(rule: str, summary: str, figures: dict[str, Any]) -> Verdict:
    return Verdict("clock", Status.INCONCLUSIVE, summary, (Finding(rule, summary, 0, figures),), figures)


def _step_ns(facts: Facts) -> int:
    """Return how far the target's clock was set during the run, 0 when that is not certain."""
    clock = facts.clock
    if clock is None or clock.before is None or clock.after is None:
        return 0
    least_ns, most_ns = clock.after[0] - clock.before[1], clock.after[1] - clock.before[0]
    if least_ns > AGREEMENT_NS or most_ns < -AGREEMENT_NS:
        return (least_ns + most_ns) // 2
    return 0


def _surely_off_ns(bounds: tuple[int, int]) -> int:
    return max(bounds[0], -bounds[1], 0)


def _describe_offset(bounds: tuple[int, int]) -> str:
    """Return how far the target's clock is off, as the start of a comparison."""
    middle_ns = (bounds[0] + bounds[1]) // 2
    return f"{_seconds(middle_ns)} {'ahead of' if middle_ns > 0 else 'behind'}"


def _seconds(length_ns: int) -> str:
    return f"{abs(length_ns) / SECOND_NS:.0f} s"
