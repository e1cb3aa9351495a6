"""The coverage of a search: the states that runs have reached, which decide what is drawn next."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from simulator.contract.answers import Answer, Operation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from simulator.history.rows import History
    from simulator.judging.verdict_file import RunVerdict

NEWS_WEIGHT = 2.0
"""The factor by which an ingredient is drawn more often if its last run reached a new state."""

FAULT, NOT_UNDONE = "fault ", " that was not undone"
"""The prefix of the states of faults that happened, and the suffix if the fault was not undone."""


class Coverage:
    """For each state the number of runs that reached it, and for each ingredient how often it was drawn."""

    def __init__(self) -> None:
        self.states: Counter[str] = Counter()
        self.drawn: Counter[str] = Counter()
        self._fresh: set[str] = set()

    @property
    def faults(self) -> int:
        """Return the number of kinds of faults that have happened."""
        return sum(state.startswith(FAULT) and not state.endswith(NOT_UNDONE) for state in self.states)

    def weigh(self, ingredient: str) -> float:
        """Return the relative weight of drawing `ingredient`: the less often it was drawn, the higher."""
        return (NEWS_WEIGHT if ingredient in self._fresh else 1.0) / (1 + self.drawn[ingredient])

    def add(self, ingredients: Iterable[str], states: frozenset[str]) -> int:
        """Count a run by its ingredients and states; return how many of the states no earlier run had reached."""
        news = len(states - self.states.keys())
        self.states.update(states)
        for ingredient in ingredients:
            self.drawn[ingredient] += 1
            (self._fresh.add if news else self._fresh.discard)(ingredient)
        return news


def states_of(history: History, verdict: RunVerdict) -> frozenset[str]:
    """Return the states that a run reached, as texts: answers, claims, audit events, figures, faults."""
    return frozenset([
        *_answers(history), *_claims(history, verdict), *_market(history), *_audit(history), *_checks(verdict),
        *_faults(history),
    ])  # fmt: skip


def _answers(history: History) -> Iterator[str]:
    rows = history.rows()[["operation", "status", "expected", "got"]]
    for operation, status, expected, got in np.unique(rows).tolist():
        name = Operation(operation).name.lower()
        yield f"answer {name} {status} {Answer(got).name.lower()} for {Answer(expected).name.lower()}"


def _claims(history: History, verdict: RunVerdict) -> Iterator[str]:
    names = {one.campaign: one.attack for one in verdict.attacks}
    for claim in history.claims:
        yield f"claim {names.get(claim.campaign, '')} {claim.rule} {claim.held}"
    for record in history.campaigns:
        yield f"campaign {record.attack} {'to its end' if record.completed else 'cut off'}"


def _market(history: History) -> Iterator[str]:
    for one in history.market_exchanges:
        again = " again" if one.replayed else ""
        yield f"market {Operation(one.operation).name.lower()} {one.status} {one.data.get('message', '')}{again}"
    for report in history.job_reports:
        yield f"job {report.state}"


def _audit(history: History) -> Iterator[str]:
    for reading in history.audit_readings:
        for event in reading.events:
            yield f"event {event.get('type', '')} {event.get('reason', '')}"


def _faults(history: History) -> Iterator[str]:
    for one in history.faults:
        yield f"{FAULT}{one.kind}{NOT_UNDONE if one.problem else ''}"


def _checks(verdict: RunVerdict) -> Iterator[str]:
    for one in verdict.checkers:
        yield f"checker {one.name} {one.status.value}"
        yield from (f"checker {one.name} {finding.rule}" for finding in one.findings)
        yield from (f"checker {one.name} counts {figure}" for figure, value in one.figures.items() if value)
