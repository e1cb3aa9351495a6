"""What the core needs from outside, as protocols; `adapters` holds the real ones, `adapters.memory` a twin of each."""

from __future__ import annotations

from collections.abc import Sequence  # noqa: TC003 - msgspec reads a struct's types when it is made
from enum import Enum
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

from reference_server.limits import (
    REDIS_ATTEMPT_SECONDS,
    REDIS_CLOCK_OFF_SECONDS_MAX,
    REDIS_CONNECT_SECONDS,
    REDIS_RECONNECT_PAUSE_SECONDS,
    REDIS_WAIT_SECONDS,
    SHARED_ANSWER_SECONDS,
    SHARED_JOURNAL_BYTES_MAX,
    SHARED_LEASE_PLACE_SECONDS,
    SHARED_LEASE_SECONDS,
    SHARED_SETTINGS_AGAIN_SECONDS,
    SHARED_SNAPSHOT_BYTES_MAX,
    SHARED_WAIT_SECONDS,
)
from reference_server.wire.values import Instant  # noqa: TC001 - msgspec reads a struct's types when it is made

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import trio


Result = TypeVar("Result")


class Offloading(Protocol):
    """What may block, and knows how to be called without holding up the event loop."""

    async def offload(self, call: Callable[[], Result], *, abandon_on_cancel: bool = False) -> Result:
        """Return what a call returns that may block: one of this port's, or on what this port gave.

        It is waited for though the caller be cancelled, unless it may be abandoned.
        """
        ...


class Clock(Protocol):
    """Both clocks, read together."""

    def now(self) -> Instant:
        """Return the present moment."""
        ...


class Entropy(Protocol):
    """A source of identifiers and tokens."""

    def hex(self, digits: int) -> str:
        """Return `digits` lower-case hexadecimal digits, never given before."""
        ...


class Reservation(Enum):
    """What became of a nonce: reserved now, seen before, the store cannot tell, or may have forgotten it long ago.

    `BEHIND` comes from a shared journal only: nothing was done, for what the heartbeat was verified by has changed.
    """

    RESERVED = 1
    REPLAYED = 2
    UNAVAILABLE = 3
    FORGOTTEN = 4
    BEHIND = 5


class NonceRequest(msgspec.Struct, frozen=True, gc=False):
    """The nonce of one verified heartbeat, which its machine stamped `timestamp_ns` (Unix ns), asked for `now`.

    `change` is what its acceptance changes, as MessagePack, where that is shared.
    """

    worker_id: str
    nonce: str
    timestamp_ns: int
    now: Instant
    change: bytes = b""


class BackgroundTask(Protocol):
    """What has to run while the API is served, until it is cancelled."""

    async def __call__(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Run; started once whatever it is for may be used."""
        ...


class RateLimiter(Protocol):
    """A rate limit that is kept outside this process. Without one each address has a bucket in the core's memory."""

    async def take(self, clients: Sequence[str]) -> Sequence[int | None]:
        """Admit one request of each client (`client_key` names it) in turn; answers in the same order.

        Returns 0, or how many nanoseconds to wait, or None where the limiter cannot tell. Never raises for what is
        wrong outside.
        """
        ...


class NonceStore(Protocol):
    """Nonces that are kept outside this process. Without one they are kept in the core's own memory."""

    async def reserve(self, asked: Sequence[NonceRequest]) -> Sequence[Reservation]:
        """Reserve each nonce in turn, so that of two that are the same one is replayed; answers in the same order.

        Never raises for what is wrong outside: a store that cannot tell says so (contract §4, check 10).
        """
        ...


class Payout(msgspec.Struct, frozen=True):
    """One withdrawal to be paid: `amount` in the asset's smallest units. Its id is its idempotency key."""

    id: str
    asset: str
    amount: int
    address: str


class PayoutOutcome(Enum):
    """What became of a payout; `UNKNOWN` is none yet, or no answer, and is asked about again."""

    SETTLED = "settled"
    RETURNED = "returned"
    UNKNOWN = "unknown"


class PayoutGateway(Protocol):
    """Whoever sends money out."""

    async def pay_out(self, payout: Payout) -> PayoutOutcome:
        """Pay once for each id, however often it is asked, and say what became of that."""
        ...


class JournalError(Exception):
    """What is durable cannot be written, or cannot be read. The message names the file, and the way out."""


class Journal(Offloading, Protocol):
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
        """Name the segment that `rotate` will begin: the one that a snapshot made just before it has to name."""
        ...

    @property
    def due(self) -> bool:
        """Return whether so much came after the last snapshot that it is time for another."""
        ...

    def read(self) -> bytes | None:
        """Return the snapshot; None where there is none yet. Raises JournalError."""
        ...

    def groups(self, segment: str | None) -> Iterator[bytes] | None:
        """Yield every group that came after the snapshot that names this segment; None where that is gone altogether.

        Raises JournalError, while iterated too, for what was durable and cannot be read any more.
        """
        ...

    def start(self) -> None:
        """Go on after what `groups` gave; in a first segment where there is none. Raises JournalError."""
        ...

    def append(self, group: bytes) -> None:
        """Make one group durable. Raises JournalError, and then nothing is left of it."""
        ...

    def rotate(self) -> None:
        """Direct later groups to the next segment. Raises JournalError, and then they go on where they went."""
        ...

    def begin_snapshot(self, pieces: Iterable[bytes]) -> Callable[[], None]:
        """Take the state as it is now, which `pieces` reads, and write it beside the journal's own work.

        Returns what waits until it is durable. Both raise JournalError.
        """
        ...

    def end_snapshot(self) -> None:
        """Abandon the snapshot that is being written, if one is: what waits for it raises JournalError soon."""
        ...

    def publish(self) -> None:
        """Put the snapshot that was written in the place of the last, and drop the segments that it makes needless."""
        ...

    def close(self) -> None:
        """Release it, so that another server may have it."""
        ...


class LinkBounds(msgspec.Struct, frozen=True):
    """How long a connection to what is shared is waited for.

    `wait_seconds` bounds whatever is asked, with its second attempt; connecting may take `connect_seconds`, and so may
    each exchange before a connection is used.
    """

    wait_seconds: float = REDIS_WAIT_SECONDS
    attempt_seconds: float = REDIS_ATTEMPT_SECONDS
    connect_seconds: float = REDIS_CONNECT_SECONDS
    reconnect_pause_seconds: float = REDIS_RECONNECT_PAUSE_SECONDS


class SharedBounds(msgspec.Struct, frozen=True):
    """How long instances that share a journal wait for it and for each other, and how much it may hold."""

    link: LinkBounds = LinkBounds()
    wait_seconds: float = SHARED_WAIT_SECONDS
    answer_seconds: float = SHARED_ANSWER_SECONDS
    lease_seconds: float = SHARED_LEASE_SECONDS
    lease_place_seconds: float = SHARED_LEASE_PLACE_SECONDS
    settings_again_seconds: float = SHARED_SETTINGS_AGAIN_SECONDS
    journal_bytes_max: int = SHARED_JOURNAL_BYTES_MAX
    snapshot_bytes_max: int = SHARED_SNAPSHOT_BYTES_MAX
    clock_off_seconds_max: int = REDIS_CLOCK_OFF_SECONDS_MAX


class JournalPosition(msgspec.Struct, frozen=True):
    """How much of a shared journal is in a state: all groups up to `position`, of the journal's `term`.

    `fencing_token` is the last group up to there that replaced a certificate or revoked a consent.
    """

    term: str = ""
    position: int = 0
    fencing_token: int = 0

    @property
    def term_number(self) -> int:
        """Count the terms up to this one."""
        return int(self.term.partition("-")[0] or 0)


class Group(msgspec.Struct, frozen=True):
    """Changes that take effect together, as MessagePack. `lease` names the one they were decided under, if any."""

    position: int
    lease: str
    changes: bytes


class ReadResult(msgspec.Struct, frozen=True):
    """The next groups after a place, and how far the journal goes, in the words of `JournalPosition`.

    `own` is where the caller's own group came, if it has just appended one and its answer was not lost.
    """

    groups: Sequence[Group]
    position: int
    fencing_token: int
    journal_bytes: int
    snapshot_bytes: int
    own: int = 0


class Accepted(msgspec.Struct, frozen=True):
    """What became of some heartbeats, and what was to be read then, their own group with it; None if none was asked."""

    reservations: Sequence[Reservation]
    read: ReadResult | None = None


class SharedSnapshot(msgspec.Struct, frozen=True):
    """A snapshot with its place, and the groups after it."""

    place: JournalPosition
    snapshot: bytes
    groups: Sequence[Group]


class JournalStatus(msgspec.Struct, frozen=True):
    """What a shared journal is now: `place` is its end. It is not `intact` where any of it may have been forgotten.

    It is `older` where an earlier version began its term, whose instances would read these groups otherwise.
    """

    place: JournalPosition
    intact: bool
    older: bool = False


class Election(Enum):
    """Who begins a lost journal's next term: nobody yet, or another instance; this one; or it is not lost after all."""

    WAIT = 1
    ELECTED = 2
    INTACT = 3


class SharedDown(Exception):  # noqa: N818 - a state of the world, not a mistake
    """What is shared could not be reached in time, or not be used; what was asked for may have happened or not."""


class SharedBusy(SharedDown):
    """Another instance kept the lease for so long that nothing could be changed in time."""


class SharedLost(Exception):  # noqa: N818 - the same
    """The state is not what the journal has: it has to be loaded anew, or a new term to be begun."""


class SharedJournal(Offloading, Protocol):
    """One journal for the state of several instances: groups of changes in one order, which each applies to its own.

    What changes the state is decided under a lease, which one instance has at a time; heartbeats are accepted without.
    What is asked of it raises SharedDown in time, and SharedLost where the place given is not in the journal any more.
    """

    bounds: SharedBounds

    @property
    def up(self) -> bool:
        """Return whether it can be asked now."""
        ...

    async def read(self, place: JournalPosition, within: float) -> ReadResult:
        """Return the next groups."""
        ...

    async def acquire(self, place: JournalPosition, within: float) -> tuple[str, ReadResult]:
        """Acquire the lease, waiting for it within so many seconds. Returns its name, and the next groups.

        Raises SharedBusy when it was not to be had.
        """
        ...

    async def release(self, place: JournalPosition, lease: str, changes: bytes, *, fencing: bool) -> ReadResult:
        """Append a group, if there are changes, and release the lease. With `fencing` it raises the fencing token.

        SharedLost when the lease was lost before that.
        """
        ...

    async def accept(self, place: JournalPosition, asked: Sequence[NonceRequest]) -> Accepted:
        """Reserve each nonce and append the changes of those reserved, unless the fencing token is past the place.

        Whoever acknowledges one has read it before: so as long as an instance lives that did, it is not forgotten.
        """
        ...

    async def status(self) -> JournalStatus | None:
        """Return what the journal is now; None where there is nothing."""
        ...

    async def load(self) -> SharedSnapshot:
        """Return the last snapshot, and all groups after it, though the journal be lost."""
        ...

    async def elect(self, place: JournalPosition, *, clean: bool) -> Election:
        """Offer to begin a lost journal's next term from a state at this place, `clean` unless more is in it."""
        ...

    def begin_snapshot(self, pieces: Iterable[bytes]) -> Callable[[], bytes]:
        """Take the state as it is now, which `pieces` reads. Return what waits until it is written, and returns it.

        That may block. Both raise SharedDown.
        """
        ...

    def end_snapshot(self) -> None:
        """Abandon the snapshot that is being written, if one is: what waits for it raises SharedDown soon."""
        ...

    async def begin_term(self, place: JournalPosition, snapshot: bytes, *, empty: bool) -> JournalPosition:
        """Begin a new term, from a snapshot; `empty` says that it knows no machine.

        After an election, or in the place of an older journal that ends at the place. SharedLost when it is not so.
        """
        ...

    async def may_compact(self) -> bool:
        """Return whether this instance is the one to compact the journal; for a while no other will be told so."""
        ...

    async def compact(self, place: JournalPosition, snapshot: bytes, journal_bytes: int) -> None:
        """Put a snapshot in the place of the groups that are in it, which have so many bytes."""
        ...
