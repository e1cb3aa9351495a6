"""How many sockets this process has open."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def open_sockets() -> int:
    """Count this process's open sockets."""
    count = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            count += str(descriptor.readlink()).startswith("socket:")
    return count
