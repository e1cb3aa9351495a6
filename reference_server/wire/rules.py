"""What a policy's rules, an owner's id (contract §5) and an event's metadata must be, in requests and state files."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from reference_server.limits import JSON_MAX_DEPTH, TEXT_MAX_CHARACTERS
from reference_server.wire.canonical_json import canonical_json

PERCENT_FIELDS = ("max_cpu_percent", "max_memory_percent", "max_gpu_percent")
PERCENT_MAX = 100
HOURS_MAX = 24
FORBIDDEN_CHARACTERS = re.compile("[|\x00-\x1f\x7f-\x9f]")
"""What no text may have that is signed with others: what joins them, and control characters (contract §4, §5)."""


def valid_owner_id(owner_id: str) -> bool:
    """Return whether an owner can act under an id: by a signature's text, and by a header (contract §5)."""
    return (
        len(owner_id) <= TEXT_MAX_CHARACTERS
        and owner_id == owner_id.strip()
        and FORBIDDEN_CHARACTERS.search(owner_id) is None
    )


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _hour(value: Any) -> bool:
    return _number(value) and 0 <= value < HOURS_MAX and value == int(value)


def rules_error(rules: dict[str, Any]) -> str | None:
    """Name what is wrong with a policy's rules, or None when they are within the allowlist and its bounds."""
    allowed = {*PERCENT_FIELDS, "timezone", "allowed_hours"}
    for name in sorted(rules):
        if name not in allowed:
            shown = name.encode("utf-8", "replace").decode()[:TEXT_MAX_CHARACTERS]
            return f"unsupported policy field: {shown}"
    if "max_cpu_percent" not in rules:
        return "max_cpu_percent is required"
    for name in PERCENT_FIELDS:
        if name in rules and not (_number(rules[name]) and 1 <= rules[name] <= PERCENT_MAX):
            return f"{name} must be a number from 1 to {PERCENT_MAX}"
    zone = rules.get("timezone", "UTC")  # one that is no time zone is taken, and counts as UTC (contract §5)
    if not (isinstance(zone, str) and zone.strip() and len(zone) <= TEXT_MAX_CHARACTERS):
        return f"timezone must be a string of at most {TEXT_MAX_CHARACTERS} characters that is not blank"
    hours = rules.get("allowed_hours", [0])
    if not (isinstance(hours, list) and 0 < len(hours) <= HOURS_MAX and all(map(_hour, hours))):
        return "allowed_hours must be a non-empty array of at most 24 integers from 0 to 23"
    return None


def writable(value: Any) -> bool:
    """Return whether a JSON value can be kept and written again: no number past a double, and not nested too deeply."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > JSON_MAX_DEPTH:
            return False
        inner: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                inner += one.values()
            elif isinstance(one, list):
                inner += one
        level = inner
    try:
        msgspec.json.decode(canonical_json(value))
    except (ValueError, OverflowError):
        return False
    return True
