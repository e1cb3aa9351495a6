"""Which states runs have reached, and what of it says what is drawn next."""

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
"""How much oftener than others an ingredient is drawn again whose last run showed something new."""

FAULT, NOT_UNDONE = "fault ", " that was not undone"
"""How the states of faults that happened begin, and how some end."""


class Coverage:
    """States by how many runs reached them, and ingredients by how often they were drawn."""

    def __init__(self) -> None:
        self.states: Counter[str] = Counter()
        self.drawn: Counter[str] = Counter()
        self._fresh: set[str] = set()

    @property
    def faults(self) -> int:
        """Return how many kinds of faults have happened."""
        return sum(state.startswith(FAULT) and not state.endswith(NOT_UNDONE) for state in self.states)

    def weigh(self, ingredient: str) -> float:
        """Return how often it is drawn, relative to others: the less often before, the more often next."""
        return (NEWS_WEIGHT if ingredient in self._fresh else 1.0) / (1 + self.drawn[ingredient])

    def add(self, ingredients: Iterable[str], states: frozenset[str]) -> int:
        """Count a run; return how many states no run had reached before it."""
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
