"""How machines and answers are named to people: by the contract's words, and never by this program's own names."""

from __future__ import annotations

from typing import TYPE_CHECKING, SupportsInt

from simulator.history import ALTERNATIVES, NO_MACHINE, REASONS, Answer

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEARTBEAT_AUTH, _POLICY_AUTH = "401 invalid heartbeat auth", "401 unauthorized"
_PLAIN: Mapping[Answer, str] = {
    Answer.ACCEPTED: "acceptance",
    Answer.MISSING_FIELDS: "400 missing required heartbeat fields",
    Answer.MALFORMED_FIELDS: "400 invalid heartbeat fields",
    Answer.INVALID_TIMESTAMP: "400 invalid timestamp",
    Answer.TIMESTAMP_OUT_OF_WINDOW: _HEARTBEAT_AUTH,
    Answer.INVALID_TOKEN: _HEARTBEAT_AUTH,
    Answer.INVALID_CERTIFICATE: _HEARTBEAT_AUTH,
    Answer.INVALID_SIGNATURE: _HEARTBEAT_AUTH,
    Answer.NO_CONSENT: "403 no active consent for worker/policy",
    Answer.NONCE_REPLAYED: _HEARTBEAT_AUTH,
    Answer.POLICY_MISSING_HEADERS: _POLICY_AUTH,
    Answer.POLICY_INVALID_TOKEN: _POLICY_AUTH,
    Answer.POLICY_INVALID_CERTIFICATE: _POLICY_AUTH,
    Answer.INVALID_REQUEST: "400 invalid request",
    Answer.RATE_LIMITED: "429",
    Answer.UNAVAILABLE: "5xx",
    Answer.UNEXPECTED: "an answer that the contract does not have here",
    Answer.LOST: "no whole answer",
    Answer.REFUSED: "a refusal",
}
UNSEEN = frozenset(answer for answer, words in _PLAIN.items() if words in {_HEARTBEAT_AUTH, _POLICY_AUTH})
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
    return f"{_PLAIN[answer]} ({REASONS[answer]})" if answer in UNSEEN else _PLAIN[answer]


def who(machine: SupportsInt) -> str:
    """Return the name of a machine by its number."""
    return "a worker that is no machine of this run" if int(machine) == NO_MACHINE else f"machine {int(machine)}"
