"""The journal through which several instances have one state (contract §6, §7), in Redis.

Every change is in one stream of groups, and each instance applies them in that order, so that all come to the same
state, audit chains and all. Redis runs one script at a time, and each of these looks at the journal's status and does
its work in one step:

- what changes the state is decided under a lease, a key with a time limit; `release` appends only while it is still
  this one's, and a state that was changed under a lease that was lost is not used again;
- heartbeats need no lease. `accept` reserves nonces and appends heartbeats in one step, and does neither when a
  certificate was replaced or a consent revoked after what they were verified by.

So nothing that was sent after a revocation or a rotation was acknowledged is accepted by any instance: it was
acknowledged after its group was in the journal, so the fencing token is that group, or a later one, when the script
runs; and the script goes on only for an instance that has applied that group. A failed-over or emptied Redis would
break that, so a journal whose Redis may have forgotten anything is lost, as nonces are (`nonces.lua`), until the
instance that knows most has begun a new term from its own state.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from reference_server.adapters.files.disk import write_all
from reference_server.adapters.files.state_files import blocks
from reference_server.adapters.forking import fork
from reference_server.adapters.redis.alike import SAY, AlikeSettings, SharedMismatch
from reference_server.adapters.redis.link import RedisDown, Script
from reference_server.adapters.redis.nonces import RedisNonces
from reference_server.adapters.threads import Result, offload
from reference_server.limits import (
    REDIS_BATCH_MAX,
    SHARED_COMPACTION_SECONDS,
    SHARED_ELECTION_SECONDS,
    SHARED_GROUPS_AT_ONCE,
    SHARED_LEASE_POLL_SECONDS,
    SHARED_PART_SECONDS,
    SHARED_REPEAT_SECONDS,
    SHARED_TERM_START_SECONDS,
    SNAPSHOT_PIECE_BYTES,
)
from reference_server.ports import (
    Accepted,
    Election,
    Group,
    JournalPosition,
    JournalStatus,
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

    from reference_server.adapters.forking import Child
    from reference_server.adapters.redis.link import Command, RedisLink
    from reference_server.adapters.redis.nonces import AskedNonce
    from reference_server.ports import Clock, Entropy, NonceRequest
    from reference_server.settings import Settings

META, GROUPS = "hf:state", "hf:state:groups"
LEASE, WAITING, ASKED = "hf:state:turn", "hf:state:waiting", "hf:state:asked"
"""The lease's key, and the fields of the term and the fencing token (`founded`, `strict`), have the names that every
version of this server knows them by."""
FORMS = ("2", "3")
"""What instances make of the groups, but for the tables added since; it stands in what they must have alike, with the
names of those. The first form, with two audit streams, has none; the second had no stream for what agents do."""
CANDIDATES, COMPACTING = "hf:state:candidates", "hf:state:compacting"
_LOST = {
    "lost": "Redis may have forgotten some of its journal",
    "other": "a new term of its journal has begun",
    "trimmed": "a snapshot took the place of what this instance had not read yet",
    "late": "another instance was first, for this one took too long",
}


def _text(name: str) -> str:
    return (Path(__file__).parent / f"{name}.lua").read_text(encoding="utf-8")


def _script(name: str, before: str = "") -> Script:
    return Script(_text("journal") + before + _text(f"journal_{name}"))


_READ, _ACQUIRE, _RELEASE, _ELECT, _SNAPSHOT = (
    _script(name) for name in ("read", "acquire", "release", "elect", "snapshot")
)
_ACCEPT = _script("accept", f"local function reserve(KEYS, ARGV)\n{_text('nonces')}end\n")
_EXPIRING = frozenset({_ACQUIRE, _RELEASE})  # they are told until when somebody waits for their answer
_MARK_LANDED = Script(_text("journal_mark_landed"))
SCRIPTS = (_READ, _ACQUIRE, _RELEASE, _ACCEPT, _MARK_LANDED, _ELECT, _SNAPSHOT, SAY)


class JournalledNonces(RedisNonces):
    """Nonces that are reserved together with appending what their heartbeats change."""

    _release = _MARK_LANDED

    def __init__(
        self, link: RedisLink, settings: Settings, entropy: Entropy, clock: Clock, instance: str, bounds: SharedBounds
    ) -> None:
        off_seconds_max = bounds.clock_off_seconds_max
        super().__init__(link, settings, entropy, clock, fresh=False, clock_off_seconds_max=off_seconds_max)
        self._bytes_max = bounds.journal_bytes_max
        self._last = f"hf:state:accepted:{instance}"
        self._calls = 0
        self.place = JournalPosition()
        self.read: ReadResult | None = None  # what the last call that accepted gave

    def _command(self, keys: list[str], head: list[str | int], asked: Sequence[AskedNonce]) -> Command:
        if not asked:
            return super()._command(keys, head, asked)
        self._calls += 1
        place = self.place
        common = (place.term, place.position, int(self.durable), SHARED_GROUPS_AT_ONCE)
        until_us = self._link.deadline_us()
        own = place.fencing_token, self._calls, self._bytes_max, SHARED_REPEAT_SECONDS, len(asked), until_us
        changes = [one.change for one in asked]
        return _ACCEPT.call([META, GROUPS, self._last, *keys], [*common, *own, *head, *changes])

    def _reservations(self, answer: Any, count: int) -> list[Reservation]:
        if isinstance(answer, bytes):
            return super()._reservations(answer, count)
        status = answer[0].decode()
        if status == "ok":
            self.read = _read_result(answer[2])
            return super()._reservations(answer[1], count)
        return [Reservation.UNAVAILABLE if status in {"full", "expired"} else Reservation.BEHIND] * count


class RedisJournal:
    """The shared journal as one instance sees it.

    `digest` stands for what all instances must have alike; nobody can tell from it what that is. `later` names the
    tables that were added after the first versions, in order: a journal without the last of them is an older one.
    """

    def __init__(
        self,
        link: RedisLink,
        settings: Settings,
        entropy: Entropy,
        clock: Clock,
        digest: str,
        later: Sequence[str] = (),
        election_seconds: float = SHARED_ELECTION_SECONDS,
        bounds: SharedBounds = SharedBounds(),  # noqa: B008 - frozen
    ) -> None:
        self.bounds = bounds
        self._link = link
        self._election_seconds = election_seconds
        forms = ["+".join((form, *later[:count])) for form in FORMS for count in range(len(later) + 1)]
        *before, self._digest = (digest, *(f"{form}:{digest}" for form in forms))
        self._digests_before = frozenset(before)
        self._instance = entropy.hex(16)
        self._named = 0
        self._child: Child | None = None
        self._released = f"hf:state:given:{self._instance}"
        self.alike = AlikeSettings(link, settings, bounds.settings_again_seconds)
        self.nonces = JournalledNonces(link, settings, entropy, clock, self._instance, bounds)

    @property
    def up(self) -> bool:
        """Return whether Redis can be asked now."""
        return self._link.up

    async def offload(self, call: Callable[[], Result], *, abandon_on_cancel: bool = False) -> Result:
        """Return what a call returns, from a thread."""
        return await offload(call, abandon_on_cancel=abandon_on_cancel)

    def _next_name(self) -> str:
        self._named += 1
        return f"{self._instance}{self._named:x}"

    async def _run(
        self,
        script: Script,
        place: JournalPosition,
        keys: Sequence[str] = (),
        arguments: Sequence[str | bytes | int] = (),
        within: float | None = None,
    ) -> list[Any]:
        """Run a script, for `answer_seconds` of the bounds unless said. Return its answer: first its status.

        Raises:
            SharedDown: when there was no answer in time, or the journal is full.
            SharedLost: when what this instance knows is no longer the journal's, or others are set otherwise.
        """
        self.alike.require()
        common = (place.term, place.position, int(self.nonces.durable), SHARED_GROUPS_AT_ONCE)
        within = self.bounds.answer_seconds if within is None else within
        until = (self._link.deadline_us(within),) if script in _EXPIRING else ()
        command = script.call([META, GROUPS, *keys], [*common, *arguments, *until])
        try:
            (answer,) = await self._link.ask([command], within)
        except RedisDown as error:
            if error.sent:
                self._link.renew()
            raise SharedDown(str(error)) from None
        status = answer[0].decode()
        if status in _LOST:
            raise SharedLost(_LOST[status])
        if status == "expired":
            raise SharedDown("Redis came to it when nobody waited for it any more")
        if status == "full":
            raise SharedDown(
                f"its journal has {self.bounds.journal_bytes_max} bytes, and no snapshot took their place: see what "
                "its instances say of their snapshots"
            )
        return [status, *answer[1:]]

    async def read(self, place: JournalPosition, within: float) -> ReadResult:
        """Return the next groups."""
        return _read_result(await self._run(_READ, place, within=within))

    async def acquire(self, place: JournalPosition, within: float) -> tuple[str, ReadResult]:
        """Acquire the lease, asking for it until then in the order in which instances began to ask."""
        await self.alike.confirm()
        name = self._next_name()
        own_ms, place_ms = int(self.bounds.lease_seconds * 1000), int(self.bounds.lease_place_seconds * 1000)
        arguments = (name, own_ms, self._instance, place_ms, self.bounds.journal_bytes_max)
        until = trio.current_time() + within
        while trio.current_time() < until:
            answer = await self._run(
                _ACQUIRE, place, (LEASE, WAITING, ASKED), arguments, max(0.0, until - trio.current_time())
            )
            if answer[0] == "ok":
                return name, _read_result(answer)
            await trio.sleep(SHARED_LEASE_POLL_SECONDS)
        raise SharedBusy("another instance has the lease")

    async def release(self, place: JournalPosition, lease: str, changes: bytes, *, fencing: bool) -> ReadResult:
        """Append a group, if there are changes, and release the lease. SharedLost when it was lost before that."""
        arguments = (lease, changes, int(fencing), SHARED_REPEAT_SECONDS)
        return _read_result(await self._run(_RELEASE, place, (LEASE, self._released), arguments))

    async def accept(self, place: JournalPosition, asked: Sequence[NonceRequest]) -> Accepted:
        """Reserve each nonce and append the changes of those reserved, unless the fencing token is past the place."""
        if len(asked) > REDIS_BATCH_MAX:
            raise ValueError("more than one script takes")
        self.nonces.place, self.nonces.read = place, None
        return Accepted(await self.nonces.reserve(asked), self.nonces.read)

    async def status(self) -> JournalStatus | None:
        """Return what the journal is now; None where there is nothing.

        Raises SharedDown, and SharedMismatch when another owner token, signing key or price is in use there.
        """
        names = ("founded", "process", "durable", "position", "strict", "digest", "nonces")
        fields, info = await self._ask([(b"HMGET", (META, *names)), (b"INFO", ("server",))])
        if fields[0] is None:
            await self.alike.look()
            return None
        term, process, durable, position, fencing_token, digest, epoch = (value.decode() for value in fields)
        if digest != self._digest and digest not in self._digests_before:
            raise SharedMismatch(
                "the instances that share this Redis have another HATCHFARM_API_TOKEN or another key in "
                "MACHINE_CERT_SIGNING_KEY_FILE, or are of a later version: give all of them the same"
            )
        await self.alike.look()
        intact = f"run_id:{process}" in info.decode() or (durable == "1" and self.nonces.durable)
        if epoch:
            self.nonces.trust(epoch)
        return JournalStatus(
            JournalPosition(term, int(position), int(fencing_token)), intact, older=digest != self._digest
        )

    async def load(self) -> SharedSnapshot:
        """Return the last snapshot, and all groups after it, though the journal be lost."""
        (fields,) = await self._ask([(b"HMGET", (META, "founded", "snapshot", "parts", "count"))])
        if None in fields:
            raise SharedDown("its snapshot is gone")
        term, snapshot, parts, count = (value.decode() for value in fields)
        pieces = []
        for number in range(1, int(count) + 1):
            (piece,) = await self._ask([(b"GET", (f"{parts}:{number}",))])
            if piece is None:
                raise SharedDown("another snapshot has just taken the place of its snapshot")
            pieces.append(piece)
        groups: list[Group] = []
        after = int(snapshot)
        while True:
            page = (GROUPS, f"({after}-0", "+", "COUNT", SHARED_GROUPS_AT_ONCE)
            (some,) = await self._ask([(b"XRANGE", page)])
            if not some:
                break
            groups += map(_group, some)
            after = groups[-1].position
        return SharedSnapshot(JournalPosition(term, int(snapshot)), b"".join(pieces), groups)

    async def elect(self, place: JournalPosition, *, clean: bool) -> Election:
        """Offer to begin a lost journal's next term from a state at this place, `clean` unless more is in it."""
        knows = f"{place.term_number:012}:{place.position:018}:{int(clean)}"
        arguments = (self._instance, knows, int(self._election_seconds * 1000), SHARED_TERM_START_SECONDS)
        (status, *_) = await self._run(_ELECT, place, (CANDIDATES,), arguments)
        return {"intact": Election.INTACT, "wait": Election.WAIT, "elected": Election.ELECTED}[status]

    def begin_snapshot(self, pieces: Iterable[bytes]) -> Callable[[], bytes]:
        """Take the state as it is now, which `pieces` reads, and write it in a child: no answer waits for that.

        Returns what waits for it, and returns it. Both raise SharedDown.
        """
        file = os.memfd_create("hatchfarm-snapshot")
        try:
            self._child = child = fork(partial(_write_as_child, file, pieces), file)
        except OSError as error:
            os.close(file)
            raise SharedDown(f"no snapshot could be begun ({error.strerror})") from None

        def content() -> bytes:
            try:
                trouble = child()
                if trouble:
                    raise SharedDown(f"no snapshot could be written ({trouble})")
                return os.pread(file, os.fstat(file).st_size, 0)
            finally:
                os.close(file)

        return content

    def end_snapshot(self) -> None:
        """End the child that writes one, if one does."""
        if self._child is not None:
            self._child.end()

    async def begin_term(self, place: JournalPosition, snapshot: bytes, *, empty: bool) -> JournalPosition:
        """Begin a new term, from a snapshot; `empty` says that it knows no machine."""
        term = f"{place.term_number + 1}-{self._next_name()}"
        epoch = self.nonces.epoch if empty else ""
        await self._put_snapshot(place, snapshot, term, 0, epoch)
        if epoch:
            self.nonces.trust(epoch)
        return JournalPosition(term, place.position, place.position)

    async def may_compact(self) -> bool:
        """Return whether this instance is the one to compact the journal; for a while no other will be told so."""
        claim = (COMPACTING, self._instance, "NX", "EX", SHARED_COMPACTION_SECONDS)
        (claimed,) = await self._ask([(b"SET", claim)])
        return claimed is not None

    async def compact(self, place: JournalPosition, snapshot: bytes, journal_bytes: int) -> None:
        """Put a snapshot in the place of the groups that are in it, which have so many bytes."""
        await self._put_snapshot(place, snapshot, "", journal_bytes, "")

    async def _put_snapshot(
        self, place: JournalPosition, snapshot: bytes, term: str, included: int, epoch: str
    ) -> None:
        size = len(snapshot)
        if size > self.bounds.snapshot_bytes_max:
            raise SharedDown(
                f"the state has become too large to be shared ({size} bytes; at most "
                f"{self.bounds.snapshot_bytes_max}): lower AUDIT_EVENTS_PER_STREAM, or serve some of its owners from "
                "another Redis"
            )
        name = f"hf:state:snapshot:{self._next_name()}"
        count = 0
        for start in range(0, size, SNAPSHOT_PIECE_BYTES):
            count += 1
            part = snapshot[start : start + SNAPSHOT_PIECE_BYTES]
            await self._ask([(b"SET", (f"{name}:{count}", part, "EX", SHARED_PART_SECONDS))])
        keys = (LEASE, CANDIDATES, *(f"{name}:{number}" for number in range(1, count + 1)))
        arguments = (self._instance, term, name, size, included, self._digest, epoch)
        await self._run(_SNAPSHOT, place, keys, arguments)

    async def _ask(self, commands: Sequence[Command]) -> list[Any]:
        try:
            return await self._link.ask(commands)
        except RedisDown as error:
            raise SharedDown(str(error)) from None


def _write_as_child(file: int, pieces: Iterable[bytes], parent_lives: Callable[[], bool]) -> bool:
    """Write a snapshot in a forked child, to a file in memory; says whether all of it is there."""
    offset = 0
    for block in blocks(pieces):
        if not parent_lives():
            return False
        write_all(file, block, offset)
        offset += len(block)
    return True


def _read_result(answer: Sequence[Any]) -> ReadResult:
    position, fencing_token, journal_bytes, snapshot_bytes = (int(value) for value in answer[1:5])
    groups = [_group(entry) for entry in answer[6]]
    return ReadResult(groups, position, fencing_token, journal_bytes, snapshot_bytes, int(answer[5] or 0))


def _group(entry: Sequence[Any]) -> Group:
    name, (_, changes, _, by) = entry
    return Group(int(name.partition(b"-")[0]), by.decode(), changes)
