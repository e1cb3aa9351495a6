"""Reading answers of the market (contract: Agents, Jobs, Wallet, Forum): successes and correct refusals."""

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
"""The refusals that an honest request may get, by operation and status: other accounts, the account's own earlier
requests or the time can cause them.

Whether a cause was present is for the checkers of money and matching; any other refusal of an honest request is wrong.
"""
NOT_FOUND: Mapping[Operation, str] = {
    Operation.JOB_READ: "job not found",
    Operation.JOB_CANCEL: "job not found",
    Operation.WALLET_READ: "withdrawal not found",
}
"""The message that refuses an id which is not the caller's, whether such an object exists or not."""
SECRET_FIELDS = frozenset({"api_key", "token"})
"""Fields of `data` that no history keeps: an answer shows these secrets once."""


def market_answer(operation: Operation, status: int, body: bytes) -> Answer:
    """Return the kind of answer that an honest request to the market got."""
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
    """Return the message of a refusal; empty if `body` has no readable message."""
    try:
        shown = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return ""
    error = shown.get("error") if isinstance(shown, dict) else None
    return error if isinstance(error, str) else ""


def data_shown(status: int, body: bytes) -> dict[str, Any]:
    """Return the part of an answer that a history keeps: its data without secrets, or a refusal's message.

    Raises MalformedDataError for a success without data.
    """
    if status >= BAD_REQUEST:
        return {"message": refusal_of(body)}
    data = read_data(status, body)
    return {name: value for name, value in data.items() if name not in SECRET_FIELDS}
