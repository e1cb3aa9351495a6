"""The replay checker: at most one acceptance per machine and nonce (contract §4, check 10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.history import Answer, History, Operation
from simulator.limits import FINDINGS_MAX
from simulator.wording import plural

if TYPE_CHECKING:
    from simulator.checkers.facts import Facts


def check_replay(history: History, _facts: Facts) -> Verdict:
    """Find nonces accepted twice. Only acceptances that were seen count, so a lost answer never accuses anybody."""
    rows = history.rows()
    accepted = rows[(rows["operation"] == Operation.HEARTBEAT) & (rows["got"] == Answer.ACCEPTED)]
    keys = np.empty(len(accepted), dtype=[("machine", "<i4"), ("high", "<u8"), ("low", "<u4")])
    keys["machine"] = accepted["machine"]
    words = np.frombuffer(np.ascontiguousarray(accepted["nonce"]).tobytes(), dtype=[("high", "<u8"), ("low", "<u4")])
    keys["high"], keys["low"] = words["high"], words["low"]
    _, first, counts = np.unique(keys, return_index=True, return_counts=True)
    twice = np.flatnonzero(counts > 1)
    findings = []
    for which in twice[:FINDINGS_MAX]:
        row = accepted[first[which]]
        same = accepted[(accepted["machine"] == row["machine"]) & (accepted["nonce"] == row["nonce"])]
        nonce = bytes(row["nonce"]).hex()
        findings.append(
            Finding(
                "replay.accepted-twice",
                f"machine {row['machine']} had nonce {nonce} accepted {counts[which]} times",
                int(same["answered_ns"].max()),
                {
                    "machine": int(row["machine"]),
                    "nonce": nonce,
                    "sent_ns": same["sent_ns"].tolist(),
                    "answered_ns": same["answered_ns"].tolist(),
                    "campaign": same["campaign"].tolist(),
                },
            ),
        )
    figures = {"accepted": len(accepted), "accepted_twice": len(twice)}
    if findings:
        summary = f"{len(twice)} nonces were accepted more than once; the first: {findings[0].message}."
        return Verdict("replay", Status.FAIL, summary, tuple(findings), figures)
    return Verdict(
        "replay", Status.PASS, f"None of {plural(len(accepted), 'accepted heartbeat')} was accepted twice.", (), figures
    )
