"""A server with a journal ends: by a stop, which waits for snapshots no longer than it says, or cancelled."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from reference_server.adapters.memory.clocks import SetClock
from reference_server.core.recovery import recover
from reference_server.operations.outcomes import Deferred
from reference_server.pipeline.resolving import Resolver
from reference_server.ports import JournalError
from tests.durability.kept import REGISTRATION, GatedJournal, Kept, ask, until_waiting
from tests.http.serving import serving
from tests.http.twins import START, as_owner, make_api
from tests.support.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from reference_server.adapters.memory.journal import Storage


@pytest.fixture
async def kept() -> Kept:
    return Kept()


class HangingJournal(GatedJournal):
    """A journal whose next snapshots hang until they are given up."""

    def __init__(self, storage: Storage, due_after: int = 1_000_000) -> None:
        super().__init__(storage, due_after)
        self.hanging = 0
        self.hangs = threading.Event()
        self.given_up = threading.Event()

    def begin_snapshot(self, pieces: Any) -> Any:
        """Hang, or do it."""
        wait = super().begin_snapshot(pieces)
        if not self.hanging:
            return wait
        self.hanging -= 1

        def hang() -> None:
            self.hangs.set()
            assert self.given_up.wait(2 * PATIENCE_SECONDS)
            raise JournalError("cannot write a snapshot (it was not waited for, and was ended)")

        return hang

    def end_snapshot(self) -> None:
        """Give up."""
        self.given_up.set()


FASTER = 20


@pytest.mark.parametrize("begun", ["before", "for the end", "after a failure"])
async def test_stopping_waits_for_snapshots_no_longer_than_it_says(
    begun: str, mock_clock: trio.testing.MockClock
) -> None:
    """One that is being written when it begins, the last one, and one that is to mend what failed.

    The server's time goes by faster than that of the threads, which no clock of the loop waits for.
    """
    mock_clock.rate = FASTER
    kept = Kept(HangingJournal, due_after=0 if begun == "before" else 1_000_000)
    assert isinstance(kept.journal, HangingJournal)
    kept.journal.hanging = 1
    clock = SetClock()
    resolver = Resolver(kept.api, clock)
    async with trio.open_nursery() as nursery:
        await nursery.start(resolver.run)
        if begun != "for the end":
            kept.journal.failures = int(begun == "after a failure")
            deferred = kept.api.handle(REGISTRATION, clock.now())
            assert (await resolver.resolved(deferred)).status == (500 if begun == "after a failure" else 201)
            assert await trio.to_thread.run_sync(kept.journal.hangs.wait, PATIENCE_SECONDS)
        with trio.fail_after(FASTER * PATIENCE_SECONDS):  # the journal hangs for longer
            await resolver.stop()
        nursery.cancel_scope.cancel()
    assert kept.journal.given_up.is_set()
    again = make_api()
    recover(again.state, kept.journal, START)
    assert len(again.state.workers) == (2 if begun == "before" else 1)


class CountingJournal(GatedJournal):
    """A journal that counts the snapshots that were begun."""

    begun = 0

    def begin_snapshot(self, pieces: Iterable[bytes]) -> Callable[[], None]:
        """Begin one."""
        self.begun += 1
        return super().begin_snapshot(pieces)


ANOTHER = as_owner("/machines/register", {"owner_id": "ada", "name": "a third"})


async def test_what_is_committed_while_the_server_is_cancelled_is_answered_and_kept_and_it_ends() -> None:
    """Who was to put the snapshot in place that this commit begins has ended before."""
    kept, clock = Kept(CountingJournal, due_after=0), SetClock()
    assert isinstance(kept.journal, CountingJournal)
    resolver = Resolver(kept.api, clock)
    answers: list[int] = []
    kept.journal.gate.clear()
    async with trio.open_nursery() as nursery:
        await nursery.start(resolver.run)
        reply = kept.api.handle(REGISTRATION, clock.now())
        assert isinstance(reply, Deferred)
        resolver.defer(reply, lambda answer: answers.append(answer.status))
        await until_waiting(kept.journal)
        another = kept.api.handle(ANOTHER, clock.now())
        assert isinstance(another, Deferred)
        resolver.defer(another, lambda answer: answers.append(answer.status))
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await trio.testing.wait_all_tasks_blocked()
            kept.journal.gate.set()
    assert answers == [201, 201]
    # The first one, that of the commit and the last: none was left behind half written.
    assert kept.journal.begun == kept.journal.snapshots == 3
    again = make_api()
    recover(again.state, kept.journal, START)
    assert len(again.state.workers) == 3


async def test_a_server_that_stops_leaves_a_snapshot_of_everything(kept: Kept) -> None:
    async with serving(kept.api, SetClock(), express_lane=True) as server:
        assert (await ask(server, kept.machine.heartbeat("a"))).status == 200
    assert kept.journal.storage.segments == {"00000002": []}
