"""How machines and answers are named to people: by the contract's words, and never by this program's own names.

Counts with their nouns are in `simulator/platform/wording.py`.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, SupportsInt

from simulator.contract.answers import ALTERNATIVES, Answer, Operation
from simulator.contract.refusals import REFUSALS, in_words
from simulator.history.rows import NO_MACHINE

if TYPE_CHECKING:
    from collections.abc import Mapping

_SEEN: Mapping[Answer, str] = {
    Answer.ACCEPTED: "acceptance",
    Answer.UNAVAILABLE: "5xx",
    Answer.FAILED: "5xx",
    Answer.UNEXPECTED: "an answer that the contract does not have here",
    Answer.LOST: "no whole answer",
}
"""What is seen of answers for which the contract has no one status and message."""
UNSEEN = frozenset(answer for answer, (status, _) in REFUSALS.items() if status == HTTPStatus.UNAUTHORIZED)
"""Refusals that look alike to a client: their reason is seen in the server's metrics and audit alone (contract §4)."""


def contract_words(answer: Answer) -> str:
    """Return an answer as the contract writes it: status, message and, where there is one, the reason it is counted by.

    What leaves several answers open names them all, in the order of the contract.
    """
    open_to = ALTERNATIVES.get(answer)
    if answer is Answer.ONE_OF_COPIES:
        return f"one acceptance, and {contract_words(Answer.NONCE_REPLAYED)} for the others"
    if open_to is not None:
        return " or ".join(contract_words(one) for one in sorted(open_to))
    return _SEEN.get(answer) or in_words(answer, Operation.HEARTBEAT)


def who(machine: SupportsInt) -> str:
    """Return the name of a machine by its number."""
    return "a worker that is no machine of this run" if int(machine) == NO_MACHINE else f"machine {int(machine)}"
