"""The answers checker: each attack was refused, and each honest request got what a correct server must say."""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.evidence import shown
from simulator.history import ALTERNATIVES, HONEST, Answer, History, Operation
from simulator.limits import FINDINGS_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from simulator.checkers.facts import Facts
    from simulator.records import Exchange

BAD_REQUEST, SERVER_ERROR = 400, 500
UNJUDGED = (Answer.RATE_LIMITED, Answer.UNAVAILABLE, Answer.LOST)
"""Answers that say nothing about what the server thinks of a request. Thresholds judge how many there may be."""


def judge_answers(rows: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Say which rows got an answer that says anything, and which one that a correct server may give."""
    expected, got = rows["expected"], rows["got"]
    allowed: NDArray[np.bool_] = got == expected
    for open_question, answers in ALTERNATIVES.items():
        allowed = allowed | ((expected == open_question) & np.isin(got, list(answers)))
    return ~np.isin(got, UNJUDGED) | allowed, allowed


def check_answers(history: History, _facts: Facts) -> Verdict:
    """Compare what each request got with what it had to get."""
    rows = history.rows()
    got, hostile = rows["got"], rows["campaign"] != HONEST
    judged, allowed = judge_answers(rows)
    wrong = rows[judged & ~allowed]
    attacks_accepted = int((hostile & (got == Answer.ACCEPTED) & ~allowed).sum())
    figures: dict[str, Any] = {
        "requests": len(rows),
        "attacks": int(hostile.sum()),
        "attacks_accepted": attacks_accepted,
        "wrong": len(wrong),
        "unjudged": int((~judged).sum()),
    }
    if len(wrong):
        # One of each kind first: a thousand like the first would hide the second.
        _, firsts = np.unique(wrong[["operation", "expected", "got", "campaign"]], return_index=True)
        kinds = set(firsts.tolist())
        order = chain(sorted(kinds), (index for index in range(len(wrong)) if index not in kinds))
        exchanges = {(one.sent_ns, one.campaign): one for one in history.exchanges}
        attacks = {one.number: one.attack for one in history.campaigns}
        findings = tuple(_finding(wrong[index], exchanges, attacks) for index in islice(order, FINDINGS_MAX))
        summary = f"{len(wrong)} requests got a wrong answer; {findings[0].message}."
        return Verdict("answers", Status.FAIL, summary, findings, figures)
    if not judged.any():
        return Verdict("answers", Status.INCONCLUSIVE, "No request got an answer that says anything.", (), figures)
    summary = (
        f"All {int(judged.sum())} judged answers were right; {figures['attacks']} hostile requests, none accepted."
    )
    return Verdict("answers", Status.PASS, summary, (), figures)


def _finding(row: NDArray[Any], exchanges: Mapping[tuple[int, int], Exchange], attacks: Mapping[int, str]) -> Finding:
    expected, got = Answer(int(row["expected"])), Answer(int(row["got"]))
    operation = Operation(int(row["operation"])).name.lower().replace("_", " ")
    campaign = int(row["campaign"])
    attack = attacks.get(campaign, "")
    who = f"{attack}: a hostile" if attack else "a hostile" if campaign != HONEST else "an honest"
    exchange = exchanges.get((int(row["sent_ns"]), campaign))
    proof = {"attack": attack} if attack else {}
    if exchange is not None:
        proof |= {
            "request": shown(exchange.request),
            "answer": shown(exchange.answer),
            "reasoning": exchange.reasoning,
        }
    why = ""
    if campaign == HONEST and row["operation"] != Operation.HEARTBEAT and row["status"] < BAD_REQUEST and exchange:
        why = f": {exchange.reasoning}"
    outcome = f"got {got.name} (HTTP {row['status']}), not {expected.name}"
    rule = "answers.wrong"
    if campaign != HONEST and got is Answer.ACCEPTED:
        rule = "answers.attack-accepted"
    elif campaign != HONEST and expected is not Answer.ACCEPTED and BAD_REQUEST <= row["status"] < SERVER_ERROR:
        rule = "answers.refused-otherwise"
    return Finding(
        rule,
        f"{who} {operation} of machine {row['machine']} {outcome}{why}",
        int(row["sent_ns"]),
        {
            "machine": int(row["machine"]),
            "campaign": campaign,
            "nonce": bytes(row["nonce"]).hex(),
            "status": int(row["status"]),
            "sent_ns": int(row["sent_ns"]),
            "answered_ns": int(row["answered_ns"]),
            **proof,
        },
    )
