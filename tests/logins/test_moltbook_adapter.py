"""The adapter of Moltbook against answers as it documents them, and others, over real HTTP."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from reference_server.adapters.identity.fetching import Fetcher
from reference_server.adapters.identity.moltbook import Moltbook
from reference_server.adapters.memory.clocks import SetClock
from reference_server.identity_ports import NO_AGENT, UNAVAILABLE, AgentIdentity
from reference_server.limits import MOLTBOOK_KEPT_MAX
from tests.support.little_http import Given, little_http

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from reference_server.identity_ports import NoAgent, Unavailable
    from tests.support.little_http import Asked

AGENT = {"id": "m1", "name": "ada", "karma": 7, "is_claimed": True, "owner": {"x_handle": "x"}, "stats": {"posts": 1}}
ADA = AgentIdentity("m1", "ada", 7, True)  # noqa: FBT003 - a record's field


def answering(status: int = 200, **fields: Any) -> Given:
    return Given(status, json.dumps(fields).encode())


class Pair:
    """A Moltbook that answers as it is set to, and the adapter that asks it."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self.clock = SetClock()
        self.asked: list[Asked] = []
        self.given = answering(success=True, valid=True, agent=AGENT)

    async def answer(self, asked: Asked) -> Given:
        self.asked.append(asked)
        return self.given

    def at(self, origin: str, kept_max: int = MOLTBOOK_KEPT_MAX) -> None:
        self.adapter = Moltbook(self._fetcher, self.clock, f"{origin}/", "moltdev_key", kept_max)


@asynccontextmanager
async def running(kept_max: int = MOLTBOOK_KEPT_MAX) -> AsyncIterator[Pair]:
    fetcher = Fetcher()
    pair = Pair(fetcher)
    async with little_http(pair.answer) as origin, trio.open_nursery() as nursery:
        pair.at(origin, kept_max)
        await nursery.start(fetcher.run)
        yield pair
        nursery.cancel_scope.cancel()


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with running() as one:
        yield one


async def test_a_token_is_verified_as_moltbook_documents_it(pair: Pair) -> None:
    assert await pair.adapter.verify("t0ken") == ADA
    (asked,) = pair.asked
    assert (asked.method, asked.path) == ("POST", "/api/v1/agents/verify-identity")
    assert json.loads(asked.body) == {"token": "t0ken"}
    assert asked.headers["x-moltbook-app-key"] == "moltdev_key"


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        (answering(success=True, valid=False), NO_AGENT),
        (answering(401, success=False, valid=False, error="identity_token_expired"), NO_AGENT),
        (answering(400, success=False, error="invalid_token"), NO_AGENT),
        (answering(404, success=False, error="agent_not_found"), NO_AGENT),
        (answering(success=False, valid=True, agent=AGENT), NO_AGENT),
        (answering(success=True, valid=True), NO_AGENT),
        (answering(201, success=True, valid=True, agent=AGENT), NO_AGENT),
        (answering(success=True, valid=True, agent={**AGENT, "id": ""}), NO_AGENT),
        (answering(success=True, valid=True, agent={**AGENT, "id": "a\0b"}), NO_AGENT),
        (answering(success=True, valid=True, agent={**AGENT, "name": "\u202e"}), NO_AGENT),
        (answering(success=True, valid=True, agent={**AGENT, "karma": 1 << 70}), NO_AGENT),
        (answering(success=True, valid=True, agent={**AGENT, "id": "x" * 256}), NO_AGENT),
        (answering(401, success=False, error="invalid_app_key"), UNAVAILABLE),
        (answering(401, success=False, error="missing_app_key"), UNAVAILABLE),
        (answering(429, success=False, error="slow"), UNAVAILABLE),
        (answering(500, success=True, valid=True, agent=AGENT), UNAVAILABLE),
        (answering(success="yes", valid=True, agent=AGENT), UNAVAILABLE),
        (answering(success=True, valid=True, agent={**AGENT, "karma": "7"}), UNAVAILABLE),
        (Given(200, b"<html>"), UNAVAILABLE),
        (Given(raw=b"x"), UNAVAILABLE),
    ],
    ids=range(20),
)
async def test_anything_else_vouches_for_nobody_and_is_not_remembered(
    pair: Pair, given: Given, outcome: NoAgent | Unavailable
) -> None:
    """Catalogue: moltbook.invalid, .down."""
    right, pair.given = pair.given, given
    for _ in range(2):
        assert await pair.adapter.verify("t0ken") == outcome
    pair.given = right
    assert await pair.adapter.verify("t0ken") == ADA
    assert len(pair.asked) == 3


@pytest.mark.parametrize("token", ["", "x" * 4097, "a\nb", "\u00e9"])
async def test_what_is_no_token_is_not_asked_about(pair: Pair, token: str) -> None:
    assert await pair.adapter.verify(token) is NO_AGENT
    assert not pair.asked


async def test_what_was_said_is_believed_for_minutes_and_no_longer(pair: Pair) -> None:
    assert await pair.adapter.verify("t0ken") == ADA
    pair.given = answering(success=True, valid=False)
    pair.clock.advance(299)
    assert await pair.adapter.verify("t0ken") == ADA
    assert await pair.adapter.verify("t0ken2") is NO_AGENT
    pair.clock.advance(1)
    assert await pair.adapter.verify("t0ken") is NO_AGENT
    assert await pair.adapter.verify("t0ken") is NO_AGENT
    assert len(pair.asked) == 4


async def test_one_token_is_asked_about_once_however_many_show_it_at_once(pair: Pair) -> None:
    """Whether it is one or none; who gives up, as the first here does, leaves asking to the next."""
    coming, going, outcomes = trio.Event(), trio.Event(), []
    answer = pair.answer

    async def slow(asked: Asked) -> Given:
        coming.set()
        await going.wait()
        return await answer(asked)

    async def show(scope: trio.CancelScope, token: str) -> None:
        with scope:
            outcomes.append((token, await pair.adapter.verify(token)))

    async with little_http(slow) as origin, trio.open_nursery() as nursery:
        pair.at(origin)
        pair.given = answering(success=True, valid=False)
        first = trio.CancelScope()
        nursery.start_soon(show, first, "none")
        await coming.wait()
        for _ in range(5):
            nursery.start_soon(show, trio.CancelScope(), "none")
        await trio.testing.wait_all_tasks_blocked()
        first.cancel()
        await trio.testing.wait_all_tasks_blocked()
        going.set()
    assert outcomes == [("none", NO_AGENT)] * 5
    assert len(pair.asked) <= 2  # that of who gave up may have come as well
    assert pair.adapter._asking == {}


async def test_so_many_tokens_are_remembered() -> None:
    async with running(kept_max=2) as pair:
        for token in ("a", "b", "c", "b", "a"):
            assert await pair.adapter.verify(token) == ADA
    assert [json.loads(asked.body)["token"] for asked in pair.asked] == ["a", "b", "c", "a"]
    assert len(pair.adapter._kept) == 2
