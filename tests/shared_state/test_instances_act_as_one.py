"""What must hold of instances that share all state, while Redis does what it should."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from reference_server.wire.values import Request
from tests.http.twins import OWNER, as_owner
from tests.shared_state.members import enrol_at, members, revocation, rotation
from tests.support.redis_servers import redis_server
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from reference_server.ports import Accepted, JournalPosition, NonceRequest
    from tests.http.twins import Machine
    from tests.shared_state.members import Member

STATUSES = Request("GET", "/api/v1/workers/summary", headers=OWNER)
COPIES = 8


async def test_what_one_instance_was_told_every_instance_knows(tmp_path: Path) -> None:
    """A machine that enrols step by step at three of them beats at each, and all show the same of it."""
    async with redis_server() as redis, members(redis.port, tmp_path) as group:
        some = [await group.join() for _ in range(3)]
        machine = await enrol_at(some, "rack 1")
        assert [await one.beat(machine, f"n{number}") for number, one in enumerate(some)] == [200] * 3
        assert [await one.beat(machine, "n1") for one in some] == [401] * 3
        shown = [await one.audit() for one in some]
        assert shown[0]["heads"]["routine"]["sequence"] == 3
        assert [event["type"] for event in shown[0]["events"]].count("worker_auth_failed") == 3
        assert shown[0] == shown[1] == shown[2]
        assert len({(await one.ask(STATUSES)).body for one in some}) == 1


async def test_an_instance_that_joins_later_has_the_same_state(tmp_path: Path) -> None:
    async with redis_server() as redis, members(redis.port, tmp_path) as group:
        first = await group.join()
        machine = await enrol_at([first], "rack 1")
        assert await first.beat(machine, "n1") == 200
        assert await first.beat(machine, "n1") == 401
        second = await group.join()
        assert await second.audit() == await first.audit()
        assert await second.beat(machine, "n1") == 401
        assert await second.beat(machine, "n2") == 200
        assert await second.audit() == await first.audit()


async def test_of_eight_copies_over_three_instances_one_is_accepted(tmp_path: Path) -> None:
    async with redis_server() as redis, members(redis.port, tmp_path) as group:
        some = [await group.join() for _ in range(3)]
        machine = await enrol_at(some, "rack 1")
        for number in range(40):
            statuses: list[int] = []

            async def copy(at: int, request: Request, statuses: list[int] = statuses) -> None:
                statuses.append((await some[at % 3].served(request)).status)

            request = machine.heartbeat(f"n{number}", some[0].clock.now().wall_ns)
            async with trio.open_nursery() as nursery:
                for at in range(COPIES):
                    nursery.start_soon(copy, at, request)
            assert sorted(statuses) == [200] + [401] * (COPIES - 1)
        audits = [await one.audit() for one in some]
        assert audits[0] == audits[1] == audits[2]
        assert audits[0]["heads"]["routine"]["sequence"] == 40


@pytest.mark.parametrize(("ended_by", "status"), [(revocation, 403), (rotation, 401)])
async def test_what_ends_a_heartbeats_right_while_it_is_on_its_way_to_the_journal_ends_it(
    tmp_path: Path, ended_by: Callable[[Machine], Request], status: int
) -> None:
    """It was verified here, on all that was known; then another instance acknowledges a revocation or a rotation."""
    async with redis_server() as redis, members(redis.port, tmp_path) as group:
        here, there = [await group.join() for _ in range(2)]
        machine = await enrol_at([here, there], "rack 1")
        journal = here.api.shared
        assert journal is not None
        accept, times = journal.accept, 0

        async def late(place: JournalPosition, asked: Sequence[NonceRequest]) -> Accepted:
            nonlocal times
            times += 1
            if times == 1:
                assert (await there.served(ended_by(machine))).status == 200
            return await accept(place, asked)

        journal.accept = late  # type: ignore[method-assign]
        assert await here.beat(machine, "n1") == status
        assert times == 1
        assert await here.audit() == await there.audit()
        assert "routine" not in (await here.audit())["heads"]


@pytest.mark.parametrize("ended_by", [revocation, rotation])
async def test_no_heartbeat_sent_after_the_end_of_its_right_was_acknowledged_is_accepted_anywhere(
    tmp_path: Path, ended_by: Callable[[Machine], Request]
) -> None:
    """While a machine beats at two instances as fast as it can, a third revokes its consent or rotates its key."""
    accepted_before = accepted_after = 0
    async with redis_server() as redis, members(redis.port, tmp_path) as group:
        some = [await group.join() for _ in range(3)]
        for number in range(6):
            machine = await enrol_at(some, f"rack {number}")
            acknowledged = trio.Event()

            async def beats(one: Member, machine: Machine = machine, over: trio.Event = acknowledged) -> None:
                nonlocal accepted_before, accepted_after
                after = 0
                while after < 5:
                    late = over.is_set()
                    after += late
                    status = await one.beat(machine, f"{id(one)} {trio.current_time()}")
                    assert status in {200, 401, 403, 503}
                    if late:
                        accepted_after += status == 200
                    else:
                        accepted_before += status == 200

            async with trio.open_nursery() as nursery:
                for one in (some[0], some[0], some[1]):
                    nursery.start_soon(beats, one)
                before = accepted_before
                await until(lambda before=before: accepted_before > before + 2)  # type: ignore[misc]
                assert (await some[2].served(ended_by(machine))).status == 200
                acknowledged.set()
        audits = [await one.audit() for one in some]
        assert audits[0] == audits[1] == audits[2]
    assert accepted_before > 0
    assert accepted_after == 0


async def test_the_rate_limit_can_be_shared_beside_the_state(tmp_path: Path) -> None:
    """So many requests of an address are let through by all instances together, and what they decide is shared."""
    limit = {
        "REDIS_RATE_LIMIT_ENABLED": "true",
        "REDIS_RATE_LIMIT_MAX_REQUESTS": "5",
        "REDIS_RATE_LIMIT_WINDOW_SECONDS": "3600",
        "REDIS_RATE_LIMIT_FALLBACK": "false",
    }
    async with redis_server() as redis, members(redis.port, tmp_path) as group:
        limited = [await group.join(**limit) for _ in range(2)]
        free = await group.join()
        register = as_owner("/machines/register", {"owner_id": "ada", "name": "rack"})
        statuses = [(await limited[number % 2].served(register)).status for number in range(7)]
        assert statuses.count(201) <= 5
        assert statuses[-1] == 429
        assert (await free.audit())["heads"]["notable"]["sequence"] == statuses.count(201)
