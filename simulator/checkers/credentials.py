"""The credentials checker: nothing is accepted outside a certificate's life (contract §3, §4, check 7).

A certificate lives from its issue until its time is over or the next one of its machine is issued. Refusing a good one
is a wrong answer, and the answers checker's matter.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from reference_server.wire.units import SECOND_NS
from simulator.checkers.bounds import clocks_apart_ns, slack_ns_of
from simulator.checkers.keeping import kept
from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.checkers.wording import who
from simulator.contract.answers import ALTERNATIVES, Answer, Operation
from simulator.history.rows import NEVER_NS, NO_MACHINE, NONE, History

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulator.checkers.facts import Facts

MAY_BE_ACCEPTED = (
    Answer.ACCEPTED,
    *(open_question for open_question, answers in ALTERNATIVES.items() if Answer.ACCEPTED in answers),
)
"""Expectations of requests that a correct server may accept."""


class _Lifetimes(msgspec.Struct, frozen=True):
    """By certificate number, 0 for none: whose it is, and from when on it is surely over or replaced."""

    machine: NDArray[np.int64]
    over_ns: NDArray[np.int64]
    replaced_ns: NDArray[np.int64]


def check_credentials(history: History, facts: Facts) -> Verdict:
    """Find acceptances under a certificate that was surely dead, another machine's, or none at all."""
    rows = history.rows()
    rows = rows[(rows["operation"] == Operation.HEARTBEAT) | (rows["operation"] == Operation.POLICY_FETCH)]
    lifetimes = _lifetimes(history, clocks_apart_ns(history, facts))
    known = rows["certificate"] < len(lifetimes.machine)
    rows = rows[known & (rows["machine"] != NO_MACHINE)]
    number = rows["certificate"].astype(np.int64)
    real = number != NONE
    over, replaced = rows["sent_ns"] > lifetimes.over_ns[number], rows["sent_ns"] > lifetimes.replaced_ns[number]
    foreign = real & (lifetimes.machine[number] != rows["machine"])
    bearer = np.isin(rows["machine"], lifetimes.machine[1:])
    # These two say something about the sender's intention, so it must not have meant a request that may be accepted.
    never_good = (foreign | (~real & bearer)) & ~np.isin(rows["expected"], MAY_BE_ACCEPTED)
    accepted = rows["got"] == Answer.ACCEPTED
    wrong = np.flatnonzero(accepted & (never_good | (real & ~foreign & (over | replaced))))
    wrong = wrong[np.argsort(rows["sent_ns"][wrong], kind="stable")]
    figures: dict[str, Any] = {
        "certificates": len(history.certificates),
        "accepted": int((accepted & real).sum()),
        "tried_dead": int((real & (over | replaced)).sum()),
        "violations": len(wrong),
    }
    if len(wrong):
        findings = kept(_finding(rows[at], lifetimes, history) for at in wrong)
        summary = f"{len(wrong)} requests were accepted without a living certificate; {findings[0].message}."
        return Verdict("credentials", Status.FAIL, summary, findings, figures, len(wrong))
    if not history.certificates:
        return Verdict("credentials", Status.NOT_APPLICABLE, "No certificate was issued in this run.", (), figures)
    summary = (
        f"All {figures['accepted']:,} accepted requests came under a living certificate; "
        f"{figures['tried_dead']:,} tried a dead one."
    )
    return Verdict("credentials", Status.PASS, summary, (), figures)


def _lifetimes(history: History, apart_ns: int) -> _Lifetimes:
    """Work out from when on each certificate is surely dead. What one clock begins another may end, so far apart."""
    records = history.certificates
    lifetimes = _Lifetimes(
        np.array([NO_MACHINE, *(one.machine for one in records)], dtype=np.int64),
        np.array(
            [
                NEVER_NS,
                *(
                    min(NEVER_NS, one.answered_ns + one.life_ns + slack_ns_of(one.life_ns) + apart_ns)
                    for one in records
                ),
            ],
            dtype=np.int64,
        ),
        np.full(len(records) + 1, NEVER_NS, dtype=np.int64),
    )
    by_machine: dict[int, list[int]] = defaultdict(list)
    for number, one in enumerate(records, 1):
        by_machine[one.machine].append(number)
    for numbers in by_machine.values():
        # Only a certificate asked for after this one had come was surely issued later.
        numbers.sort(key=lambda number: records[number - 1].sent_ns)
        sent = [records[number - 1].sent_ns for number in numbers]
        answered = (records[number - 1].answered_ns for number in reversed(numbers))
        first_answer = [*accumulate(answered, min)][::-1]
        for number in numbers:
            later = bisect_right(sent, records[number - 1].answered_ns)
            if later < len(numbers):
                lifetimes.replaced_ns[number] = first_answer[later]
    return lifetimes


def _finding(row: NDArray[Any], lifetimes: _Lifetimes, history: History) -> Finding:
    number, sent_ns = int(row["certificate"]), int(row["sent_ns"])
    operation = Operation(int(row["operation"])).name.lower().replace("_", " ")
    evidence = {
        "machine": int(row["machine"]),
        "campaign": int(row["campaign"]),
        "nonce": bytes(row["nonce"]).hex(),
        "sent_ns": sent_ns,
        "answered_ns": int(row["answered_ns"]),
    }
    certificate = history.certificates[number - 1] if number != NONE else None
    if certificate is None:
        rule, why = "unissued", "a certificate that was never valid"
    else:
        evidence |= {
            "certificate": certificate.certificate_id,
            "issued_from_ns": certificate.sent_ns,
            "issued_to_ns": certificate.answered_ns,
            "life_ns": certificate.life_ns,
        }
        replaced_ns, over_ns = int(lifetimes.replaced_ns[number]), int(lifetimes.over_ns[number])
        if certificate.machine != row["machine"]:
            rule, why = "foreign", f"machine {certificate.machine}'s certificate {certificate.certificate_id}"
        elif sent_ns > replaced_ns:
            rule, why = "rotated-out", f"{certificate.certificate_id}, replaced by {replaced_ns / SECOND_NS:.3f}s"
            evidence["replaced_by_ns"] = replaced_ns
        else:
            rule, why = "expired", f"{certificate.certificate_id}, over by {over_ns / SECOND_NS:.3f}s"
            evidence["over_by_ns"] = over_ns
    message = (
        f"{who(row['machine'])} had a {operation} accepted that was sent at {sent_ns / SECOND_NS:.3f}s under {why}"
    )
    return Finding(f"credentials.{rule}", message, sent_ns, evidence)
