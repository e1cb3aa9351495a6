"""Instances that share money decide by the same prices, though one of them stood still for longer than it is missed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio

from reference_server.adapters.redis import alike
from tests.shared_state.members import HEALTH, SUMMARY, members, names_at, registration
from tests.support.patience import PATIENT
from tests.support.redis_servers import redis_server
from tests.support.waiting import PATIENCE_SECONDS, POLL_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.shared_state.members import Member

OTHERWISE = '{"settings":{"PRICE_CPU_HOUR":"77"},"times":1}'
UNREADABLE = ('{"settings":[]}', "not JSON", '{"settings":{"PRICE_CPU_HOUR":1},"times":1}')
NEVER_SECONDS = 10**9


def stand_still(one: Member) -> None:
    """Have so much time pass for an instance that nobody is held any more to what it said last."""
    shared: Any = one.api.shared
    shared.alike._stands_until = -math.inf


async def until_degraded(one: Member, *, degraded: bool) -> None:
    """Wait until the health of an instance says so."""
    with trio.fail_after(PATIENCE_SECONDS):
        while (b"degraded" in (await one.ask(HEALTH)).body) != degraded:  # noqa: ASYNC110 - Redis gives no event
            await trio.sleep(POLL_SECONDS)


@pytest.mark.parametrize("stated", [OTHERWISE, *UNREADABLE])
async def test_one_that_finds_others_set_otherwise_gives_the_state_up_until_they_are_gone(
    tmp_path: Path, stated: str
) -> None:
    async with redis_server() as redis, members(redis.port, tmp_path) as group:
        group.bounds = msgspec.structs.replace(PATIENT, settings_again_seconds=POLL_SECONDS)
        one = await group.join()
        await one.served(registration("first"))
        await redis.says("SET", alike.KEY, stated)
        await until_degraded(one, degraded=True)
        assert (await one.ask(SUMMARY)).status == 503
        assert (await one.ask(registration("second"))).status == 503
        assert await redis.says("GET", alike.KEY) == stated, "it went on saying what it is set to"
        await redis.says("DEL", alike.KEY)
        await until_degraded(one, degraded=False)
        await one.served(registration("third"))
        assert await names_at(one) == ["first", "third"]


async def test_one_that_stood_still_looks_before_it_decides_anything(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It does not wait until it would say it again."""
    async with redis_server() as redis, members(redis.port, tmp_path) as group:
        group.bounds = msgspec.structs.replace(PATIENT, settings_again_seconds=NEVER_SECONDS)
        one = await group.join()
        await one.served(registration("first"))
        await redis.says("SET", alike.KEY, OTHERWISE)
        stand_still(one)
        assert (await one.ask(registration("second"))).status == 503
        with trio.fail_after(PATIENCE_SECONDS):
            while "have another PRICE_CPU_HOUR" not in caplog.text:  # noqa: ASYNC110 - a log gives no event
                await trio.sleep(POLL_SECONDS)
        await redis.says("DEL", alike.KEY)
        await one.served(registration("third"))
        assert await names_at(one) == ["first", "third"]
        assert "PRICE_CPU_HOUR" in await redis.says("GET", alike.KEY), "the next one is held to nothing"


async def test_what_no_money_depends_on_may_differ(tmp_path: Path) -> None:
    """So it can be changed while others serve: one instance after the other is started anew."""
    async with redis_server() as redis, members(redis.port, tmp_path) as group:
        one = await group.join()
        await one.served(registration("first"))
        other = await group.join(AGENT_REGISTRATION="closed", FORUM_POSTS_PER_HOUR="1")
        assert await names_at(other) == ["first"]
