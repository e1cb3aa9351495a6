"""Whether Locust's statistics, where it conducted a run, count the very requests that the history holds.

A self-check of the harness: statistics that people read and a verdict that a gate reads must be of the same run. Where
they differ, reports were lost on the way, and nobody can say which of the two is short.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from simulator.checkers.unknown import lost_parts
from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.contract.answers import Operation
from simulator.history.histogram import Histogram
from simulator.history.rows import HONEST
from simulator.judging.tally import ATTACK, name_of, tally
from simulator.platform.wording import plural

if TYPE_CHECKING:
    from simulator.history.rows import History

READS = name_of(Operation.OTHER)
"""The line that everything is counted under which owners read: Locust has a line for each kind of that."""


def check_statistics(history: History) -> Verdict:
    """Compare requests and failures, line by line."""
    if not history.locust_counts:
        return Verdict("statistics", Status.INCONCLUSIVE, "Locust ended before it had told its statistics.")
    known = {name_of(operation) for operation in Operation}
    shown: Counter[tuple[str, str, str]] = Counter()
    for line in history.locust_counts:
        method, name = (line.method, line.name) if line.method == ATTACK else name_in(line.method, line.name, known)
        shown[method, name, "requests"] += line.requests
        shown[method, name, "failures"] += line.failures
    recorded: Counter[tuple[str, str, str]] = Counter()
    for one in tally(history.rows(), _attacks(history)):
        answered = Histogram.from_wire(one.answered).count
        recorded[one.method, one.name, "requests"] += answered + one.lost
        recorded[one.method, one.name, "failures"] += sum(one.failures.values())
    figures = {"requests": sum(count for (_, _, what), count in recorded.items() if what == "requests")}
    differing = [key for key in sorted({*shown, *recorded}) if shown[key] != recorded[key]]
    if not differing:
        summary = f"Locust's statistics count the same {plural(figures['requests'], 'request')}, line by line."
        return Verdict("statistics", Status.PASS, summary, (), figures)
    lost = lost_parts(history)
    findings = tuple(
        Finding(
            "statistics.differ",
            f"{method} {name}: Locust counts {shown[method, name, what]} {what}, "
            f"the history {recorded[method, name, what]}",
            lost[0].known_until_ns if lost else 0,
            {"locust": shown[method, name, what], "history": recorded[method, name, what]},
        )
        for method, name, what in differing
    )
    why = "as processes were lost before they had told both" if lost else "so reports were lost on the way"
    summary = f"{len(differing)} of Locust's counts are not those of the history, {why}; {findings[0].message}."
    return Verdict("statistics", Status.INCONCLUSIVE, summary, findings, figures)


def name_in(method: str, name: str, known: set[tuple[str, str]]) -> tuple[str, str]:
    """Return the line that the history has for one of Locust's."""
    return (method, name) if (method, name) in known else READS


def _attacks(history: History) -> list[str]:
    """Name the campaigns by number, as `tally` takes them."""
    names = {one.number: one.attack for one in history.campaigns}
    return [names.get(number, f"campaign {number}") for number in range(HONEST + 1, max(names, default=HONEST) + 1)]
