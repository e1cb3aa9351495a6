"""The replay checker: at most one acceptance per machine and nonce (contract §4, check 10)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.checkers.keeping import kept
from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.checkers.wording import who
from simulator.contract.answers import Answer, Operation
from simulator.platform.wording import plural

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulator.checkers.facts import Facts
    from simulator.history.rows import History

WORDS = [("high", "<u8"), ("low", "<u4")]
"""The 12 bytes of a nonce as two numbers."""


def check_replay(history: History, _facts: Facts) -> Verdict:
    """Find nonces accepted twice. Only acceptances that were seen count, so a lost answer never accuses anybody."""
    rows = history.rows()
    accepted = rows[(rows["operation"] == Operation.HEARTBEAT) & (rows["got"] == Answer.ACCEPTED)]
    figures = {"accepted": len(accepted), "accepted_twice": 0}
    alike = accepted[_perhaps_again(_words(accepted)["high"])]
    keys = np.empty(len(alike), dtype=[("machine", "<i4"), *WORDS])
    keys["machine"], words = alike["machine"], _words(alike)
    keys["high"], keys["low"] = words["high"], words["low"]
    _, which, counts = np.unique(keys, return_inverse=True, return_counts=True)
    twice = np.flatnonzero(counts > 1)
    if len(twice):
        figures["accepted_twice"] = len(twice)
        order = np.argsort(which, kind="stable")
        ends = np.cumsum(counts)
        findings = kept(_finding(alike[order[ends[one] - counts[one] : ends[one]]]) for one in twice)
        summary = f"{len(twice)} nonces were accepted more than once; the first: {findings[0].message}."
        return Verdict("replay", Status.FAIL, summary, findings, figures, len(twice))
    if not len(accepted):
        return Verdict("replay", Status.NOT_APPLICABLE, "No heartbeat was accepted in this run.", (), figures)
    return Verdict(
        "replay", Status.PASS, f"None of {plural(len(accepted), 'accepted heartbeat')} was accepted twice.", (), figures
    )


def _words(rows: NDArray[Any]) -> NDArray[Any]:
    """Return the nonces of rows as numbers."""
    return np.frombuffer(np.ascontiguousarray(rows["nonce"]).tobytes(), dtype=WORDS)


def _perhaps_again(high: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Return which of the nonces begin as another one does: to sort all of them whole takes three times as long."""
    _, which, counts = np.unique(high, return_inverse=True, return_counts=True)
    again: NDArray[np.bool_] = counts[which] > 1
    return again


def _finding(same: NDArray[Any]) -> Finding:
    """Return the finding on acceptances of one nonce, with the time of each."""
    first = same[0]
    nonce = bytes(first["nonce"]).hex()
    return Finding(
        "replay.accepted-twice",
        f"{who(first['machine'])} had nonce {nonce} accepted {len(same)} times",
        int(same["answered_ns"].max()),
        {
            "machine": int(first["machine"]),
            "nonce": nonce,
            "sent_ns": same["sent_ns"].tolist(),
            "answered_ns": same["answered_ns"].tolist(),
            "campaign": same["campaign"].tolist(),
        },
    )
