"""How two hosts' monotonic clocks stand to each other, from messages that went to and fro between them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
NETWORK = Path("/proc/self/ns/net")
UNKNOWN = (-(1 << 62), 1 << 62)
"""The bounds where nothing was measured."""


def read_boot_id(path: Path = BOOT_ID) -> str:
    """Name this host's boot: processes that name the same one share a monotonic clock. Empty where it is not told."""
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def read_network_host(path: Path = NETWORK) -> str:
    """Name the network this process speaks from: of one boot, one network namespace. Empty where it is not told."""
    try:
        return f"{read_boot_id()} {path.readlink()}"
    except OSError:
        return ""


def offset_bounds(trips: Iterable[tuple[int, int, int]]) -> tuple[int, int]:
    """Bound what the other clock shows ahead of this one, in nanoseconds.

    Each trip is when a question left by this clock, what the other clock showed when it answered, and when the answer
    was here. The other clock was read at some moment between the two, so that every trip bounds the offset, and all
    together do as their intersection does; where that is empty, as clocks drifted meanwhile, the widest of them.
    """
    low, high = UNKNOWN
    lowest, highest = UNKNOWN[1], UNKNOWN[0]
    for left_ns, read_ns, back_ns in trips:
        low, high = max(low, read_ns - back_ns), min(high, read_ns - left_ns)
        lowest, highest = min(lowest, read_ns - back_ns), max(highest, read_ns - left_ns)
    return (low, high) if low <= high else (lowest, highest)
