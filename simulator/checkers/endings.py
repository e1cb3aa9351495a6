"""Certificates that may have ended while a request was under way: only the server knows then what it was refused for.

A request is judged when its server comes to it, at any time between its sending and its answer. One that stands still
for a while rightly refuses what was sent under a certificate that has ended, or was replaced, meanwhile (contract §3,
§4, check 7).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from http import HTTPStatus
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.checkers.bounds import slack_ns_of
from simulator.contract.answers import ALTERNATIVES, Answer, Operation
from simulator.history.rows import NEVER_NS, NO_MACHINE, NONE, History

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNAUTHORIZED = HTTPStatus.UNAUTHORIZED
SAME_WORDS = (Answer.INVALID_SIGNATURE, Answer.NONCE_REPLAYED, Answer.TIMESTAMP_OUT_OF_WINDOW)
"""Refusals that look like the certificate's, where another check than its own may have been the first to fail."""
CHANGED = (Answer.ACCEPTED, Answer.NO_CONSENT, Answer.INVALID_SIGNATURE, Answer.NONCE_REPLAYED, *ALTERNATIVES)
"""Expectations that rest on checks after the certificate's: its end changes them."""


def excuse_endings(history: History) -> History:
    """Return a history that accuses nobody of what a certificate's end explains; the same one where none does.

    What was to be accepted, or refused for its consent, can have got a 401 for its certificate alone. What was refused
    for a later reason may have been refused for either, and is undecided.
    """
    rows = history.rows()
    by_certificate = (rows["operation"] == Operation.HEARTBEAT) | (rows["operation"] == Operation.POLICY_FETCH)
    asked = by_certificate & (rows["status"] == UNAUTHORIZED) & (rows["certificate"] != NONE)
    asked &= (rows["machine"] != NO_MACHINE) & np.isin(rows["expected"], CHANGED)
    asked &= rows["certificate"] <= len(history.certificates)
    if not asked.any():
        return history
    number = np.where(asked, rows["certificate"], NONE).astype(np.int64)
    ended = asked & (rows["answered_ns"] >= may_end_from_ns(history)[number])
    if not ended.any():
        return history
    rows = rows.copy()
    either = ended & np.isin(rows["got"], SAME_WORDS)
    for operation, answer in (
        (Operation.HEARTBEAT, Answer.INVALID_CERTIFICATE),
        (Operation.POLICY_FETCH, Answer.POLICY_INVALID_CERTIFICATE),
    ):
        chosen = ended & ~either & (rows["operation"] == operation)
        rows["got"] = np.where(chosen, answer, rows["got"])
        rows["expected"] = np.where(chosen, answer, rows["expected"])
    rows["got"] = np.where(either, Answer.UNAVAILABLE, rows["got"])
    rows["expected"] = np.where(either, Answer.EITHER, rows["expected"])
    return history.with_rows(rows)


def may_end_from_ns(history: History) -> NDArray[Any]:
    """Return by certificate number, 0 for none, from when on it may be over, or replaced by one asked for later."""
    records = history.certificates
    ends = np.full(len(records) + 1, NEVER_NS, dtype=np.int64)
    by_machine: dict[int, list[int]] = defaultdict(list)
    for number, one in enumerate(records, 1):
        ends[number] = min(NEVER_NS, one.sent_ns + one.life_ns - slack_ns_of(one.life_ns))
        by_machine[one.machine].append(number)
    for numbers in by_machine.values():
        # Any that came after this one had been asked for may have been issued after it.
        numbers.sort(key=lambda number: records[number - 1].answered_ns)
        answered = [records[number - 1].answered_ns for number in numbers]
        sent = ((records[number - 1].sent_ns, NEVER_NS) for number in reversed(numbers))
        earliest = [*accumulate(sent, lambda two, next_one: tuple(sorted((*two, next_one[0]))[:2]))][::-1]
        for number in numbers:
            own_ns = records[number - 1].sent_ns
            first_ns, second_ns = earliest[bisect_left(answered, own_ns)]
            ends[number] = min(int(ends[number]), max(own_ns, second_ns if first_ns == own_ns else first_ns))
    return ends
