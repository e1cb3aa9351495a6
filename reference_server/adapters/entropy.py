"""The system's randomness. The only place of the server that draws it."""

from __future__ import annotations

import os

POOL_BYTES = 8192
"""Drawn at once: a system call a request would cost more than the rest of making an id. Never reused, never shared."""


class SystemEntropy:
    """Hexadecimal digits from the operating system's cryptographic source."""

    def __init__(self) -> None:
        self._pool = ""
        self._used = 0

    def hex(self, digits: int) -> str:
        """Return `digits` fresh lower-case hexadecimal digits."""
        start = self._used
        end = start + digits
        if end > len(self._pool):
            self._pool = os.urandom(max(POOL_BYTES, digits)).hex()  # noqa: TID251 - the one place that may
            start, end = 0, digits
        self._used = end
        return self._pool[start:end]
