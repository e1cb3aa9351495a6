"""One line of a cross-check: the same figure or status in two worlds."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Says(StrEnum):
    """The result of a line: `explained` differs for a legitimate reason, `undecided` cannot be known."""

    AGREES = "agrees"
    EXPLAINED = "explained"
    UNDECIDED = "undecided"
    DIFFERS = "differs"


class WorldLine(msgspec.Struct, frozen=True):
    """One figure or status of both worlds: `bound` is how far apart they may be, `why` the reason for the result."""

    kind: str
    name: str
    virtual: str
    live: str
    says: Says
    bound: str = "the same"
    why: str = ""


def count_line(name: str, one: int, other: int, allowed: int, why: str) -> WorldLine:
    """Return the line of a count that may differ by `allowed` between the two worlds, for the reason `why`."""
    says = Says.AGREES if abs(one - other) <= allowed else Says.DIFFERS
    bound = f"±{allowed:,}" if allowed else "the same"
    return WorldLine("count", name, f"{one:,}", f"{other:,}", says, bound, why)
