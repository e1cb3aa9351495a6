"""What the twins in memory do as Redis does, beyond what a port promises: of instances that stand still, of crashes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from reference_server.adapters.memory.clocks import BEGINNING, LoopClock
from reference_server.adapters.memory.nonces import FallbackNonces, MemoryNonces, SharedNonces
from reference_server.adapters.memory.shared_journal import MemorySharedJournal, SharedStorage
from reference_server.ports import Election, JournalPosition, NonceRequest, Reservation, SharedBusy, SharedLost
from reference_server.settings import Settings
from simulator.worlds.virtual.scheduling import run_seeded

if TYPE_CHECKING:
    from collections.abc import Sequence

RESERVED, REPLAYED, UNAVAILABLE = Reservation.RESERVED, Reservation.REPLAYED, Reservation.UNAVAILABLE
SETTINGS = Settings()


def request(nonce: str, now: LoopClock) -> NonceRequest:
    moment = now.now()
    return NonceRequest("w", nonce, moment.wall_ns, moment)


async def begun(journal: MemorySharedJournal) -> JournalPosition:
    while await journal.elect(JournalPosition(), clean=True) is Election.WAIT:  # noqa: ASYNC110 - it gives no event
        await trio.sleep(0.1)
    return await journal.begin_term(JournalPosition(), b"snapshot", empty=True)


def test_who_got_the_lease_and_never_heard_of_it_keeps_others_waiting_for_a_lease_alone() -> None:
    async def play() -> None:
        storage = SharedStorage(SETTINGS)
        answers = 0

        async def pause() -> None:
            nonlocal answers
            answers += 1
            if answers == 2:  # the answer to the first thing it asks
                await trio.sleep_forever()

        other = MemorySharedJournal(storage, "other")
        place = await begun(other)
        still = MemorySharedJournal(storage, "still", pause)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(still.acquire, place, 60.0)
            await trio.sleep(0.5)
            with pytest.raises(SharedBusy):
                await other.acquire(place, 0.2)
            await trio.sleep(0.5)
            lease, _ = await other.acquire(place, 0.2)
            assert lease.startswith("other")
            nursery.cancel_scope.cancel()

    run_seeded(play, seed=1)


def test_a_journal_that_lost_its_last_second_is_not_believed_and_another_term_begins_from_who_knows_most() -> None:
    async def play() -> None:
        storage = SharedStorage(SETTINGS)
        journal = MemorySharedJournal(storage, "one")
        place = await begun(journal)
        for number in range(3):
            lease, _ = await journal.acquire(place, 1.0)
            read = await journal.release(place, lease, b"\x90", fencing=False)
            place = JournalPosition(place.term, read.position, read.fencing_token)
            await trio.sleep(0.6 * (number < 2))
        storage.rewind(1.0)
        status = await journal.status()
        assert status is not None
        assert (status.intact, status.place.position) == (False, place.position - 2)
        with pytest.raises(SharedLost):
            await journal.read(place, 1.0)
        while await journal.elect(place, clean=True) is Election.WAIT:  # noqa: ASYNC110 - it gives no event
            await trio.sleep(0.1)
        again = await journal.begin_term(place, b"snapshot", empty=False)
        assert again.position == place.position
        assert (await journal.read(again, 1.0)).position == place.position

    run_seeded(play, seed=1)


def test_nonces_that_were_forgotten_are_refused_until_no_replay_can_be_in_time() -> None:
    async def play() -> None:
        clock = LoopClock()
        shared = SharedNonces(SETTINGS, clock)
        store = MemoryNonces(shared)
        assert await store.reserve([request("a", clock)]) == [RESERVED]
        shared.forget(clock.now())
        for _ in range(2):  # what was refused is not known for a replay: nobody accepted it
            assert await store.reserve([request("a", clock)]) == [UNAVAILABLE]
        await trio.sleep(2 * SETTINGS.skew_seconds)
        assert await store.reserve([request("b", clock)]) == [RESERVED]

    run_seeded(play, seed=1)


def test_a_fallback_goes_on_alone_and_tells_of_it_before_it_asks_again() -> None:
    async def play() -> Sequence[list[Reservation]]:
        clock, found = LoopClock(), []
        shared = SharedNonces(SETTINGS, clock)
        one, other = (FallbackNonces(shared, SETTINGS, BEGINNING, fresh=True) for _ in range(2))
        async with trio.open_nursery() as nursery:
            for store in (one, other):
                await nursery.start(store.run)
            found.append([*await one.reserve([request("before", clock)])])
            shared.down = True
            found.append(
                [*await one.reserve([request(nonce, clock) for nonce in ("before", "meanwhile", "meanwhile")])]
            )
            shared.down = False
            await trio.sleep(1.0)
            found.append([*await other.reserve([request("meanwhile", clock)])])
            nursery.cancel_scope.cancel()
        return found

    assert run_seeded(play, seed=1) == [[RESERVED], [REPLAYED, RESERVED, REPLAYED], [REPLAYED]]


def test_a_fallback_of_an_instance_that_knows_machines_refuses_what_it_may_have_accepted_before() -> None:
    async def play() -> None:
        clock = LoopClock()
        shared = SharedNonces(SETTINGS, clock)
        shared.down = True
        store = FallbackNonces(shared, SETTINGS, BEGINNING, fresh=False)
        assert await store.reserve([request("a", clock)]) == [UNAVAILABLE]

    run_seeded(play, seed=1)


def test_what_a_fallback_accepts_alone_is_bounded_as_that_of_the_real_one() -> None:
    async def play() -> None:
        clock = LoopClock()
        shared = SharedNonces(SETTINGS, clock)
        shared.down = True
        store = FallbackNonces(shared, SETTINGS, BEGINNING, fresh=True, unwritten_max=2)
        asked = [request(nonce, clock) for nonce in "abc"]
        assert await store.reserve(asked) == [RESERVED, RESERVED, UNAVAILABLE]

    run_seeded(play, seed=1)
