"""Bytes as evidence: without the secrets they carried, no longer than is worth reading, as text for people."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from simulator.limits import EVIDENCE_MAX_BYTES

CONTAINERS_MAX = 400
"""Lists and objects of a piece of evidence, so that it is nested no deeper than every reader can follow."""
REDACTED = b"[redacted]"
_SECRETS = re.compile(
    rb"(?im)"
    rb"(^authorization:[ \t]*(?:bearer[ \t]+)?|^x-machine-token:[ \t]*|^x-moltbook-identity:[ \t]*"
    rb'|"(?:machine_token|api_key|token|secret)"[ \t]*:[ \t]*")'
    rb'([^\r\n"]+)',
)
_TRUNCATED = b" ... [%d bytes more]"


def redacted(message: bytes) -> bytes:
    """Mask what proves who somebody is: bearer, machine and session tokens, in headers and JSON, right or wrong.

    A near miss of a token would tell most of it, so that every value in such a place is masked.
    """
    return _SECRETS.sub(rb"\1" + REDACTED, message)


def as_evidence(message: bytes) -> bytes:
    """Return what may be kept of a message: redacted, and cut where more would not help to understand it."""
    more = len(message) - EVIDENCE_MAX_BYTES
    kept = redacted(message[:EVIDENCE_MAX_BYTES])
    return kept + _TRUNCATED % more if more > 0 else kept


def as_figures(evidence: dict[str, Any]) -> dict[str, Any]:
    """Return what may be kept of an attack's evidence, which may hold whatever a server said: all, or its beginning.

    What is nested without end cannot be stored, nor shown.
    """
    try:
        encoded = msgspec.json.encode(evidence)
    except (RecursionError, ValueError, TypeError):
        return {"cut": "it holds what cannot be stored"}
    if len(encoded) <= EVIDENCE_MAX_BYTES and encoded.count(b"[") + encoded.count(b"{") <= CONTAINERS_MAX:
        return evidence
    return {"cut": shown(encoded[:EVIDENCE_MAX_BYTES])}


def shown(message: bytes) -> str:
    """Return a message as text; what is no UTF-8 as escapes."""
    return message.decode("utf-8", "backslashreplace")
