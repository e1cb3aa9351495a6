"""Checks of the body of every answer (contract §1): success with data, or failure with a message."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.wire.timestamps import parse_timestamp
from simulator.contract.parsed_request import ParsedRequest, Violation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BAD_REQUEST, TOO_MANY = HTTPStatus.BAD_REQUEST, HTTPStatus.TOO_MANY_REQUESTS
HEALTH, KEYS = "/health", "/.well-known/hatchfarm-keys"
HEARTBEAT_REFUSALS: Mapping[int, frozenset[str]] = {
    HTTPStatus.BAD_REQUEST: frozenset({
        "invalid request", "missing required heartbeat fields", "invalid heartbeat fields", "invalid timestamp",
    }),
    HTTPStatus.UNAUTHORIZED: frozenset({"invalid heartbeat auth"}),
    HTTPStatus.FORBIDDEN: frozenset({"no active consent for worker/policy"}),
}  # fmt: skip
"""Every message by which a heartbeat may be refused, by status (contract §4)."""
POLICY_REFUSALS: Mapping[int, frozenset[str]] = {
    HTTPStatus.UNAUTHORIZED: frozenset({"unauthorized"}),
    HTTPStatus.FORBIDDEN: frozenset({"no active consent", "no active policy"}),
}
"""Every message by which a policy fetch may be refused, by status (contract §3)."""
RATE_LIMITED = "rate limit exceeded"
ACCOUNT_LIMITS: Mapping[str, str] = {
    "/wallet/withdraw": "withdrawal limit exceeded",
    "/jobs": "too many unfinished jobs",
    "/forum/posts": "posting limit exceeded",
}
"""Other messages of a 429, by the start of the path: those of an account's own limits (contract: market)."""


def check_refusal(asked: ParsedRequest | None, status: int, body: bytes) -> Iterator[Violation]:
    """Yield the violations of the body of an answer with status 400 or higher."""
    try:
        shown = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        shown = None
    error = shown.get("error") if isinstance(shown, dict) else None
    if (
        not isinstance(shown, dict)
        or shown.get("success") is not False
        or "data" in shown
        or not isinstance(error, str)
    ):
        yield Violation("refusal-envelope", 'its body is not {"success":false,"error":…}')
        return
    wanted: frozenset[str] | None = None
    if status == TOO_MANY:
        wanted = frozenset({RATE_LIMITED, *account_limits(asked)})
    elif asked is not None and asked.path.endswith("/heartbeat"):
        wanted = HEARTBEAT_REFUSALS.get(status)
    elif asked is not None and asked.method == "GET" and asked.path.startswith("/workers/"):
        wanted = POLICY_REFUSALS.get(status) if asked.path.endswith("/policy") else None
    if not error or (wanted is not None and error not in wanted):
        words = " or ".join(repr(one) for one in sorted(wanted or ())) or "a message"
        yield Violation("refusal-text", f"its error is {error[:200]!r}, not {words}")


def account_limits(asked: ParsedRequest | None) -> tuple[str, ...]:
    """Return the messages that a 429 to `asked` may have other than `RATE_LIMITED`."""
    if asked is None or asked.method != "POST":
        return ()
    return tuple(error for path, error in ACCOUNT_LIMITS.items() if asked.path.startswith(path))


def check_success(body: bytes) -> tuple[Any, list[Violation]]:
    """Return the data of an enveloped success and no violations, or None and the violation of its envelope."""
    try:
        shown = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        shown = None
    if not isinstance(shown, dict) or shown.get("success") is not True or "data" not in shown or "error" in shown:
        return None, [Violation("envelope", 'its body is not {"success":true,"data":…}')]
    return shown["data"], []


def check_bare(asked: ParsedRequest, body: bytes) -> Iterator[Violation]:
    """Yield the violations of a success without an envelope: the health page and the published keys."""
    if asked.path not in {HEALTH, KEYS}:
        return
    try:
        shown = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        shown = None
    if not isinstance(shown, dict):
        yield Violation("bare", "its body is no JSON object")
    elif asked.path == HEALTH:
        moment = shown.get("timestamp")
        if not isinstance(shown.get("status"), str) or not isinstance(shown.get("version"), str):
            yield Violation("health", "it has no status or no version")
        elif not isinstance(moment, str) or parse_timestamp(moment) is None or not moment.endswith("Z"):
            yield Violation("time-form", f"its timestamp is {str(moment)[:80]!r}, no RFC 3339 time in UTC")
    elif not read_keys(shown):
        yield Violation("keys", "it shows no Ed25519 key")


def read_keys(shown: Any) -> list[str]:
    """Return the field `x` of each public Ed25519 key in a JWK set (RFC 8037)."""
    keys = shown.get("keys") if isinstance(shown, dict) else None
    return [
        one["x"]
        for one in (keys if isinstance(keys, list) else ())
        if isinstance(one, dict)
        and one.get("kty") == "OKP"
        and one.get("crv") == "Ed25519"
        and isinstance(one.get("x"), str)
    ]
