"""Deciding requests where several instances have one state, through a journal that they share (contract §6, §7).

A batch first reads on, so that all that was acknowledged anywhere before it is in this instance's state. On that,
frozen, every request is tried: what is only read is answered, a heartbeat that is right is accepted by the journal and
answered once it was read back from there, and what would change anything waits for a lease. Under a lease nobody else
changes anything but heartbeats, and those touch nothing that is decided under one; what is decided is appended and only
then answered. A state with changes that may not be in the journal is never shown: another one is loaded first.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec
import trio

from reference_server.core import heartbeats
from reference_server.core.changes import Frozen, encode_changes, is_fencing
from reference_server.core.heartbeats import Verified
from reference_server.core.market.working import look_again
from reference_server.core.recovery import begin, replay, restore, split_streams
from reference_server.core.snapshots import snapshot
from reference_server.limits import (
    JOURNAL_MIN_BYTES,
    SHARED_BATCH_MAX,
    SHARED_TICK_SECONDS,
    SHARED_TRIES_MAX,
)
from reference_server.operations.outcomes import PERSISTENCE_FAILED, SHARED_STATE_UNAVAILABLE
from reference_server.pipeline.answering import internal_error
from reference_server.pipeline.cases import Case, nonce_of
from reference_server.pipeline.snapshotting import until_written
from reference_server.ports import (
    Election,
    JournalPosition,
    Reservation,
    SharedBusy,
    SharedDown,
    SharedLost,
)
from reference_server.wire.exposition import Figure
from reference_server.wire.own_sections import load_state_file
from reference_server.wire.state_file import StateFileError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reference_server.core.inquiry import Inquiry
    from reference_server.operations.api import Api
    from reference_server.operations.outcomes import Undecided
    from reference_server.ports import Clock, ReadResult, SharedJournal, SharedSnapshot
    from reference_server.wire.values import Reply

RETRY_SECONDS = 0.05
START_SECONDS = 5.0
"""How long starting waits for the shared state; after that it refuses what needs it, until it is there."""
_log = logging.getLogger("hatchfarm")


class Sharer:
    """Decides what an API is asked, on the state that its instances share. `run` is its background task."""

    def __init__(self, api: Api, clock: Clock, journal: SharedJournal) -> None:
        self._api = api
        self._clock = clock
        self._journal = journal
        self._wait_seconds = journal.bounds.wait_seconds
        self._place = JournalPosition()
        self._reached = 0
        self._ahead = ""
        self._clean = True
        self._due = False
        self._compactable = 0
        self._one = trio.Lock()
        self._lost = trio.Event()
        self._logged_trouble = ""
        self.ready = False
        begin(api.state)
        api.state.extra_metrics.append(self.figures)

    def figures(self) -> Sequence[Figure]:
        """Return what the metrics show of it."""
        return (
            Figure("hatchfarm_shared_state_up", "1 while the state is shared with other instances.", self._usable),
            Figure(
                "hatchfarm_shared_groups",
                "Groups of changes that are in this instance's state.",
                self._place.position,
            ),
        )

    @property
    def _usable(self) -> bool:
        return self.ready and self._journal.up

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Load the state, read on now and then, and load it anew when it is not what is shared any more."""
        async with trio.open_nursery() as nursery:
            started = trio.Event()
            nursery.start_soon(self._keep_loaded, started)
            with trio.move_on_after(START_SECONDS):
                await started.wait()
            task_status.started()

    async def _keep_loaded(self, started: trio.Event) -> None:
        while True:
            try:
                if not self.ready:
                    await self._load()
                else:
                    await self._tick()
                if self.ready:
                    self._tell("")
            except SharedLost:
                self._lose(clean=self._clean)
            except SharedDown as error:
                self._tell(str(error))
            if self.ready or not self._journal.up:
                started.set()
            with trio.move_on_after(SHARED_TICK_SECONDS if self.ready else RETRY_SECONDS):
                await self._lost.wait()
                await trio.sleep(RETRY_SECONDS)

    def _tell(self, trouble: str) -> None:
        if trouble not in {"", self._logged_trouble}:
            _log.warning("The shared state cannot be used: %s", trouble)
        if not trouble and self._logged_trouble:
            _log.warning("The shared state can be used again")
        self._logged_trouble = trouble
        self._api.state.degraded = "" if self._usable else "shared state unavailable"

    def _lose(self, *, clean: bool) -> None:
        self.ready, self._clean = False, clean
        self._api.state.degraded = "shared state unavailable"
        self._lost.set()

    async def resolve(self, requests: Sequence[Undecided]) -> list[Reply | Inquiry]:
        """Decide each request, up to its inquiry; those that would need what cannot be reached now are refused."""
        cases = [Case(request) for request in requests]
        for start in range(0, len(cases), SHARED_BATCH_MAX):
            some = cases[start : start + SHARED_BATCH_MAX]
            try:
                async with self._one:
                    if self.ready:
                        await self._decide(some, trio.current_time() + self._wait_seconds)
                        self._tell("")
            except SharedLost:
                self._lose(clean=self._clean)
            except SharedBusy:
                continue
            except SharedDown as error:
                self._tell(str(error))
            except Exception:  # noqa: BLE001 - after a fault of ours nobody knows what is in the state
                internal_error("requests to be decided on the shared state")
                self._lose(clean=False)
        return [case.reply or self._refuse(case) for case in cases]

    def _refuse(self, case: Case) -> Reply | Inquiry:
        if case.accepted:
            return heartbeats.unavailable(self._api.state)
        self._api.unusable = True
        try:
            return self._outcome(case, SHARED_STATE_UNAVAILABLE)
        finally:
            self._api.unusable = False

    def _outcome(self, case: Case, instead: Reply) -> Reply | Inquiry:
        """Decide a request that cannot come to a heartbeat that is right."""
        outcome = self._decided(case)
        return instead if isinstance(outcome, Verified) else outcome

    def _decided(self, case: Case) -> Reply | Verified | Inquiry:
        now = self._clock.now()
        try:
            if case.accepted and case.verified is not None:
                return heartbeats.acknowledge(self._api.state, now, case.verified)
            return case.request.decide(now)
        except Frozen:
            return PERSISTENCE_FAILED
        except Exception:  # noqa: BLE001 - a fault of ours must not cost the caller its answer
            return internal_error("a request")

    async def _decide(self, cases: Sequence[Case], until: float) -> None:
        """Answer all that can be answered until then."""
        await self._read_on(until - trio.current_time())
        for _ in range(SHARED_TRIES_MAX):
            self._try(cases)
            await self._accept(cases, until)
            if all(case.reply is not None for case in cases):
                return
            await self._decide_under_lease(cases, until)

    def _try(self, cases: Sequence[Case]) -> None:
        """Decide on the frozen state whatever changes nothing."""
        state = self._api.state
        state.changes, state.frozen = [], True
        try:
            for case in cases:
                if case.undecided:
                    outcome = self._decided(case)
                    if isinstance(outcome, Verified):
                        case.verified = outcome
                    elif outcome is not PERSISTENCE_FAILED:
                        case.reply = outcome
        finally:
            state.changes, state.frozen = None, False

    async def _accept(self, cases: Sequence[Case], until: float) -> None:
        """Have the heartbeats that are right accepted, of those whose nonce was not seen before; answer what can be."""
        state, now = self._api.state, self._clock.now()
        verified = [(case, case.verified) for case in cases if case.acceptable and case.verified is not None]
        if not verified:
            return
        asked = [nonce_of(state, heartbeat, now) for _, heartbeat in verified]
        accepted = await self._journal.accept(self._place, asked)
        for (case, _), reservation in zip(verified, accepted.reservations, strict=True):
            match reservation:
                case Reservation.RESERVED:
                    case.accepted = True
                case Reservation.BEHIND:
                    case.verified = None
                case Reservation.UNAVAILABLE:
                    case.reply = heartbeats.unavailable(state)
                case _:
                    case.refused = reservation
        if accepted.read is not None:
            await self._apply(accepted.read, until - trio.current_time())
            self._try(cases)

    async def _decide_under_lease(self, cases: Sequence[Case], until: float) -> None:
        """Decide under a lease what changes the state. Raises SharedLost where that is in this state alone."""
        lease, read = await self._journal.acquire(self._place, until - trio.current_time())
        await self._apply(read, until - trio.current_time())
        self._try(cases)
        await self._accept(cases, until)
        state = self._api.state
        counted = dict(state.heartbeat_answers)
        decided, changes = self._change(cases)
        fencing = any(map(is_fencing, changes))
        try:
            read = await self._journal.release(
                self._place, lease, encode_changes(changes) if changes else b"", fencing=fencing
            )
        except (SharedDown, SharedLost) as error:
            if changes:
                self._tell(str(error))
                state.heartbeat_answers.update(counted)
                self._clean = False
                raise SharedLost from None
            raise
        for case, reply in decided:
            case.reply = reply
        if changes:
            self._ahead = lease
            self._reached = read.own
        await self._apply(read, until - trio.current_time())

    def _change(self, cases: Sequence[Case]) -> tuple[list[tuple[Case, Reply | Inquiry]], list[tuple[object, ...]]]:
        """Decide what is left, one after the other. The answers are not to be given before the changes are shared."""
        state = self._api.state
        decided: list[tuple[Case, Reply | Inquiry]] = []
        changes: list[tuple[object, ...]] = []
        state.changes = changes
        try:
            for case in cases:
                if case.reply is not None:
                    continue
                if case.refused is not None and case.verified is not None:
                    decided.append((case, self._api.accept(case.verified, case.refused, self._clock.now())))
                    continue
                outcome = self._decided(case)
                if not isinstance(outcome, Verified):
                    decided.append((case, outcome))
        finally:
            state.changes = None
        return decided, changes

    async def _read_on(self, within: float) -> None:
        await self._apply(await self._journal.read(self._place, within), within)

    async def _apply(self, read: ReadResult, within: float) -> None:
        """Apply the next groups, and whatever comes after them."""
        until = trio.current_time() + within
        while not self._applied(read):
            read = await self._journal.read(self._place, until - trio.current_time())

    def _applied(self, read: ReadResult) -> bool:
        """Apply groups; says whether there is no more. Raises SharedLost for what does not go with the state."""
        state, now, position = self._api.state, self._clock.now(), self._place.position
        try:
            for group in read.groups:
                if group.position <= position:
                    continue
                if not (self._ahead and group.lease == self._ahead):
                    replay(state, (group.changes,), now)
                else:
                    self._ahead = ""
                position = group.position
        except StateFileError as error:
            self._clean = False
            _log.error("The shared journal does not go with this instance's state: %s", error)
            raise SharedLost from None
        complete = position >= read.position
        fencing_token = read.fencing_token if complete else self._place.fencing_token
        self._place = msgspec.structs.replace(self._place, position=position, fencing_token=fencing_token)
        if complete:
            self._compactable = read.journal_bytes
            enough = self._api.settings.journal_bytes or max(JOURNAL_MIN_BYTES, read.snapshot_bytes)
            self._due = read.journal_bytes > enough
        return complete

    async def _tick(self) -> None:
        """Read on, and write a snapshot where it is time for one and no other instance does."""
        async with self._one:
            await self._read_on(self._wait_seconds)
            if not self._due or self._ahead or not await self._journal.may_compact():
                return
            place, size = self._place, self._compactable
            written = self._journal.begin_snapshot(snapshot(self._api.state, self._clock.now(), place.term))
        try:
            content = await until_written(self._journal, written)
            await self._journal.compact(place, content, size)
        except SharedLost:
            return  # another instance's was first

    async def _load(self) -> None:
        """Load the state that is shared, or, when it is lost, take part in electing who begins a new term."""
        mine = self._place
        status = await self._journal.status()
        if status is not None:
            place = status.place
            beyond = (place.term_number, place.position) > (mine.term_number, max(mine.position, self._reached))
            if status.intact or beyond:
                await self._take_over(await self._journal.load())
            if status.intact and not status.older:
                await self._read_on(self._wait_seconds)
                self._begin()
                return
            if status.intact:
                await self._begin_term(self._place)
                _log.warning("The shared state is this version's now: instances of an earlier one are refused it")
                return
        place = msgspec.structs.replace(self._place, position=max(self._place.position, self._reached))
        if await self._journal.elect(place, clean=self._clean) is Election.ELECTED:
            await self._begin_term(place)
            if self._api.state.workers:
                _log.warning("The shared state was lost, and a new term begun with what this instance had of it")

    async def _begin_term(self, place: JournalPosition) -> None:
        """Begin a new term from this instance's state, which is at a place. SharedLost when that is too late."""
        state = self._api.state
        written = self._journal.begin_snapshot(snapshot(state, self._clock.now(), place.term))
        content = await until_written(self._journal, written)
        self._place = await self._journal.begin_term(place, content, empty=not state.workers)
        self._ahead, self._reached, self._clean = "", 0, True
        self._begin()

    def _begin(self) -> None:
        self.ready = True
        self._lost = trio.Event()

    async def _take_over(self, loaded: SharedSnapshot) -> None:
        """Have the state that was loaded in the place of this instance's own."""
        state, now = self._api.empty_state(), self._clock.now()

        def fill() -> None:
            restore(state, load_state_file(loaded.snapshot, state.tables.sections), now)
            replay(state, (group.changes for group in loaded.groups), now)
            split_streams(state)
            look_again(state.market, now)

        try:
            await self._journal.offload(fill)
        except StateFileError as error:
            raise SharedDown(f"its snapshot cannot be used: {error}") from None
        self._api.state = state
        end = loaded.groups[-1].position if loaded.groups else loaded.place.position
        self._place = msgspec.structs.replace(loaded.place, position=end)
        self._ahead, self._reached, self._clean = "", 0, True
