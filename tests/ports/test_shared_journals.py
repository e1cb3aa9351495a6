"""What every journal does that instances share, whether it is in memory or in Redis."""

from __future__ import annotations

import random  # noqa: TID251 - seeded
from typing import TYPE_CHECKING

import msgspec
import pytest
import trio

from reference_server.adapters.clock import SystemClock
from reference_server.ports import (
    Election,
    JournalPosition,
    NonceRequest,
    Reservation,
    SharedDown,
    SharedLost,
)
from tests.support.waiting import PATIENCE_SECONDS, POLL_SECONDS, until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reference_server.ports import SharedJournal

WAIT_SECONDS = PATIENCE_SECONDS
CHANGES = msgspec.msgpack.encode([("a change",)])


def asked(*nonces: str) -> Sequence[NonceRequest]:
    """Ask for nonces whose heartbeats change as much as their names say."""
    now = SystemClock().now()
    return [NonceRequest("w", nonce, now.wall_ns, now, msgspec.msgpack.encode((nonce,))) for nonce in nonces]


async def begun(journal: SharedJournal) -> JournalPosition:
    """Have an instance elected, and begin the first term."""
    assert await journal.status() is None
    with trio.fail_after(PATIENCE_SECONDS):
        while await journal.elect(JournalPosition(), clean=True) is Election.WAIT:  # noqa: ASYNC110 - it gives no event
            await trio.sleep(POLL_SECONDS)
    return await journal.begin_term(JournalPosition(), journal.begin_snapshot([b"sn", b"ap"])(), empty=True)


async def joined(journals: list[SharedJournal]) -> tuple[SharedJournal, SharedJournal, JournalPosition]:
    """Begin the first term at one instance, and have the other look at it, as it does before it loads it."""
    a, b = journals
    place = await begun(a)
    assert await b.status() is not None
    return a, b, place


async def changed(journal: SharedJournal, place: JournalPosition, *, fencing: bool = False) -> JournalPosition:
    """Append a group under a lease, and return the place after it."""
    lease, _ = await journal.acquire(place, WAIT_SECONDS)
    read = await journal.release(place, lease, CHANGES, fencing=fencing)
    assert read.groups[-1].lease == lease
    assert read.own == read.groups[-1].position == read.position
    return JournalPosition(place.term, read.position, read.fencing_token)


async def test_a_term_begins_once_with_a_snapshot_that_all_can_load(journals: list[SharedJournal]) -> None:
    a, b = journals
    place = await begun(a)
    assert place.term_number == 1
    status = await b.status()
    assert status is not None
    assert (status.place, status.intact, status.older) == (place, True, False)
    assert await b.elect(JournalPosition(), clean=True) is Election.INTACT
    loaded = await b.load()
    assert (loaded.snapshot, list(loaded.groups), loaded.place.term) == (b"snap", [], place.term)
    with pytest.raises(SharedLost):
        await b.begin_term(JournalPosition(), b"another", empty=True)


async def test_what_one_appends_another_reads_in_the_same_order(journals: list[SharedJournal]) -> None:
    a, b, place = await joined(journals)
    end = place
    for journal in (a, b, a):
        end = await changed(journal, end)
    read = await b.read(place, WAIT_SECONDS)
    assert [group.changes for group in read.groups] == [CHANGES] * 3
    assert [group.position for group in read.groups] == [place.position + 1, place.position + 2, end.position]
    assert not (await b.read(end, WAIT_SECONDS)).groups


async def test_one_has_the_lease_at_a_time(journals: list[SharedJournal]) -> None:
    a, b, place = await joined(journals)
    lease, _ = await a.acquire(place, WAIT_SECONDS)
    with pytest.raises(SharedDown):  # busy, unless the time was over in the middle of a question
        await b.acquire(place, 0.05)
    await until(lambda: b.up)  # in the middle of a question it gave its connection up
    with pytest.raises(SharedLost):
        await b.release(place, "of nobody", CHANGES, fencing=False)
    read = await a.release(place, lease, b"", fencing=False)
    assert (read.position, list(read.groups)) == (place.position, [])
    await changed(b, place)


async def test_heartbeats_are_accepted_once_and_appended_as_one_group(journals: list[SharedJournal]) -> None:
    a, b, place = await joined(journals)
    reserved, replayed = Reservation.RESERVED, Reservation.REPLAYED
    assert list((await a.accept(place, asked("n", "m", "n"))).reservations) == [reserved, reserved, replayed]
    assert list((await b.accept(place, asked("m", "o"))).reservations) == [replayed, reserved]
    assert list((await b.accept(place, asked("o"))).reservations) == [replayed]
    groups = (await b.read(place, WAIT_SECONDS)).groups
    assert [msgspec.msgpack.decode(group.changes) for group in groups] == [[["n"], ["m"]], [["o"]]]


async def test_what_is_accepted_is_given_to_be_read_with_what_came_before_it(journals: list[SharedJournal]) -> None:
    a, b, place = await joined(journals)
    await changed(a, place)
    accepted = await b.accept(place, asked("n"))
    assert accepted.read == await b.read(place, WAIT_SECONDS)
    assert [msgspec.msgpack.decode(group.changes) for group in accepted.read.groups] == [[["a change"]], [["n"]]]


async def test_a_raised_fencing_token_keeps_out_what_was_verified_before(journals: list[SharedJournal]) -> None:
    a, b, place = await joined(journals)
    end = await changed(a, place)
    assert list((await b.accept(place, asked("n"))).reservations) == [
        Reservation.RESERVED
    ]  # nothing that matters to it
    end = await changed(a, end, fencing=True)
    assert end.fencing_token == end.position
    assert list((await b.accept(place, asked("m"))).reservations) == [Reservation.BEHIND]
    assert list((await b.accept(end, asked("m"))).reservations) == [Reservation.RESERVED]


async def test_a_snapshot_takes_the_place_of_groups_and_whoever_lacks_those_is_lost(
    journals: list[SharedJournal],
) -> None:
    a, b, place = await joined(journals)
    middle = await changed(a, place)
    end = await changed(a, middle)
    assert [await a.may_compact(), await b.may_compact()] == [True, False]
    await a.compact(middle, b"later", len(CHANGES))
    with pytest.raises(SharedLost):
        await b.read(place, WAIT_SECONDS)
    assert [group.position for group in (await b.read(middle, WAIT_SECONDS)).groups] == [end.position]
    loaded = await b.load()
    assert (loaded.snapshot, loaded.place.position) == (b"later", middle.position)
    assert [group.position for group in loaded.groups] == [end.position]


async def test_a_snapshot_may_take_the_place_of_no_group(journals: list[SharedJournal]) -> None:
    a, b, place = await joined(journals)
    await a.compact(place, b"again", 0)
    loaded = await b.load()
    assert (loaded.snapshot, loaded.place.position, loaded.groups) == (b"again", place.position, [])
    end = await changed(b, place)
    assert (await a.read(place, WAIT_SECONDS)).journal_bytes == (await b.read(end, WAIT_SECONDS)).journal_bytes > 0


@pytest.mark.parametrize("place", [JournalPosition(), JournalPosition("1-other", 0, 0), None], ids=repr)
async def test_a_state_of_another_journal_is_lost(journals: list[SharedJournal], place: JournalPosition | None) -> None:
    """Or one that has more of it than there is."""
    end = await begun(journals[0])
    stranger = place or msgspec.structs.replace(end, position=end.position + 1)
    with pytest.raises(SharedLost):
        await journals[1].read(stranger, WAIT_SECONDS)
    with pytest.raises(SharedLost):
        await journals[1].acquire(stranger, WAIT_SECONDS)


@pytest.mark.parametrize("seed", range(2))
async def test_all_come_to_the_same_groups_whatever_they_do(journals: list[SharedJournal], seed: int) -> None:
    """Each instance reads on when it likes, and appends or accepts; a plain list says what must be in the end."""
    draws = random.Random(seed)  # noqa: S311 - repeatable
    _, _, start = await joined(journals)
    places = [start, start]
    expected: list[object] = []
    known: set[str] = set()
    token = start.fencing_token
    for _ in range(40):
        which = draws.randrange(2)
        journal = journals[which]
        kind = draws.choice(("read", "change", "fence", "accept", "accept"))
        if kind == "accept":
            nonces = draws.sample("abcdefgh", 2)
            answers = (await journal.accept(places[which], asked(*nonces))).reservations
            if places[which].fencing_token != token:
                assert list(answers) == [Reservation.BEHIND] * 2
                continue
            fresh = [nonce for nonce in nonces if nonce not in known]
            assert [answer is Reservation.RESERVED for answer in answers] == [nonce in fresh for nonce in nonces]
            known.update(fresh)
            expected += [[[nonce] for nonce in fresh]] if fresh else []
            continue
        if kind != "read":
            end = await changed(journal, (await at_end(journal, places[which])), fencing=kind == "fence")
            expected.append([["a change"]])
            token = end.fencing_token
        places[which] = await at_end(journal, places[which])
    for journal in journals:
        groups = (await journal.read(start, WAIT_SECONDS)).groups
        assert [msgspec.msgpack.decode(group.changes) for group in groups] == expected


async def at_end(journal: SharedJournal, place: JournalPosition) -> JournalPosition:
    """Read on to the end."""
    read = await journal.read(place, WAIT_SECONDS)
    return JournalPosition(place.term, read.position, read.fencing_token)
