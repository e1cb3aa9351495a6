"""State that instances of the version with two audit streams an owner share: it is taken over, and never by both."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import trio

from reference_server.wire.values import Request
from tests.durability.test_older_state_files import FILE, GROUPS, lists_of, recovered
from tests.http.twins import OWNER
from tests.shared_state.members import Member, enrol_at, make_key, members
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.waiting import PATIENCE_SECONDS, POLL_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.shared_state.members import Members

SUMMARY = Request("GET", "/api/v1/workers/summary", headers=OWNER)


APPEND = "return redis.call('XADD', KEYS[1], ARGV[1], 'group', ARGV[2], 'by', 'x')"


async def join_older(group: Members, port: int, folder: Path) -> Member:
    """Start an instance that founds what it shares as the earlier version does, and wants to find it so."""
    member = Member(port, make_key(folder), group.tables, group.routes, group.bounds)
    journal: Any = member.api.shared
    journal._digest = min(journal._digests_before, key=len)  # of the first form, which has no name
    await group._nursery.start(member.run)
    group.all.append(member)
    return member


async def put(redis: RedisServer, content: bytes, *command: str) -> None:
    """Return Redis a command whose last word is bytes."""
    await trio.run_process(
        ["redis-cli", "-p", str(redis.port), "-x", *command], stdin=content, stdout=subprocess.DEVNULL
    )


async def test_an_instance_of_this_version_takes_the_state_over_and_those_before_it_are_refused_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing that they did is lost, replays are known as before, and they do not go on beside it."""
    async with redis_server() as redis, members(redis.port, tmp_path) as group:
        older = await join_older(group, redis.port, tmp_path)
        machine = await enrol_at([older], "rack 1")
        assert await older.beat(machine, "n1") == 200
        before = await older.audit()
        newer = await group.join()
        assert await newer.audit() == before
        assert await newer.beat(machine, "n1") == 401
        assert await newer.beat(machine, "n2") == 200
        assert (await older.ask(SUMMARY)).status == 503
        with trio.fail_after(PATIENCE_SECONDS):
            while "give all of them the same" not in caplog.text:  # noqa: ASYNC110 - a log gives no event
                await trio.sleep(POLL_SECONDS)
        assert (await older.ask(SUMMARY)).status == 503
        assert await older.beat(machine, "n3") == 503
        third = await group.join()
        assert await third.audit() == await newer.audit()
        assert (await third.served(SUMMARY)).body == (await newer.served(SUMMARY)).body


async def test_streams_that_are_shared_are_split_like_those_of_a_file(tmp_path: Path) -> None:
    async with redis_server() as redis, members(redis.port, tmp_path) as group:
        older = await join_older(group, redis.port, tmp_path)
        await older.served(SUMMARY)
        await older.leave()
        parts = await redis.says("HGET", "hf:state", "parts")
        await put(redis, FILE, "SET", f"{parts}:1")
        await redis.says("HSET", "hf:state", "count", "1", "position", str(len(GROUPS)))
        for position, changes in enumerate(GROUPS, 1):
            await put(redis, changes, "EVAL", APPEND, "1", "hf:state:groups", f"{position}-0")
        some = [await group.join(AUDIT_EVENTS_PER_STREAM="8") for _ in range(2)]
        await some[0].served(SUMMARY)
        expected = lists_of(recovered(GROUPS, audit_events_per_stream=8))
        for one in some:
            await one.served(SUMMARY)
            assert lists_of(one.api.state) == expected
        shown = [await one.audit("ben") for one in some]
        assert shown[0] == shown[1]
        assert shown[0]["heads"].keys() == {"routine", "notable", "refused"}
