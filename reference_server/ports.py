"""What the core needs from outside, as protocols; `adapters` holds the real ones, tests bring seeded twins."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Protocol

import msgspec

from reference_server.wire.values import Instant  # noqa: TC001 - msgspec reads a struct's types when it is made

if TYPE_CHECKING:
    from collections.abc import Sequence


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


class Reservation(Enum):
    """What became of a nonce: reserved now, seen before, the store cannot tell, or may have forgotten it long ago."""

    RESERVED = 1
    REPLAYED = 2
    UNAVAILABLE = 3
    FORGOTTEN = 4


class NonceRequest(msgspec.Struct, frozen=True, gc=False):
    """The nonce of one verified heartbeat, which its machine stamped `timestamp_ns` (Unix ns), asked for `now`."""

    worker_id: str
    nonce: str
    timestamp_ns: int
    now: Instant


class NonceStore(Protocol):
    """Nonces that are kept outside this process. Without one they are kept in the core's own memory."""

    async def reserve(self, asked: Sequence[NonceRequest]) -> Sequence[Reservation]:
        """Reserve each nonce in turn, so that of two that are the same one is replayed; answers in the same order.

        Never raises for what is wrong outside: a store that cannot tell says so (contract §4, check 10).
        """
        ...
