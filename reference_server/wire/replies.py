"""Replies in the contract's envelope (§1)."""

from __future__ import annotations

from functools import lru_cache
from http import HTTPStatus
from typing import Any

import msgspec

from reference_server.wire.units import SECOND_NS
from reference_server.wire.values import Headers, Reply

JSON_HEADERS: Headers = (("content-type", "application/json"),)


def success(data: Any, status: int = HTTPStatus.OK) -> Reply:
    """Envelope a result."""
    return Reply(status, msgspec.json.encode({"success": True, "data": data}), JSON_HEADERS)


def failure(status: int, message: str, extra: Headers = ()) -> Reply:
    """Envelope an error; `extra` are headers such as `allow` and `retry-after`."""
    return Reply(status, msgspec.json.encode({"success": False, "error": message}), JSON_HEADERS + extra)


def retry_after(refusal: Reply, wait_ns: int) -> Reply:
    """Return a refusal with `Retry-After`, the wait in seconds, rounded up."""
    return Reply(refusal.status, refusal.body, (*refusal.headers, ("retry-after", str(-(-wait_ns // SECOND_NS)))))


def rate_limited(wait_ns: int) -> Reply:
    """Refuse with 429, and say how long to wait. Who floods is told the same thousands of times."""
    return _rate_limited(-(-wait_ns // SECOND_NS))


@lru_cache(maxsize=64)
def _rate_limited(seconds: int) -> Reply:
    return retry_after(RATE_LIMITED, seconds * SECOND_NS)


RATE_LIMITED = failure(HTTPStatus.TOO_MANY_REQUESTS, "rate limit exceeded")
INVALID_REQUEST = failure(HTTPStatus.BAD_REQUEST, "invalid request")
UNAUTHORIZED = failure(HTTPStatus.UNAUTHORIZED, "unauthorized")
FORBIDDEN = failure(HTTPStatus.FORBIDDEN, "forbidden")
FULL = failure(HTTPStatus.SERVICE_UNAVAILABLE, "capacity reached")
