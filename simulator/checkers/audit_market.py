"""Whether what was decided of jobs on an owner's machines is in that owner's audit (contract: Audit types added)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from simulator.checkers.audit_lists import MARKET
from simulator.checkers.verdict import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from simulator.checkers.audit_lists import OwnerAudit
    from simulator.checkers.market_view import JobStory

ASSIGNED, FINISHED = "job_assigned", "job_finished"


def check_market_events(owner: OwnerAudit, stories: Iterable[JobStory], whose: Mapping[str, str]) -> Iterator[Finding]:
    """Find jobs that ended on an owner's machine without just one event that they came there, and one of their end.

    Only of a list that has all that was ever in its stream. `whose` names the owner of each worker. A job that was
    given back has been on several machines, of which answers need not have shown each: it is not judged.
    """
    shown: Counter[tuple[str, str, str]] = Counter()
    for event in owner.events or ():
        if event.stream == MARKET:
            metadata = event.raw.get("metadata")
            state = str(metadata.get("state", "")) if isinstance(metadata, dict) else ""
            shown[event.type, event.object_id, state] += 1
    for story in stories:
        final = story.final
        if final is None or final.answered_ns >= owner.sent_ns or any(one.attempts for one in story.shown):
            continue
        if whose.get(final.worker_id) != owner.owner_id:
            continue
        for kind, state in ((ASSIGNED, ""), (FINISHED, final.state)):
            count = shown[kind, story.id, state]
            if count != 1:
                rule = "audit.duplicate" if count else "audit.missing"
                what = f"{count} events" if count else "no event"
                of_state = f" with state {state}" if state else ""
                message = f"{owner.owner_id} sees {what} {kind}{of_state} of job {story.id}, which was on its machine"
                evidence = {"owner": owner.owner_id, "job": story.id, "type": kind, "worker_id": final.worker_id}
                yield Finding(rule, message, final.sent_ns, evidence)
