"""The nonces checker: what cannot know whether a nonce is new accepts nothing, and says so at once (contract §4, §6).

It judges the faults of the Redis that nonces are shared through. That none is accepted twice is the replay checker's
matter, and that the server answers again is the durability checker's.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import numpy as np

from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.checkers.bounds import slack_ns_of
from simulator.checkers.excused import FLUSHED_FOR_NS, FORGETS, HEALED_AFTER_NS
from simulator.checkers.keeping import kept, one_of_each_first
from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.checkers.wording import who
from simulator.contract.answers import Answer, Operation
from simulator.history.rows import NEVER_NS, History
from simulator.history.schedule import unseen
from simulator.platform.wording import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from simulator.checkers.facts import Facts
    from simulator.history.records import Fault

DOWN, PAUSE, FLUSH, CRASH = "redis.down", "redis.pause", "redis.flush", "redis.crash"
AWAY = (DOWN, PAUSE)
STOPPING_NS = 100 * MILLISECOND_NS
"""How long a process that was told to stop may still have answered."""
BRIEF_NS = SECOND_NS
"""Shorter than this a fault of several may be over before anybody asked."""
CLOSED_WITHIN_NS = 250 * MILLISECOND_NS
"""How long failing closed may take (contract §6). The median is held against it: one answer may wait for much else."""
UNAVAILABLE = HTTPStatus.SERVICE_UNAVAILABLE


def check_nonces(history: History, facts: Facts) -> Verdict:
    """Hold what was accepted and refused while Redis was away, or had forgotten, against what may be."""
    faults = [one for one in history.faults if one.kind in {*AWAY, *FORGETS}]
    if not faults:
        return Verdict(
            "nonces", Status.NOT_APPLICABLE, "Nothing happened to a Redis in this run.", (), {"violations": 0}
        )
    rows = history.rows()
    beats = rows[rows["operation"] == Operation.HEARTBEAT]
    findings: list[Finding] = []
    refused: list[int] = []
    for fault in faults:
        start_ns, end_ns = _closed(fault)
        within = beats[(beats["sent_ns"] > start_ns) & (beats["answered_ns"] < end_ns)]
        closed = within[within["status"] == UNAVAILABLE]
        refused.append(len(closed))
        if not facts.nonce_fallback or fault.kind == FLUSH:
            accepted = within[within["got"] == Answer.ACCEPTED]
            if facts.nonce_fallback:
                accepted = accepted[~_alone(accepted, history.faults)]
            findings += _accepted(accepted, fault, start_ns, end_ns)
            findings += _slow(history, closed, fault)
    counted = plural(len(faults), "fault")
    figures: dict[str, Any] = {"violations": len(findings), "faults": len(faults), "refused": sum(refused)}
    if findings:
        shown = one_of_each_first(findings, lambda finding: finding.rule)
        summary = f"{plural(len(findings), 'breach', 'breaches')} around {counted} of Redis; {shown[0].message}."
        return Verdict("nonces", Status.FAIL, summary, kept(shown), figures, len(findings))
    if facts.nonce_fallback and all(fault.kind in AWAY for fault in faults):
        summary = f"With its fallback the server may go on through {counted} of Redis: nothing had to stop."
        return Verdict("nonces", Status.NOT_APPLICABLE, summary, (), figures)
    if facts.nonce_fallback:
        summary = f"With its fallback the server went on through {counted} of Redis."
        return Verdict("nonces", Status.PASS, summary, (), figures)
    silent = next((one for one, count in zip(faults, refused, strict=True) if not count and not _is_brief(one)), None)
    if silent is not None or not any(refused):
        silent = silent or faults[0]
        summary = f"Nobody sent a heartbeat that could be refused during {silent.kind}, so nothing is known of it."
        return Verdict("nonces", Status.INCONCLUSIVE, summary, (), figures)
    summary = f"Through {counted} of Redis nothing was accepted, and {plural(sum(refused), 'heartbeat')} got a 503."
    return Verdict("nonces", Status.PASS, summary, (), figures)


def _is_brief(fault: Fault) -> bool:
    """Return whether a fault was over before a fleet need have asked anything."""
    return fault.kind in AWAY and fault.ended_from_ns - fault.began_to_ns < BRIEF_NS


def _closed(fault: Fault) -> tuple[int, int]:
    """Return from when to when a fault lets nothing be accepted."""
    if fault.kind in FORGETS:
        closed_ns = fault.ended_to_ns if fault.kind == FLUSH else fault.began_to_ns
        return closed_ns, fault.began_from_ns + FLUSHED_FOR_NS - slack_ns_of(FLUSHED_FOR_NS)
    stopping_ns = STOPPING_NS if fault.kind == PAUSE else 0
    return fault.began_to_ns + stopping_ns, fault.ended_from_ns


def _alone(accepted: NDArray[Any], faults: Sequence[Fault]) -> NDArray[np.bool_]:
    """Return which were accepted while Redis was away, or had just come back: by a fallback, which may."""
    alone = np.zeros(len(accepted), dtype=np.bool_)
    for fault in faults:
        if fault.kind in {*AWAY, CRASH}:
            until_ns = fault.ended_to_ns + HEALED_AFTER_NS
            alone |= (accepted["answered_ns"] >= fault.began_from_ns) & (accepted["sent_ns"] <= until_ns)
    return alone


def _accepted(accepted: NDArray[Any], fault: Fault, start_ns: int, end_ns: int) -> Iterator[Finding]:
    for row in accepted[np.argsort(accepted["sent_ns"], kind="stable")]:
        nonce = bytes(row["nonce"]).hex()
        message = (
            f"{who(row['machine'])} had nonce {nonce} accepted at {row['sent_ns'] / SECOND_NS:.3f}s, and nobody "
            f"could know that it was new: {fault.kind} at {fault.began_from_ns / SECOND_NS:.3f}s"
        )
        evidence = {
            "fault": fault.kind,
            "closed_from_ns": start_ns,
            "closed_to_ns": end_ns,
            "machine": int(row["machine"]),
            "nonce": nonce,
            "campaign": int(row["campaign"]),
            "sent_ns": int(row["sent_ns"]),
            "answered_ns": int(row["answered_ns"]),
        }
        yield Finding("nonces.open", message, int(row["sent_ns"]), evidence)


def _slow(history: History, closed: NDArray[Any], fault: Fault) -> Iterator[Finding]:
    # What came while the harness itself stood still it read late.
    closed = closed[~unseen(history, closed["sent_ns"], closed["answered_ns"], CLOSED_WITHIN_NS / SECOND_NS)]
    took_ns = (closed["answered_ns"] - closed["sent_ns"])[closed["answered_ns"] != NEVER_NS]
    if len(took_ns) and np.median(took_ns) > CLOSED_WITHIN_NS:
        median_ns = int(np.median(took_ns))
        message = (
            f"while {fault.kind} lasted, half of {len(took_ns)} refusals took {median_ns / MILLISECOND_NS:.0f} ms or "
            f"more, and failing closed must take at most {CLOSED_WITHIN_NS // MILLISECOND_NS} ms"
        )
        evidence = {"fault": fault.kind, "refused": len(took_ns), "median_ns": median_ns}
        yield Finding("nonces.slow", message, fault.began_from_ns, evidence)
