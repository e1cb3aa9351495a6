"""For what reasons a target refused what was replayed to it: by its own count, as most refusals look alike. No I/O."""

from __future__ import annotations

from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from simulator.checkers.judging import UNSURE
from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.checkers.wording import UNSEEN, contract_words
from simulator.contract.answers import REASONS, Answer, Operation
from simulator.history.rows import NEVER_NS
from simulator.traces.comparison import Played, is_heartbeat_like
from simulator.traces.format import ANSWERS, OPERATIONS, Exchange

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_UNAUTHORIZED = HTTPStatus.UNAUTHORIZED


def named_by_metrics(
    exchanges: Sequence[Exchange], played: Sequence[Played], before: Mapping[str, float], after: Mapping[str, float]
) -> list[Played]:
    """Return what was played, with refusals named by their reason where the target's metrics leave only one.

    Each refusal that looks like others is counted by its reason; where a single reason was counted meanwhile, and often
    enough, it is that of all of them. Else they stay refused for a reason that nobody saw.
    """
    grown = counted_reasons(before, after)
    named = list(played)
    for operation, start in ((Operation.HEARTBEAT, "401 invalid"), (Operation.POLICY_FETCH, "401 unauthorized")):
        reasons = [answer for answer in UNSEEN if contract_words(answer).startswith(start) and grown[REASONS[answer]]]
        mine = [
            at
            for at, (exchange, one) in enumerate(zip(exchanges, played, strict=True))
            if one.got is Answer.REFUSED and one.status == _UNAUTHORIZED and OPERATIONS[exchange.operation] is operation
        ]
        if len(reasons) == 1 and grown[REASONS[reasons[0]]] >= len(mine):
            for at in mine:
                named[at] = msgspec.structs.replace(played[at], got=reasons[0])
    return named


def counted_reasons(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Return by how much the target's count of auth failures grew between two of its pages, by reason."""
    samples = {
        reason: f'hatchfarm_worker_auth_failures_by_reason_total{{reason="{reason}"}}' for reason in REASONS.values()
    }
    return {reason: after.get(name, 0.0) - before.get(name, 0.0) for reason, name in samples.items()}


def judge_reasons(
    exchanges: Sequence[Exchange],
    played: Sequence[Played],
    before: Mapping[str, float],
    after: Mapping[str, float],
    *,
    alone: bool,
) -> Verdict:
    """Hold the target's own count of auth failures by reason against the replay's.

    Most refusals look alike on the wire; here a forged signature that was refused for its timestamp shows. Where the
    replay is not `alone` on the target, others may have added failures, but none can be missing. A trace of another
    program does not say for what a machine was refused: such a refusal may be counted by any reason. So may one that
    was under way beside a rotation of its machine, as either may come first this time.
    """
    rotations = _rotations(exchanges)
    surely, doubted = Counter[str](), 0
    for exchange, one in zip(exchanges, played, strict=True):
        if one.got in REASONS and _is_beside(exchange, rotations):
            doubted += 1
        elif one.got in REASONS:
            surely[REASONS[one.got]] += 1
    nameless = sum(
        one.got is Answer.REFUSED and is_heartbeat_like(exchange)
        for exchange, one in zip(exchanges, played, strict=True)
    )
    unknown = nameless + doubted + sum(one.got in UNSURE for one in played)
    findings = []
    seen = counted_reasons(before, after)
    for reason, counted in seen.items():
        fewer = counted < surely[reason]
        if fewer or (alone and counted > surely[reason] + unknown):
            message = f"{counted:g} failures counted as {reason}, {surely[reason]} were replayed"
            findings.append(Finding("replay.reason", message, 0, {"counted": counted, "replayed": surely[reason]}))
    figures = {"counted": {reason: count for reason, count in seen.items() if count}, "replayed": dict(surely)}
    if findings:
        summary = f"The target counts other reasons: {findings[0].message}."
        return Verdict("reasons", Status.FAIL, summary, tuple(findings), figures)
    if not surely:
        summary = "No refusal of the trace says for what reason it must be counted."
        return Verdict("reasons", Status.NOT_APPLICABLE, summary, (), figures)
    summary = f"The target counted each of {surely.total()} failures for its reason."
    return Verdict("reasons", Status.PASS, summary, (), figures)


def _rotations(exchanges: Sequence[Exchange]) -> dict[int, list[tuple[int, int]]]:
    """Return between which moments each machine's certificate was replaced when recorded, or may have been."""
    rotations: dict[int, list[tuple[int, int]]] = {}
    for one in exchanges:
        done = ANSWERS[one.got] is Answer.ACCEPTED or ANSWERS[one.got] in UNSURE
        if one.machine is not None and OPERATIONS[one.operation] is Operation.CERTIFICATE and done:
            rotations.setdefault(one.machine, []).append(_under_way(one))
    return rotations


def _is_beside(exchange: Exchange, rotations: Mapping[int, list[tuple[int, int]]]) -> bool:
    """Return whether an exchange was under way beside a rotation: a certificate is judged before signature and nonce.

    What is refused for any of them looks the same.
    """
    sent_ns, answered_ns = _under_way(exchange)
    others = () if exchange.machine is None else rotations.get(exchange.machine, ())
    return any(began_ns <= answered_ns and sent_ns <= ended_ns for began_ns, ended_ns in others)


def _under_way(exchange: Exchange) -> tuple[int, int]:
    return exchange.sent_ns, NEVER_NS if exchange.answered_ns is None else exchange.answered_ns
