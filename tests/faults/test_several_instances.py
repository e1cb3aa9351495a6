"""Machines move between several instances, whoever asks goes on where one is away, and scrapes stay with the first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
import trio

from simulator.checkers.limits import check_limits
from simulator.checkers.verdict import Status
from simulator.client.connection import ControlConnection, LostError
from simulator.client.target import Target, machine_source, port_of
from simulator.contract.answers import Answer
from simulator.fleet.requests import owner_headers
from simulator.worlds.playing import MOVE_AFTER_ANSWERS
from tests.faults.stories import Tale
from tests.simulator.conftest import API_TOKEN, ScriptedServer, ShardUnderTest
from tests.support.ports import closed_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

ALONE = Target("http", "127.0.0.1", 1, "127.0.0.1", API_TOKEN, own_addresses=True)
THREE = msgspec.structs.replace(ALONE, others=(2, 3))


@pytest.fixture
async def two() -> AsyncIterator[tuple[ScriptedServer, ScriptedServer]]:
    """Two servers in the test's own loop, which accept what they get."""
    first, second = ScriptedServer(), ScriptedServer()
    async with trio.open_nursery() as nursery:
        await nursery.start(first.serve)
        await nursery.start(second.serve)
        yield first, second
        nursery.cancel_scope.cancel()


@pytest.fixture(name="closed_port")
def _closed_port() -> Iterator[int]:
    with closed_port() as port:
        yield port


def both(first: ScriptedServer, second: ScriptedServer) -> Target:
    """Return two servers as instances of one target."""
    return msgspec.structs.replace(first.target, others=(second.port,))


def test_turns_go_round_all_instances_and_one_alone_has_every_turn() -> None:
    assert [port_of(THREE, turn) for turn in range(5)] == [1, 2, 3, 1, 2]
    assert [port_of(ALONE, turn) for turn in range(3)] == [1, 1, 1]
    assert port_of(THREE, -1) == 3, "where all share one address it has the number -1"


async def test_a_machine_asks_another_instance_every_few_heartbeats(two: tuple[ScriptedServer, ScriptedServer]) -> None:
    shard = ShardUnderTest(both(*two))
    async with shard.running(patience_seconds=5):
        machine = shard.machine()
        shard.shard.resume(machine)
        await shard.history.until(4 * MOVE_AFTER_ANSWERS)
    moved = [len(server.arrivals) for server in two]
    assert min(moved) >= MOVE_AFTER_ANSWERS
    assert abs(moved[0] - moved[1]) <= 2 * MOVE_AFTER_ANSWERS
    assert (shard.history.rows()["got"] == Answer.ACCEPTED).all(), "moving on loses no heartbeat"


async def test_a_machine_alone_with_one_server_keeps_its_connection(two: tuple[ScriptedServer, ScriptedServer]) -> None:
    first, _ = two
    shard = ShardUnderTest(first.target)
    async with shard.running(patience_seconds=5):
        shard.shard.resume(shard.machine())
        await shard.history.until(2 * MOVE_AFTER_ANSWERS)
    assert first.connections == 1


async def test_owners_ask_each_their_own_instance(two: tuple[ScriptedServer, ScriptedServer]) -> None:
    target = both(*two)
    for number in range(4):
        async with ControlConnection(target, machine_source(target, number)) as connection:
            for _ in range(2):
                await connection.request("GET", "/workers/summary", owner_headers(API_TOKEN, "ada"))
    assert [len(server.arrivals) for server in two] == [4, 4]


async def test_who_finds_one_instance_away_asks_another_next_time(
    two: tuple[ScriptedServer, ScriptedServer], closed_port: int
) -> None:
    first, _ = two
    target = msgspec.structs.replace(first.target, others=(closed_port,))
    answered = []
    async with ControlConnection(target, None) as connection:
        for _ in range(2):
            try:
                answered.append((await connection.request("GET", "/health", {}, rooted=True)).status)
            except LostError:
                answered.append(0)
    assert answered == [0, 200]


def test_a_client_may_get_through_what_the_buckets_of_all_instances_hold() -> None:
    for instances, requests, status in (
        (1, 5, Status.PASS),
        (1, 6, Status.FAIL),
        (3, 15, Status.PASS),
        (3, 16, Status.FAIL),
    ):
        tale = Tale(rate_limit_burst=5, rate_limit_refill_per_second=0.1, instances=instances)
        for number in range(requests):
            tale.heartbeat(0, 1 + number / 1000, source=7, took=0.001)
        assert check_limits(tale.history, tale.facts).status is status


def test_a_refusal_by_one_of_several_instances_accuses_none() -> None:
    for instances, status in ((1, Status.FAIL), (3, Status.PASS)):
        tale = Tale(rate_limit_burst=5, rate_limit_refill_per_second=0.1, instances=instances, only_client=True)
        tale.heartbeat(0, 1, source=7)
        tale.heartbeat(0, 1.1, Answer.RATE_LIMITED, source=7, status=429)
        assert check_limits(tale.history, tale.facts).status is status
