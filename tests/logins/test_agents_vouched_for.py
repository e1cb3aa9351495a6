"""Agents whom Moltbook vouches for: they register once with an identity, and call by it without a key (Agents)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from reference_server.adapters.memory.identity import MemoryMoltbook
from reference_server.identity_ports import AgentIdentity
from reference_server.limits import INQUIRIES_MAX
from tests.http.twins import OWNER
from tests.logins.browsing import Browser, Site
from tests.logins.conftest import served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from reference_server.wire.values import Headers
    from tests.core.server_under_test import Answer

ADA = AgentIdentity("mb_1", "Ada", 7, is_claimed=True)
BEA = AgentIdentity("mb_2", "Bea", 0, is_claimed=False)
VOUCHED = {"id": "mb_1", "name": "Ada", "karma": 7, "is_claimed": True}
UNAUTHORIZED, UNAVAILABLE = (401, "unauthorized"), (503, "moltbook unavailable")


class Vouched:
    """A site, and a Moltbook that knows Ada and Bea by their tokens."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.moltbook = site.api.moltbook = MemoryMoltbook()
        self.moltbook.agents = {"ada": ADA, "bea": BEA}

    async def register(self, name: str, token: str) -> Answer:
        body = json.dumps({"name": name}).encode()
        return await self.site.ask("POST", "/agents/register", shows(token), body=body)

    async def me(self, headers: Headers) -> Answer:
        return await self.site.ask("GET", "/agents/me", headers)


def shows(token: str) -> Headers:
    return (("x-moltbook-identity", token),)


@pytest.fixture
async def world(request: pytest.FixtureRequest) -> AsyncIterator[Vouched]:
    site = Site(agent_registration=getattr(request, "param", "open"))
    async with served(site):
        yield Vouched(site)


@pytest.mark.parametrize("world", ["open", "moltbook"], indirect=True)
async def test_an_identity_registers_once_and_calls_as_its_agent(world: Vouched) -> None:
    made = (await world.register("Ada's", "ada")).data
    assert made["agent"]["moltbook"] == VOUCHED
    assert (await world.me(shows("ada"))).data == {"agent": made["agent"]}
    assert (await world.site.ask("GET", "/wallet/balance", shows("ada"))).status == 200
    assert (await world.me((("authorization", f"Bearer {made['api_key']}"),))).data == {"agent": made["agent"]}
    assert (await world.register("Another", "ada")).error == (409, "moltbook identity taken")
    assert (await world.register("ADA'S", "bea")).error == (409, "name taken")


async def test_whom_moltbook_does_not_know_is_nobody(world: Vouched) -> None:
    assert (await world.register("Eve's", "eve")).error == (401, "invalid moltbook identity")
    assert (await world.me(shows("eve"))).error == UNAUTHORIZED
    assert (await world.me(shows("bea"))).error == UNAUTHORIZED  # known there, and not registered here
    assert 'hatchfarm_auth_failures_total{principal="agent"} 2' in world.site.metrics()


async def test_nobody_is_taken_at_their_word_while_moltbook_is_not_reached(world: Vouched) -> None:
    made = (await world.register("Ada's", "ada")).data
    world.moltbook.down = True
    assert (await world.register("Bea's", "bea")).error == UNAVAILABLE
    assert (await world.me(shows("ada"))).error == UNAVAILABLE
    assert (await world.me((("authorization", f"Bearer {made['api_key']}"),))).status == 200
    world.moltbook.down = False
    assert (await world.me(shows("ada"))).status == 200


@pytest.mark.parametrize("world", ["closed"], indirect=True)
async def test_where_registration_is_closed_nobody_is_asked(world: Vouched) -> None:
    world.moltbook.down = True
    assert (await world.register("", "ada")).error == (400, "invalid request")
    assert (await world.register("Ada's", "ada")).error == (403, "agent registration is closed")


async def test_what_else_is_shown_goes_before_an_identity(world: Vouched) -> None:
    await world.register("Ada's", "ada")
    wrong = (("authorization", f"Bearer hfk_{'0' * 64}"),)
    assert (await world.me((*wrong, *shows("ada")))).error == UNAUTHORIZED
    assert (await world.me((*OWNER, *shows("ada")))).error == (403, "forbidden")
    assert (await world.site.ask("GET", "/workers/summary", shows("ada"))).error == UNAUTHORIZED
    assert (await world.me((*shows("ada"), *shows("bea")))).error == (400, "invalid request")


async def test_a_key_is_no_session_and_no_failed_one(world: Vouched) -> None:
    made = (await world.register("Ada's", "ada")).data
    key = (("authorization", f"Bearer {made['api_key']}"),)
    assert (await world.site.ask("GET", "/auth/me", key)).error == (403, "forbidden")
    assert 'hatchfarm_auth_failures_total{principal="agent"} 0' in world.site.metrics()


async def test_junk_for_moltbook_takes_no_room_of_logins(world: Vouched) -> None:
    """Each who is asked outside has room of its own: one that answers slowly shuts nobody else out."""
    answering = trio.Event()
    world.site.api.moltbook = MemoryMoltbook(answering.wait)
    browser = Browser(world.site)
    async with trio.open_nursery() as nursery:
        for number in range(INQUIRIES_MAX + 1):
            nursery.start_soon(world.me, shows(f"junk {number}"))
        await trio.testing.wait_all_tasks_blocked()
        assert await browser.log_in()
        answering.set()


async def test_who_was_replaced_at_moltbook_is_known_here_by_the_identity_alone(world: Vouched) -> None:
    await world.register("Ada's", "ada")
    world.moltbook.agents = {"new": AgentIdentity(ADA.id, "Renamed", 9, is_claimed=True)}
    assert (await world.me(shows("new"))).data["agent"]["moltbook"] == VOUCHED
    assert (await world.me(shows("ada"))).error == UNAUTHORIZED
