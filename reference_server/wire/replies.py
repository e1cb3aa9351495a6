"""Replies in the contract's envelope (§1)."""

from __future__ import annotations

from typing import Any

import msgspec

from reference_server.wire.units import SECOND_NS
from reference_server.wire.values import Headers, Reply

JSON_HEADERS: Headers = (("content-type", "application/json"),)


def success(data: Any, status: int = 200) -> Reply:
    """Envelope a result."""
    return Reply(status, msgspec.json.encode({"success": True, "data": data}), JSON_HEADERS)


def failure(status: int, message: str, extra: Headers = ()) -> Reply:
    """Envelope an error; `extra` are headers such as `allow` and `retry-after`."""
    return Reply(status, msgspec.json.encode({"success": False, "error": message}), JSON_HEADERS + extra)


def rate_limited(wait_ns: int) -> Reply:
    """Refuse with 429; `Retry-After` is the wait in seconds, rounded up."""
    return failure(429, "rate limit exceeded", (("retry-after", str(-(-wait_ns // SECOND_NS))),))


RATE_LIMITED = failure(429, "rate limit exceeded")
INVALID_REQUEST = failure(400, "invalid request")
UNAUTHORIZED = failure(401, "unauthorized")
FORBIDDEN = failure(403, "forbidden")
FULL = failure(503, "capacity reached")
