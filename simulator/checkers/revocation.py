"""The revocation checker: nothing sent after an acknowledged revoke of its consent is accepted (contract §4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from reference_server.wire.units import SECOND_NS
from simulator.checkers.keeping import kept, one_of_each_first
from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.checkers.wording import who
from simulator.contract.answers import Answer, Operation
from simulator.history.rows import HONEST, NEVER_NS, NONE, History
from simulator.platform.wording import plural

if TYPE_CHECKING:
    from collections.abc import Hashable

    from numpy.typing import NDArray

    from simulator.checkers.facts import Facts
    from simulator.history.records import Revocation

NONCES_SHOWN = 5
"""Of the heartbeats that follow from one consent; the rows of the history have the rest."""


class _Again(msgspec.Struct, frozen=True):
    """A consent that was accepted though its pair was over, and the campaign that sent it."""

    sent_ns: int
    answered_ns: int
    campaign: int = HONEST


class _Revoked(msgspec.Struct):
    """A pair of machine and policy version whose consent was revoked, or may have been.

    It took effect after `first_sent_ns`. The revoke that was acknowledged first is `acknowledged`. `again` is a
    consent to the same pair that was accepted after that; what was accepted since follows from it.
    """

    numbers: list[int]
    first_sent_ns: int
    acknowledged: Revocation | None
    again: _Again | None = None


def check_revocation(history: History, _facts: Facts) -> Verdict:
    """Find acceptances of what was sent after a revoke had its answer. A revoke without one never accuses anybody."""
    if not history.revocations:
        summary = "Nothing was revoked in this run."
        return Verdict("revocation", Status.NOT_APPLICABLE, summary, (), {"violations": 0})
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
    _consented_again(history, acknowledged)
    findings = _findings(history, rows[wrong], of_pair[wrong], acknowledged)
    figures |= {
        "violations": len(findings),
        "tried_after": int(late.sum()),
        "time_to_stop_s": _time_to_stop(rows[accepted], of_pair[accepted], acknowledged, dead_ns),
    }
    if len(wrong):
        summary = f"{len(wrong)} heartbeats were accepted after their consent was revoked; {findings[0].message}."
        return Verdict("revocation", Status.FAIL, summary, kept(findings), figures, len(findings))
    if not figures["tried_after"]:
        summary = f"After {len(acknowledged)} acknowledged revokes no heartbeat was tried."
        return Verdict("revocation", Status.NOT_APPLICABLE, summary, (), figures)
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


def times_to_stop_s(history: History) -> NDArray[np.float64]:
    """Return for each pair that was revoked for how long after that, at most, heartbeats of it were accepted.

    From the sending of its first revoke to the answer to the last heartbeat that was accepted; 0 where none was.
    """
    revoked = [pair for pair in _revoked_pairs(history) if pair.acknowledged is not None]
    rows = history.rows()
    rows = rows[(rows["operation"] == Operation.HEARTBEAT) & (rows["got"] == Answer.ACCEPTED)]
    times = [
        int((rows["answered_ns"][np.isin(rows["consent"], pair.numbers)] - pair.first_sent_ns).max(initial=0))
        for pair in revoked
    ]
    return np.array(times, dtype=np.float64) / SECOND_NS


def _consented_again(history: History, pairs: list[_Revoked]) -> None:
    """Find for each pair the first consent to it that was asked for and accepted after its revoke."""
    rows = history.rows()
    given = rows[(rows["operation"] == Operation.CONSENT_CREATE) & (rows["got"] == Answer.ACCEPTED)]
    # An attack's consent is none of the history's: a right server refuses it.
    hostile = given[given["expected"] != Answer.ACCEPTED]
    for pair in pairs:
        assert pair.acknowledged is not None  # noqa: S101 - only acknowledged revokes accuse
        consents = [history.consents[number - 1] for number in pair.numbers]
        mine = hostile[hostile["machine"] == consents[0].machine]
        again = [_Again(one.sent_ns, one.answered_ns) for one in consents]
        again += [_Again(int(one["sent_ns"]), int(one["answered_ns"]), int(one["campaign"])) for one in mine]
        later = [one for one in again if one.sent_ns > pair.acknowledged.answered_ns]
        pair.again = min(later, key=lambda one: one.sent_ns, default=None)


def _findings(
    history: History, wrong: NDArray[Any], of_pair: NDArray[np.int64], pairs: list[_Revoked]
) -> list[Finding]:
    """Accuse each acceptance, but those that a later consent explains together: one finding for each pair."""
    found = []
    explained: dict[int, list[NDArray[Any]]] = {}
    for row, index in zip(wrong, of_pair.tolist(), strict=True):
        again = pairs[index].again
        if again is not None and row["answered_ns"] > again.sent_ns:
            explained.setdefault(index, []).append(row)
        else:
            found.append(_finding(row, pairs[index], history))
    found += [_again_finding(rows, pairs[index], history) for index, rows in explained.items()]
    return one_of_each_first(sorted(found, key=lambda one: one.at_ns), lambda one: one.rule)


def _again_finding(rows: list[NDArray[Any]], pair: _Revoked, history: History) -> Finding:
    again, revoke = pair.again, pair.acknowledged
    assert again is not None  # noqa: S101 - what explains these rows
    assert revoke is not None  # noqa: S101 - only acknowledged revokes accuse
    consent = history.consents[pair.numbers[0] - 1]
    message = (
        f"{who(consent.machine)} was consented for again at {again.sent_ns / SECOND_NS:.3f}s, though the revoke of "
        f"consent {consent.consent_id}, acknowledged at {revoke.answered_ns / SECOND_NS:.3f}s, ends it for this "
        f"policy version (409); {len(rows)} heartbeats accepted after it follow from that"
    )
    evidence = {
        "machine": consent.machine,
        "consent": consent.consent_id,
        "policy": consent.policy_id,
        "consented_sent_ns": again.sent_ns,
        "consented_answered_ns": again.answered_ns,
        "revoke_sent_ns": revoke.sent_ns,
        "revoke_answered_ns": revoke.answered_ns,
        "accepted_after": len(rows),
        "first_accepted_sent_ns": int(rows[0]["sent_ns"]),
        "nonces": [bytes(row["nonce"]).hex() for row in rows[:NONCES_SHOWN]],
        **({} if again.campaign == HONEST else {"campaign": again.campaign}),
    }
    return Finding("revocation.consented-again", message, again.sent_ns, evidence)


def _finding(row: NDArray[Any], pair: _Revoked, history: History) -> Finding:
    revoke = pair.acknowledged
    assert revoke is not None  # noqa: S101 - only acknowledged revokes accuse
    consent = history.consents[int(row["consent"]) - 1]
    sent_ns, answered_ns = int(row["sent_ns"]), int(row["answered_ns"])
    message = (
        f"{who(row['machine'])} had a heartbeat accepted that was sent at {sent_ns / SECOND_NS:.3f}s, though the "
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
