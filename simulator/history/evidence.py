"""Turning bytes into evidence: secrets masked, length bounded, shown as text."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from simulator.limits import EVIDENCE_MAX_BYTES

CONTAINERS_MAX = 400
"""The most lists and objects in a piece of evidence: it bounds the depth of nesting to what every JSON reader takes."""
REDACTED = b"[redacted]"
_SECRETS = re.compile(
    rb"(?im)"
    rb"(^authorization:[ \t]*(?:bearer[ \t]+)?|^x-machine-token:[ \t]*|^x-moltbook-identity:[ \t]*"
    rb'|"(?:machine_token|api_key|token|secret)"[ \t]*:[ \t]*")'
    rb'([^\r\n"]+)',
)
_TRUNCATED = b" ... [%d bytes more]"


def redacted(message: bytes) -> bytes:
    """Return `message` with every credential masked: bearer, machine and session tokens, in headers and in JSON.

    Invalid values are masked as well: a token with one wrong character would reveal most of the valid one.
    """
    return _SECRETS.sub(rb"\1" + REDACTED, message)


def as_evidence(message: bytes) -> bytes:
    """Return `message` as it may be kept: with credentials masked, and cut after `EVIDENCE_MAX_BYTES`."""
    more = len(message) - EVIDENCE_MAX_BYTES
    kept = redacted(message[:EVIDENCE_MAX_BYTES])
    return kept + _TRUNCATED % more if more > 0 else kept


def as_figures(evidence: dict[str, Any]) -> dict[str, Any]:
    """Return an attack's evidence as it may be kept, or only its beginning if it is too long or too deeply nested.

    Evidence may contain anything that a server sent, also what cannot be encoded as JSON; that is replaced by a note.
    """
    try:
        encoded = msgspec.json.encode(evidence)
    except (RecursionError, ValueError, TypeError):
        return {"cut": "it holds what cannot be stored"}
    if len(encoded) <= EVIDENCE_MAX_BYTES and encoded.count(b"[") + encoded.count(b"{") <= CONTAINERS_MAX:
        return evidence
    return {"cut": shown(encoded[:EVIDENCE_MAX_BYTES])}


def shown(message: bytes) -> str:
    """Return `message` as text, with escapes for bytes that are not valid UTF-8."""
    return message.decode("utf-8", "backslashreplace")
