"""What instances make of answers of Redis that are lost or late: done once, shown by all or none, and never later."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio

from tests.shared_state.members import SUMMARY, enrol_at, members, names_at, registration
from tests.support.patience import SHARED_IN_TIME
from tests.support.redis_servers import proxy_to, redis_server
from tests.support.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

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
        group.bounds = SHARED_IN_TIME
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
