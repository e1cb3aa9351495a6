"""The reach checker: whether the target could be asked at all. Where it could not, the other verdicts say less.

It never fails: each answer that is missing, or is a failure, is the answers checker's matter, and here is only how much
of the run can say nothing. While the run itself keeps the target from answering, nothing is held against anybody; but a
fleet of which no heartbeat was ever accepted proves nothing, whoever kept it from that.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from reference_server.wire.units import SECOND_NS
from simulator.checkers.excused import LOSES_NOTHING, Excused, refused_after
from simulator.checkers.keeping import kept
from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.contract.answers import Answer, Operation
from simulator.history.records import METRICS_PAGE, Trouble
from simulator.history.rows import HONEST, History
from simulator.platform.wording import all_of, plural, sentence

if TYPE_CHECKING:
    from simulator.checkers.facts import Facts

CAUSES_SHOWN = 3
UNANSWERED = (Answer.LOST, Answer.UNAVAILABLE, Answer.FAILED)


def check_reach(history: History, facts: Facts) -> Verdict:
    """Hold what stayed unanswered of the honest fleet's requests, and of the scrapes, against its budget."""
    rows = history.rows()
    faults, slowed = Excused(history), Excused(history, late=True)
    kept_away = faults.covers(rows["sent_ns"]) | refused_after(history, rows)
    honest = rows[(rows["campaign"] == HONEST) & ~kept_away]
    unsent = faults.count("connecting")
    missing = int(np.isin(honest["got"], UNANSWERED).sum()) + unsent
    asked = len(honest) + unsent
    scrapes_failed = faults.count("scrape") + faults.count(METRICS_PAGE)
    scrapes = len(history.scrapes) + scrapes_failed
    lists_failed = faults.count("audit list")
    lists = lists_failed + len({one.owner_id for one in history.audit_readings if not one.type})
    held_up = sum(sample.held_up for sample in history.generator if not slowed.covers_one(sample.at_ns))
    planned = int((rows["operation"] == Operation.HEARTBEAT).sum()) + held_up
    figures: dict[str, Any] = {
        "asked": asked,
        "unanswered": missing,
        "connections_failed": unsent,
        "scrapes": scrapes,
        "scrapes_failed": scrapes_failed,
        "lists": lists,
        "lists_failed": lists_failed,
        "held_up": held_up,
        "faults": len(history.faults),
    }
    budget = facts.unanswered_share_budget
    over = [
        f"{failed:,} of {total:,} {what}"
        for failed, total, what in (
            (missing, asked, "requests of the honest fleet got no answer that says anything"),
            (scrapes_failed, scrapes, "scrapes failed"),
            (lists_failed, lists, "readings of audit lists failed"),
            (held_up, planned, "planned heartbeats could not leave, as the target still owed an answer"),
        )
        if failed > budget * total
    ]
    fleet = rows[rows["campaign"] == HONEST]
    beats = fleet[fleet["operation"] == Operation.HEARTBEAT]
    due = beats[beats["expected"] == Answer.ACCEPTED]
    if not len(beats) and (registered := int((fleet["operation"] == Operation.REGISTER).sum())):
        over.append(f"none of the honest fleet sent a heartbeat after {plural(registered, 'request')} to register")
    if len(due) and not (due["got"] == Answer.ACCEPTED).any():
        over.append(f"none of {plural(len(due), 'heartbeat')} of the honest fleet was accepted")
    causes = _causes(history, honest)
    blamed = [one for one in causes if faults.left_of(one)]
    if not asked and not scrapes and not lists:
        return Verdict("reach", Status.NOT_APPLICABLE, "The target was asked for nothing.", (), figures)
    if not over:
        summary = (
            f"{_but(missing, asked, 'honest request')}, and {_but(scrapes_failed, scrapes, 'scrape')}, got an answer."
        )
        summary = sentence(summary)
        if hiding := sum(one.kind not in LOSES_NOTHING for one in history.faults):
            summary += f" What {plural(hiding, 'fault')} of the run's own kept from one is not counted."
        return Verdict("reach", Status.PASS, summary, (), figures)
    away = bool(kept_away.any()) and not (blamed or missing or scrapes_failed or lists_failed or held_up)
    findings = kept(map(_finding, blamed or causes))
    summary = f"{', and '.join(over)}. Why: {_why(blamed, away=away)}."
    return Verdict("reach", Status.INCONCLUSIVE, summary, findings, figures, len(blamed or causes))


def _why(causes: list[Trouble], *, away: bool) -> str:
    """Return what kept answers away, the run's own faults where it was `away` for them alone; and what to do."""
    if away:
        return "the run's own faults kept it away. Have them begin later, or end sooner"
    why = "; ".join(_describe(one) for one in causes[:CAUSES_SHOWN]) or "it answered too slowly"
    return f"{why}. Look at what the target did then"


def _but(missing: int, number: int, noun: str) -> str:
    """Return as text of how many something holds, and of how many it does not."""
    return f"all but {missing:,} of {plural(number, noun)}" if missing else all_of(number, noun)


def _causes(history: History, honest: np.ndarray[Any, Any]) -> list[Trouble]:
    """Return every cause, the most frequent first: what kept answers away, and answers of the kind that say nothing."""
    unavailable = honest[np.isin(honest["got"], [Answer.UNAVAILABLE, Answer.FAILED])]
    kinds = Counter(zip(unavailable["operation"].tolist(), unavailable["status"].tolist(), strict=True))
    causes = list(history.troubles)
    for (operation, status), count in kinds.items():
        same = unavailable[(unavailable["operation"] == operation) & (unavailable["status"] == status)]
        name = Operation(operation).name.lower().replace("_", " ")
        causes.append(
            Trouble(name, f"answered HTTP {status}", count, int(same["sent_ns"].min()), int(same["sent_ns"].max()))
        )
    return sorted(causes, key=lambda one: -one.count)


def _finding(one: Trouble) -> Finding:
    return Finding("reach.unanswered", _describe(one), one.first_ns, _evidence(one))


def _describe(one: Trouble) -> str:
    when = f"{one.first_ns / SECOND_NS:.1f}s"
    if one.count > 1:
        when = f"{one.count:,} times from {when} to {one.last_ns / SECOND_NS:.1f}s"
    return f"{one.what}: {one.why} ({when})"


def _evidence(one: Trouble) -> dict[str, Any]:
    return {"what": one.what, "why": one.why, "count": one.count, "first_ns": one.first_ns, "last_ns": one.last_ns}
