"""What the core needs from outside, as protocols; `adapters` holds the real ones, tests bring seeded twins."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Protocol

import msgspec

from reference_server.wire.values import Instant  # noqa: TC001 - msgspec reads a struct's types when it is made

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import trio


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


class Beside(Protocol):
    """Something that has to run beside whatever serves the API, until it is cancelled."""

    async def __call__(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Run; started once whatever it is for may be used."""
        ...


class RateLimiter(Protocol):
    """A rate limit that is kept outside this process. Without one each address has a bucket in the core's memory."""

    async def take(self, clients: Sequence[str]) -> Sequence[int | None]:
        """Admit one request of each client (`client_key` names it) in turn; answers in the same order.

        Gives 0, or how many nanoseconds to wait, or None where the limiter cannot tell. Never raises for what is wrong
        outside.
        """
        ...


class NonceStore(Protocol):
    """Nonces that are kept outside this process. Without one they are kept in the core's own memory."""

    async def reserve(self, asked: Sequence[NonceRequest]) -> Sequence[Reservation]:
        """Reserve each nonce in turn, so that of two that are the same one is replayed; answers in the same order.

        Never raises for what is wrong outside: a store that cannot tell says so (contract §4, check 10).
        """
        ...


class JournalError(Exception):
    """What is durable cannot be written, or cannot be read. The message names the file, and the way out."""


class Journal(Protocol):
    """A snapshot of the state, and the groups of changes that came after it. All that is called here may block.

    The groups are in segments: a snapshot names the one that goes on from it, so a new snapshot needs only the later
    ones. Nothing else may use what is kept while it is open.
    """

    @property
    def segment(self) -> str:
        """Name the segment that groups go to."""
        ...

    @property
    def next_segment(self) -> str:
        """Name the segment that `turn` will begin: the one that a snapshot made just before it has to name."""
        ...

    @property
    def due(self) -> bool:
        """Say whether so much came after the last snapshot that it is time for another."""
        ...

    def read(self) -> bytes | None:
        """Give the snapshot; None where there is none yet. Raises JournalError."""
        ...

    def groups(self, segment: str | None) -> Iterator[bytes] | None:
        """Give every group that came after the snapshot that names this segment; None where that is gone altogether.

        Raises JournalError, while iterated too, for what was durable and cannot be read any more.
        """
        ...

    def start(self) -> None:
        """Go on after what `groups` gave; in a first segment where there is none. Raises JournalError."""
        ...

    def append(self, group: bytes) -> None:
        """Make one group durable. Raises JournalError, and then nothing is left of it."""
        ...

    def turn(self) -> None:
        """Let later groups go to the next segment. Raises JournalError, and then they go on where they went."""
        ...

    def begin_snapshot(self, pieces: Iterable[bytes]) -> Callable[[], None]:
        """Take the state as it is now, which `pieces` reads, and write it beside the journal's own work.

        Gives what waits until it is durable; that raises JournalError.
        """
        ...

    def publish(self) -> None:
        """Put the snapshot that was written in the place of the last, and drop the segments that it makes needless."""
        ...

    def close(self) -> None:
        """Let another server have it."""
        ...
