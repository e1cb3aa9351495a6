"""The revocation checker: nothing sent after an acknowledged revoke of its consent is accepted (contract §4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.history import NEVER_NS, NONE, Answer, History, Operation
from simulator.limits import FINDINGS_MAX
from simulator.wording import plural

if TYPE_CHECKING:
    from collections.abc import Hashable

    from numpy.typing import NDArray

    from simulator.checkers.facts import Facts
    from simulator.records import Revocation

SECOND_NS = 1_000_000_000


class _Revoked(msgspec.Struct):
    """A pair of machine and policy version whose consent was revoked, or may have been.

    It took effect after `first_sent_ns`. The revoke that was acknowledged first is `acknowledged`.
    """

    numbers: list[int]
    first_sent_ns: int
    acknowledged: Revocation | None


def check_revocation(history: History, _facts: Facts) -> Verdict:
    """Find acceptances of what was sent after a revoke had its answer. A revoke without one never accuses anybody."""
    if not history.revocations:
        return Verdict("revocation", Status.PASS, "Nothing was revoked in this run.", (), {"violations": 0})
    pairs = _revoked_pairs(history)
    acknowledged = [pair for pair in pairs if pair.acknowledged is not None]
    figures: dict[str, Any] = {"revoked": len(pairs), "acknowledged": len(acknowledged)}
    if not acknowledged:
        summary = f"None of {plural(len(history.revocations), 'revoke')} was acknowledged, so none had to hold."
        return Verdict("revocation", Status.INCONCLUSIVE, summary, (), figures)
    which = np.full(len(history.consents) + 1, -1, dtype=np.int64)
    for index, pair in enumerate(acknowledged):
        which[pair.numbers] = index
    rows = history.rows()
    rows = rows[(rows["operation"] == Operation.HEARTBEAT) & (rows["consent"] < len(which))]
    rows = rows[which[rows["consent"]] >= 0]
    of_pair = which[rows["consent"]]
    dead_ns = np.array([pair.acknowledged.answered_ns for pair in acknowledged if pair.acknowledged], dtype=np.int64)
    late = rows["sent_ns"] > dead_ns[of_pair]
    accepted = rows["got"] == Answer.ACCEPTED
    wrong = np.flatnonzero(late & accepted)
    wrong = wrong[np.argsort(rows["sent_ns"][wrong], kind="stable")]
    figures |= {
        "violations": len(wrong),
        "tried_after": int(late.sum()),
        "time_to_stop_s": _time_to_stop(rows[accepted], of_pair[accepted], acknowledged, dead_ns),
    }
    if len(wrong):
        findings = tuple(_finding(rows[at], acknowledged[of_pair[at]], history) for at in wrong[:FINDINGS_MAX])
        summary = f"{len(wrong)} heartbeats were accepted after their consent was revoked; {findings[0].message}."
        return Verdict("revocation", Status.FAIL, summary, findings, figures)
    summary = (
        f"After {plural(len(acknowledged), 'acknowledged revoke')} nothing more was accepted: "
        f"{plural(figures['tried_after'], 'heartbeat')} tried."
    )
    return Verdict("revocation", Status.PASS, summary, (), figures)


def _revoked_pairs(history: History) -> list[_Revoked]:
    """Gather the revokes of each pair of machine and policy version: a revoke ends the pair for good."""
    numbers: dict[Hashable, list[int]] = {}
    key_of: list[Hashable] = [NONE]
    for number, consent in enumerate(history.consents, 1):
        key: Hashable = (consent.machine, consent.policy_id) if consent.policy_id else number
        key_of.append(key)
        numbers.setdefault(key, []).append(number)
    pairs: dict[Hashable, _Revoked] = {}
    for one in history.revocations:
        if not NONE < one.consent < len(key_of):
            continue
        key = key_of[one.consent]
        pair = pairs.setdefault(key, _Revoked(numbers[key], one.sent_ns, None))
        pair.first_sent_ns = min(pair.first_sent_ns, one.sent_ns)
        before = pair.acknowledged
        if one.answered_ns != NEVER_NS and (before is None or one.answered_ns < before.answered_ns):
            pair.acknowledged = one
    return list(pairs.values())


def _time_to_stop(
    accepted: NDArray[Any], of_pair: NDArray[np.int64], pairs: list[_Revoked], dead_ns: NDArray[np.int64]
) -> tuple[float, float]:
    """Bound how long after its revoke the last heartbeat of any pair was accepted, in seconds."""
    revoked_ns = np.array([pair.first_sent_ns for pair in pairs], dtype=np.int64)
    surely = accepted["sent_ns"] - dead_ns[of_pair]
    possibly = accepted["answered_ns"] - revoked_ns[of_pair]
    low_ns, high_ns = max(0, int(surely.max(initial=0))), max(0, int(possibly.max(initial=0)))
    return low_ns / SECOND_NS, high_ns / SECOND_NS


def _finding(row: NDArray[Any], pair: _Revoked, history: History) -> Finding:
    revoke = pair.acknowledged
    assert revoke is not None  # noqa: S101 - only acknowledged revokes accuse
    consent = history.consents[int(row["consent"]) - 1]
    sent_ns, answered_ns = int(row["sent_ns"]), int(row["answered_ns"])
    message = (
        f"machine {row['machine']} had a heartbeat accepted that was sent at {sent_ns / SECOND_NS:.3f}s, though the "
        f"revoke of its consent {consent.consent_id} had been acknowledged at {revoke.answered_ns / SECOND_NS:.3f}s"
    )
    evidence = {
        "machine": int(row["machine"]),
        "campaign": int(row["campaign"]),
        "nonce": bytes(row["nonce"]).hex(),
        "consent": consent.consent_id,
        "policy": consent.policy_id,
        "sent_ns": sent_ns,
        "answered_ns": answered_ns,
        "revoke_sent_ns": revoke.sent_ns,
        "revoke_answered_ns": revoke.answered_ns,
    }
    return Finding("revocation.accepted-after", message, sent_ns, evidence)
