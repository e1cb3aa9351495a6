"""What two worlds say of one thing, as a line of a cross-check."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Says(StrEnum):
    """What is said of a line: `explained` differs for a reason that is no fault, `undecided` cannot be known."""

    AGREES = "agrees"
    EXPLAINED = "explained"
    UNDECIDED = "undecided"
    DIFFERS = "differs"


class WorldLine(msgspec.Struct, frozen=True):
    """One thing that both worlds say: `bound` is how far apart they may be, and `why` says what stands behind it."""

    kind: str
    name: str
    virtual: str
    live: str
    says: Says
    bound: str = "the same"
    why: str = ""


def count_line(name: str, one: int, other: int, allowed: int, why: str) -> WorldLine:
    """Return the line of a count that may differ by so much."""
    says = Says.AGREES if abs(one - other) <= allowed else Says.DIFFERS
    bound = f"±{allowed:,}" if allowed else "the same"
    return WorldLine("count", name, f"{one:,}", f"{other:,}", says, bound, why)
