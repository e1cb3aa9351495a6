"""Whether answers agree with one another: ids that are given once, versions that rise, policies that stay as signed."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from simulator.checkers.audit_expected import single_policies
from simulator.checkers.incarnations import restarts_of
from simulator.checkers.possible import find_restarts
from simulator.checkers.verdict import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.checkers.facts import Facts
    from simulator.history.records import Shown
    from simulator.history.rows import History

ONCE = {"machine.created_at": "worker", "policy.created_at": "policy"}
"""Fields that only the answer shows by which something is made, and what that is."""
LASTING = {"policy.rules": "rules", "policy.signature": "signature"}
"""Fields of a policy that never change."""


def check_values(history: History, facts: Facts) -> Iterator[Finding]:
    """Hold what answers showed against what others did. A server that forgets what it knew counts versions anew."""
    by_field: dict[str, dict[str, list[Shown]]] = defaultdict(lambda: defaultdict(list))
    for one in history.shown:
        by_field[one.field][one.subject].append(one)
    for field, what in ONCE.items():
        again = [found for found in by_field[field].values() if len(found) > 1]
        if again:
            one = again[0][1]
            message = f"{what} {one.subject} was made {len(again[0])} times: an id is given once"
            yield _finding("id-again", message, one, again[0][0], len(again))
    for field, what in LASTING.items():
        changed = [found for found in by_field[field].values() if len({one.value for one in found}) > 1]
        if changed:
            first = changed[0][0]
            other = next(one for one in changed[0] if one.value != first.value)
            message = f"policy {first.subject} was shown with other {what} than before"
            yield _finding("policy-changed", message, other, first, len(changed))
    if facts.durable or not (restarts_of(history) or find_restarts(history, facts)):
        yield from _versions(by_field["policy.version"])
    yield from _fetched(by_field["fetched.policy"], single_policies(history))


def _versions(owners: dict[str, list[Shown]]) -> Iterator[Finding]:
    """Find versions that are given twice to one owner, or do not rise from one answer to the next request."""
    for owner_id, versions in owners.items():
        newest: Shown | None = None
        given: dict[str, Shown] = {}
        for one in sorted(versions, key=lambda one: one.sent_ns):
            before = given.get(one.value)
            if before is None and newest is not None and newest.answered_ns < one.sent_ns:
                before = newest if int(newest.value) > int(one.value) else None
            if before is not None:
                message = f"{owner_id} got policy version {one.value} after version {before.value}"
                yield _finding("version", message, one, before, 1)
                return
            given[one.value] = one
            if newest is None or int(one.value) > int(newest.value):
                newest = one


def _fetched(workers: dict[str, list[Shown]], policy_of: dict[str, str]) -> Iterator[Finding]:
    """Find workers that were given another policy than the only one that was ever consented to."""
    wrong = [
        one
        for worker_id, found in workers.items()
        if worker_id in policy_of
        for one in found
        if one.value != policy_of[worker_id]
    ]
    if wrong:
        one = wrong[0]
        message = f"{one.subject} fetched policy {one.value}, and only {policy_of[one.subject]} was consented to"
        yield _finding("policy-other", message, one, one, len(wrong))


def _finding(rule: str, message: str, one: Shown, before: Shown, count: int) -> Finding:
    evidence: dict[str, Any] = {
        "subject": one.subject,
        "shown": one.value,
        "sent_ns": one.sent_ns,
        "answered_ns": one.answered_ns,
        "before": before.value,
        "before_sent_ns": before.sent_ns,
        "count": count,
    }
    more = f" ({count:,} such)" if count > 1 else ""
    return Finding(f"contents.{rule}", message + more, one.sent_ns, evidence)
