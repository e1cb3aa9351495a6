"""What a client knows of the market's answers (contract: Agents, Jobs, Wallet, Forum): grants and rightful refusals."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from simulator.contract.answers import Answer, Operation
from simulator.contract.reading import read_data
from simulator.contract.refusals import SERVER_ERROR, failure_of

if TYPE_CHECKING:
    from collections.abc import Mapping

RATE_LIMITED = "rate limit exceeded"
IN_PROGRESS = "request in progress"
REDIRECT, BAD_REQUEST = 300, 400
MARKET_OPERATIONS = frozenset(one for one in Operation if one >= Operation.AGENT_REGISTER)
HONEST_REFUSALS: Mapping[Operation, Mapping[int, frozenset[str]]] = {
    Operation.JOB_CREATE: {
        HTTPStatus.PAYMENT_REQUIRED: frozenset({"insufficient balance"}),
        HTTPStatus.CONFLICT: frozenset({IN_PROGRESS}),
        HTTPStatus.TOO_MANY_REQUESTS: frozenset({"too many unfinished jobs"}),
    },
    Operation.JOB_CANCEL: {HTTPStatus.CONFLICT: frozenset({"job already finished"})},
    Operation.WITHDRAW: {
        HTTPStatus.PAYMENT_REQUIRED: frozenset({"insufficient balance"}),
        HTTPStatus.FORBIDDEN: frozenset({"address in cooldown"}),
        HTTPStatus.CONFLICT: frozenset({IN_PROGRESS}),
        HTTPStatus.TOO_MANY_REQUESTS: frozenset({"withdrawal limit exceeded"}),
    },
    Operation.FORUM_WRITE: {HTTPStatus.TOO_MANY_REQUESTS: frozenset({"posting limit exceeded"})},
}
"""What whoever asks honestly may be refused, for what others, the account itself or the time has done.

Whether it was so is for the checkers of money and matching; every other refusal of an honest request is wrong.
"""
NOT_FOUND: Mapping[Operation, str] = {
    Operation.JOB_READ: "job not found",
    Operation.JOB_CANCEL: "job not found",
    Operation.WALLET_READ: "withdrawal not found",
}
"""How an id is refused that is none of the caller's, whether there is such an object or not."""
SECRET_FIELDS = frozenset({"api_key", "token"})
"""What an answer shows once and no history keeps."""


def market_answer(operation: Operation, status: int, body: bytes) -> Answer:
    """Return what an honest request to the market got."""
    if BAD_REQUEST > status >= HTTPStatus.OK:
        return Answer.ACCEPTED if status < REDIRECT else Answer.UNEXPECTED
    if status >= SERVER_ERROR:
        return failure_of(status, body)
    error = refusal_of(body)
    if status == HTTPStatus.TOO_MANY_REQUESTS and error == RATE_LIMITED:
        return Answer.RATE_LIMITED
    rightful = HONEST_REFUSALS.get(operation, {}).get(status, frozenset())
    return Answer.REFUSED if error in rightful else Answer.UNEXPECTED


def refusal_of(body: bytes) -> str:
    """Return the message of a refusal; empty where there is none that can be read."""
    try:
        shown = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return ""
    error = shown.get("error") if isinstance(shown, dict) else None
    return error if isinstance(error, str) else ""


def data_shown(status: int, body: bytes) -> dict[str, Any]:
    """Return what a history keeps of an answer: its data without secrets, or a refusal's message.

    Raises MalformedDataError for a success without data.
    """
    if status >= BAD_REQUEST:
        return {"message": refusal_of(body)}
    data = read_data(status, body)
    return {name: value for name, value in data.items() if name not in SECRET_FIELDS}
