"""Reading answers of the control plane: the kind of answer, its data, and its Retry-After."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec

from reference_server.wire.units import SECOND_NS
from simulator.contract.answers import Answer
from simulator.contract.refusals import failure_of

OK, CREATED, BAD_REQUEST, NOT_FOUND, TOO_MANY, SERVER_ERROR = (
    HTTPStatus.OK,
    HTTPStatus.CREATED,
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.TOO_MANY_REQUESTS,
    500,
)
RETRY_AFTER_MAX_DIGITS = 5
"""Up to about a day: a longer Retry-After is ignored."""


class MalformedDataError(ValueError):
    """Raised when an answer came whole, but its data is not what the contract says."""


def read_data(status: int, body: bytes) -> dict[str, Any]:
    """Return an enveloped answer's data (contract §1). Raises MalformedDataError if that is not an object."""
    try:
        data = msgspec.json.decode(body)["data"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise MalformedDataError(f"HTTP {status} without data") from error
    if not isinstance(data, dict):
        raise MalformedDataError(f"HTTP {status} with odd data")
    return data


def honest_answer(status: int, body: bytes) -> Answer:
    """Return the kind of answer that an honest request, which must succeed, got."""
    if status in {OK, CREATED}:
        return Answer.ACCEPTED
    if status == TOO_MANY:
        return Answer.RATE_LIMITED
    return failure_of(status, body) if status >= SERVER_ERROR else Answer.UNEXPECTED


def retry_after_ns(head: bytes) -> int:
    """Return the Retry-After in the head of an answer, in nanoseconds; 0 if there is none in seconds."""
    _, found, rest = head.lower().partition(b"\r\nretry-after:")
    digits = rest.split(b"\r\n", 1)[0].strip() if found else b""
    return int(digits) * SECOND_NS if digits.isdigit() and len(digits) <= RETRY_AFTER_MAX_DIGITS else 0
