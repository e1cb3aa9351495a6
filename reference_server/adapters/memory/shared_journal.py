"""The journal through which instances have one state, in memory: the twin of the one in Redis.

Each call is one step of what is outside, between the pauses in which its request and its answer are under way. Where
those take too long it is not known whether the step was done, as over a network.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from operator import attrgetter
from typing import TYPE_CHECKING, TypeVar

import msgspec
import trio

from reference_server.adapters.memory.nonces import SharedNonces
from reference_server.adapters.memory.pauses import Pause, at_once, offloaded
from reference_server.limits import (
    SHARED_COMPACTION_SECONDS,
    SHARED_ELECTION_SECONDS,
    SHARED_GROUPS_AT_ONCE,
    SHARED_LEASE_POLL_SECONDS,
    SHARED_TERM_START_SECONDS,
)
from reference_server.ports import (
    Accepted,
    Election,
    Group,
    JournalPosition,
    JournalStatus,
    NonceRequest,
    ReadResult,
    Reservation,
    SharedBounds,
    SharedBusy,
    SharedDown,
    SharedLost,
    SharedSnapshot,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from reference_server.settings import Settings

Result = TypeVar("Result")


class SharedStorage:
    """What is outside: the journal, its lease, its election, and the nonces. While it is `down` no call reaches it."""

    def __init__(self, settings: Settings, election_seconds: float = SHARED_ELECTION_SECONDS) -> None:
        self.down = False
        self._election_seconds = election_seconds
        self.nonces = SharedNonces(settings)
        self.term = ""
        self.intact = True
        """Whether it is known to hold all that it was given."""
        self.position = self.fencing_token = self.trimmed = 0
        self.groups: list[Group] = []
        self._appended_at: list[float] = []
        self.snapshot = b""
        self.journal_bytes = 0
        self.lease, self.lease_until = "", -math.inf
        self.waiting: dict[str, float] = {}
        """When each instance that waits for the lease last asked for it, in the order in which they began to ask."""
        self.compaction_claimed_until = -math.inf
        self._candidates: dict[str, tuple[int, int, bool]] = {}
        self._election_began = self._election_ends = -math.inf
        self._elected = ""

    def lose(self) -> None:
        """Forget the journal, as a Redis does that was emptied. The nonces are still known."""
        self.term, self.lease, self.groups, self._appended_at = "", "", [], []

    def rewind(self, seconds: float) -> None:
        """Lose the groups of the last seconds, as a Redis does that syncs now and then and whose machine failed.

        A snapshot that it was given meanwhile is still there.
        """
        since = trio.current_time() - seconds
        lost = [group for group, at in zip(self.groups, self._appended_at, strict=True) if at >= since]
        if lost:
            del self.groups[-len(lost) :], self._appended_at[-len(lost) :]
            self.position = lost[0].position - 1
        self.lease, self.intact = "", False

    def lacks(self, place: JournalPosition) -> str:
        """Return why what comes after a place is not here; empty where it is."""
        if not self.intact or not self.term or self.term != place.term or self.position < place.position:
            return "its journal was lost"
        return "a snapshot took the place of what was not read yet" if self.trimmed > place.position else ""

    def check(self, place: JournalPosition) -> None:
        """Raise SharedLost unless what comes after a place is here."""
        if why := self.lacks(place):
            raise SharedLost(why)

    def append(self, lease: str, changes: bytes) -> int:
        """Append a group, and return its position."""
        self.position += 1
        self.groups.append(Group(self.position, lease, changes))
        self._appended_at.append(trio.current_time())
        self.journal_bytes += len(changes)
        return self.position

    def trim(self, position: int) -> None:
        """Drop the groups up to a position."""
        at = self._after(position)
        del self.groups[:at], self._appended_at[:at]

    def _after(self, position: int) -> int:
        """Return where the groups after a position begin: they come in the order of theirs."""
        return bisect_right(self.groups, position, key=attrgetter("position"))

    def read(self, place: JournalPosition, own: int = 0) -> ReadResult:
        """Return the next groups after a place."""
        at = self._after(place.position)
        groups = self.groups[at : at + SHARED_GROUPS_AT_ONCE]
        return ReadResult(groups, self.position, self.fencing_token, self.journal_bytes, len(self.snapshot), own)

    def elect(self, instance: str, place: JournalPosition, *, clean: bool) -> Election:
        """Have an instance take part in the election of who begins the next term."""
        now = trio.current_time()
        if self.intact and self.term and not (self.term == place.term and self.position < place.position):
            return Election.INTACT
        self.term = ""
        if now >= self._election_ends:
            self._candidates, self._elected, self._election_began = {}, "", now
            self._election_ends = now + SHARED_TERM_START_SECONDS
        if not self._elected:
            self._candidates[instance] = (place.term_number, place.position, clean)
            if now - self._election_began < self._election_seconds:
                return Election.WAIT
            self._elected = max(self._candidates, key=lambda name: (self._candidates[name], name))
        return Election.ELECTED if self._elected == instance else Election.WAIT

    def begin_term(self, instance: str, term: str, place: JournalPosition, snapshot: bytes) -> JournalPosition:
        """Begin a term from a snapshot. Raises SharedLost unless the instance was elected."""
        if self._elected != instance:
            raise SharedLost("another instance was first, for this one took too long")
        self.term, self.position, self.fencing_token, self.trimmed = term, *3 * (place.position,)
        self.groups, self._appended_at, self.snapshot, self.journal_bytes, self.lease = [], [], snapshot, 0, ""
        self.intact = True
        self._election_ends, self._elected = -math.inf, ""
        return JournalPosition(term, place.position, place.position)


class MemorySharedJournal:
    """`ports.SharedJournal` of one instance, which `name` tells from all others."""

    def __init__(
        self,
        storage: SharedStorage,
        name: str,
        pause: Pause = at_once,
        *,
        bounds: SharedBounds = SharedBounds(),  # noqa: B008 - frozen
    ) -> None:
        self.bounds = bounds
        self._storage = storage
        self._name = name
        self._pause = pause
        self._named = 0

    @property
    def up(self) -> bool:
        """Return whether it can be asked now."""
        return not self._storage.down

    async def _step(self, step: Callable[[], Result], within: float | None = None) -> Result:
        seconds = self.bounds.answer_seconds if within is None else within
        with trio.move_on_after(max(0.0, seconds)):
            await self._pause()
            if self._storage.down:
                raise SharedDown("it does not answer")
            result = step()
            await self._pause()
            return result
        raise SharedDown("it did not answer in time")

    def _next_name(self) -> str:
        self._named += 1
        return f"{self._name}.{self._named}"

    async def offload(self, call: Callable[[], Result], *, abandon_on_cancel: bool = False) -> Result:
        """Make the call here: nothing blocks."""
        return await offloaded(self._pause, call, abandon_on_cancel=abandon_on_cancel)

    async def read(self, place: JournalPosition, within: float) -> ReadResult:
        """Return the next groups."""
        return await self._step(lambda: self._read(place), within)

    def _read(self, place: JournalPosition) -> ReadResult:
        self._storage.check(place)
        return self._storage.read(place)

    async def acquire(self, place: JournalPosition, within: float) -> tuple[str, ReadResult]:
        """Acquire the lease, asking for it until then in the order in which instances began to ask."""
        lease, until = self._next_name(), trio.current_time() + within
        while (left := until - trio.current_time()) > 0:
            if await self._step(lambda: self._may_lease(place, lease), left):
                return lease, await self.read(place, until - trio.current_time())
            await trio.sleep(SHARED_LEASE_POLL_SECONDS)
        raise SharedBusy("another instance has the lease")

    def _may_lease(self, place: JournalPosition, lease: str) -> bool:
        storage, now = self._storage, trio.current_time()
        storage.check(place)
        storage.waiting[self._name] = now
        for name, asked in [*storage.waiting.items()]:
            if asked <= now - self.bounds.lease_place_seconds:
                del storage.waiting[name]
        if (storage.lease and storage.lease_until > now) or next(iter(storage.waiting)) != self._name:
            return False
        del storage.waiting[self._name]
        storage.lease, storage.lease_until = lease, now + self.bounds.lease_seconds
        return True

    async def release(self, place: JournalPosition, lease: str, changes: bytes, *, fencing: bool) -> ReadResult:
        """Append a group, if there are changes, and release the lease. SharedLost when it was lost before that."""
        return await self._step(lambda: self._release(place, lease, changes, fencing=fencing))

    def _release(self, place: JournalPosition, lease: str, changes: bytes, *, fencing: bool) -> ReadResult:
        storage = self._storage
        storage.check(place)
        if storage.lease != lease or storage.lease_until <= trio.current_time():
            raise SharedLost("another instance was first, for this one took too long")
        own = 0
        if changes:
            own = storage.append(lease, changes)
            if fencing:
                storage.fencing_token = own
        storage.lease = ""
        return storage.read(place, own)

    async def accept(self, place: JournalPosition, asked: Sequence[NonceRequest]) -> Accepted:
        """Reserve each nonce and append the changes of those reserved, unless the fencing token is past the place."""
        try:
            return await self._step(lambda: self._accept(place, asked))
        except SharedDown:
            return Accepted([Reservation.UNAVAILABLE] * len(asked))

    def _accept(self, place: JournalPosition, asked: Sequence[NonceRequest]) -> Accepted:
        storage = self._storage
        if storage.lacks(place) or storage.fencing_token != place.fencing_token:
            return Accepted([Reservation.BEHIND] * len(asked))
        reservations = [storage.nonces.reserve(request) for request in asked]
        accepted = [
            msgspec.Raw(request.change)
            for request, reservation in zip(asked, reservations, strict=True)
            if reservation is Reservation.RESERVED
        ]
        if accepted:
            storage.append("", msgspec.msgpack.encode(accepted))
        return Accepted(reservations, storage.read(place))

    async def status(self) -> JournalStatus | None:
        """Return what the journal is now; None where there is nothing."""
        return await self._step(self._status)

    def _status(self) -> JournalStatus | None:
        storage = self._storage
        if not storage.term:
            return None
        return JournalStatus(JournalPosition(storage.term, storage.position, storage.fencing_token), storage.intact)

    async def load(self) -> SharedSnapshot:
        """Return the last snapshot, and all groups after it."""
        storage = self._storage
        return await self._step(
            lambda: SharedSnapshot(
                JournalPosition(storage.term, storage.trimmed), storage.snapshot, list(storage.groups)
            )
        )

    async def elect(self, place: JournalPosition, *, clean: bool) -> Election:
        """Offer to begin a lost journal's next term from a state at this place, `clean` unless more is in it."""
        return await self._step(lambda: self._storage.elect(self._name, place, clean=clean))

    def begin_snapshot(self, pieces: Iterable[bytes]) -> Callable[[], bytes]:
        """Take the state as it is now, which `pieces` reads; returns what returns it."""
        content = b"".join(pieces)
        return lambda: content

    def end_snapshot(self) -> None:
        """Do nothing: it is written when it is begun."""

    async def begin_term(self, place: JournalPosition, snapshot: bytes, *, empty: bool) -> JournalPosition:
        """Begin a new term, from a snapshot."""
        del empty  # nonces are never forgotten here
        term = f"{place.term_number + 1}-{self._next_name()}"
        return await self._step(lambda: self._storage.begin_term(self._name, term, place, snapshot))

    async def may_compact(self) -> bool:
        """Return whether this instance is the one to compact the journal; for a while no other will be told so."""
        return await self._step(self._may_compact)

    def _may_compact(self) -> bool:
        storage, now = self._storage, trio.current_time()
        if storage.compaction_claimed_until > now:
            return False
        storage.compaction_claimed_until = now + SHARED_COMPACTION_SECONDS
        return True

    async def compact(self, place: JournalPosition, snapshot: bytes, journal_bytes: int) -> None:
        """Put a snapshot in the place of the groups that are in it, which have so many bytes."""
        await self._step(lambda: self._compact(place, snapshot, journal_bytes))

    def _compact(self, place: JournalPosition, snapshot: bytes, journal_bytes: int) -> None:
        storage = self._storage
        storage.check(place)
        storage.trim(place.position)
        storage.snapshot, storage.trimmed = snapshot, place.position
        storage.journal_bytes -= journal_bytes
