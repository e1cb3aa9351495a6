"""What instances make of answers of Redis that are lost or late: done once, shown by all or none, and never later."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from reference_server.adapters.redis.journal import _ACCEPT
from reference_server.adapters.redis.link import RedisDown
from reference_server.core.snapshots import snapshot
from reference_server.limits import SHARED_GROUPS_AT_ONCE
from reference_server.ports import SharedDown
from tests.shared_state.members import SUMMARY, enrol_at, members, names_at, registration
from tests.support.patience import SHARED_IN_TIME, SHARED_SOON_ANEW
from tests.support.redis_servers import proxy_to, redis_server
from tests.support.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from reference_server.adapters.redis.link import Command
    from reference_server.ports import Accepted, JournalPosition, NonceRequest, ReadResult
    from tests.shared_state.members import Member


def before_giving(one: Member, happens: Callable[[], None]) -> None:
    """Have something happen each time an instance releases the lease."""
    journal = one.api.shared
    assert journal is not None
    release = journal.release

    async def after(place: JournalPosition, lease: str, changes: bytes, *, fencing: bool) -> ReadResult:
        happens()
        return await release(place, lease, changes, fencing=fencing)

    journal.release = after  # type: ignore[method-assign]


async def test_what_is_asked_again_because_its_answer_was_lost_is_done_once(tmp_path: Path) -> None:
    """The connection is cut where the answer was due."""
    async with redis_server() as redis, proxy_to(redis) as proxy, members(proxy.port, tmp_path) as group:
        one = await group.join()
        other = await group.join(redis.port)
        before_giving(one, partial(setattr, proxy, "cut", 1))
        statuses = []
        for number in range(8):
            await one.served(SUMMARY)
            statuses.append((await one.ask(registration(f"rack {number}"))).status)
        assert statuses == [201] * 8
        names = await names_at(one)
        assert names == await names_at(other)
        assert names == [f"rack {number}" for number in range(8)]


async def test_a_change_whose_answer_stays_away_is_shown_by_all_or_none(tmp_path: Path) -> None:
    """It is refused, for nobody can tell; the instance then shows what is in the journal, not what it decided."""
    async with redis_server() as redis, proxy_to(redis) as proxy, members(proxy.port, tmp_path) as group:
        other = await group.join(redis.port)
        group.bounds = SHARED_SOON_ANEW
        one = await group.join()
        await other.served(registration("first"))
        before_giving(one, partial(setattr, proxy, "swallow", 1_000))
        with trio.fail_after(PATIENCE_SECONDS):  # on a busy machine it may be refused before it is journalled
            while "unheard" not in await names_at(other):
                proxy.swallow = 0
                await one.served(SUMMARY)
                assert (await one.ask(registration("unheard"))).status == 503
        proxy.swallow = 0
        assert await one.audit() == await other.audit()
        assert await names_at(one) == ["first", "unheard"]


async def test_what_redis_comes_to_when_it_was_refused_has_no_effect_any_more(tmp_path: Path) -> None:
    """It lay in a socket while Redis stood still: neither a heartbeat nor a registration takes effect after its 503."""
    async with redis_server() as redis, proxy_to(redis) as proxy, members(proxy.port, tmp_path) as group:
        other = await group.join(redis.port)
        group.bounds = SHARED_IN_TIME
        one = await group.join()
        machine = await enrol_at([one, other], "rack 1")
        assert (await one.served(machine.heartbeat("n1", one.clock.now().wall_ns))).status == 200
        assert one.api.shared is not None

        def hold() -> None:
            proxy.hold = True

        before_giving(one, hold)
        accept = one.api.shared.accept

        async def held(place: JournalPosition, asked: Sequence[NonceRequest]) -> Accepted:
            hold()
            return await accept(place, asked)

        one.api.shared.accept = held  # type: ignore[method-assign]
        for request in (machine.heartbeat("n2", one.clock.now().wall_ns), registration("no")):
            await one.served(SUMMARY)
            before = await other.audit()
            while not proxy.holds:  # on a busy machine Redis may be refused for before it is asked for this
                assert (await one.ask(request)).status == 503
            await proxy.let_go()
            assert await other.audit() == before
        assert await other.beat(machine, "n2") == 200


async def test_a_heartbeat_that_is_journalled_is_no_replay_though_it_cannot_be_read_in_time(
    tmp_path: Path,
) -> None:
    """More came before it than is read at once, and Redis answers nothing more."""
    async with redis_server() as redis, members(redis.port, tmp_path) as group:
        one, other = some = [await group.join() for _ in range(2)]
        machine, busy = await enrol_at(some, "rack 1"), await enrol_at(some, "rack 2")
        journal = one.api.shared
        assert journal is not None
        accept, read = journal.accept, journal.read

        async def down(place: JournalPosition, within: float) -> ReadResult:
            del place, within
            await trio.lowlevel.checkpoint()
            raise SharedDown("no answer in time")

        async def late(place: JournalPosition, asked: Sequence[NonceRequest]) -> Accepted:
            for number in range(SHARED_GROUPS_AT_ONCE + 1):
                assert await other.beat(busy, f"x{number}") == 200
            journal.read = down  # type: ignore[method-assign]
            return await accept(place, asked)

        journal.accept = late  # type: ignore[method-assign]
        beat = machine.heartbeat("n1", one.clock.now().wall_ns)
        assert (await one.ask(beat)).status == 200
        journal.accept, journal.read = accept, read  # type: ignore[method-assign]
        assert (await one.served(beat)).status == 401
        assert await one.audit() == await other.audit()


async def test_a_heartbeat_whose_answer_was_lost_is_no_replay_when_a_snapshot_took_its_groups_place(
    tmp_path: Path,
) -> None:
    """It is asked about again, by an instance that has to load the snapshot first; whoever sent it sends it again."""
    async with redis_server() as redis, members(redis.port, tmp_path) as group:
        one, other = some = [await group.join() for _ in range(2)]
        machine = await enrol_at(some, "rack 1")
        assert await one.beat(machine, "n0") == 200
        link = one.api.shared._link  # type: ignore[union-attr]
        lost: list[bool] = []
        exchange = link._exchange

        async def lossy(connection: Any, commands: Sequence[Command], seconds: float) -> list[Any]:
            answer: list[Any] = await exchange(connection, commands, seconds)
            if commands[0][1][:1] == (_ACCEPT.digest,) and not lost:
                lost.append(True)
                await other.served(SUMMARY)
                place, state = other.resolver._sharer._place, other.api.state  # type: ignore[union-attr]
                content = b"".join(snapshot(state, other.clock.now(), place.term))
                await other.api.shared.compact(place, content, 1)  # type: ignore[union-attr]
                raise RedisDown("cut", sent=True)
            return answer

        link._exchange = lossy
        beat = machine.heartbeat("n1", one.clock.now().wall_ns)
        assert (await one.ask(beat)).status == 503
        assert lost
        assert (await one.served(beat)).status == 200
        assert (await one.audit())["heads"]["routine"]["sequence"] == 2
        assert await one.audit() == await other.audit()
