"""What the core needs from outside, as protocols; `adapters` holds the real ones, tests bring seeded twins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from reference_server.wire.values import Instant


class Clock(Protocol):
    """Both clocks, read together."""

    def now(self) -> Instant:
        """Give the present moment."""
        ...


class Entropy(Protocol):
    """A source of identifiers and tokens."""

    def hex(self, digits: int) -> str:
        """Give `digits` lower-case hexadecimal digits, never given before."""
        ...
