"""How many sockets this process has open."""

from __future__ import annotations

from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path

AMONG_OTHERS: ContextVar[bool] = ContextVar("AMONG_OTHERS", default=False)
"""Whether others open sockets of this process meanwhile: whoever made them all counts once they have ended."""


def open_sockets() -> int:
    """Count this process's open sockets."""
    count = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            count += str(descriptor.readlink()).startswith("socket:")
    return count
