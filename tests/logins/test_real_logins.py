"""Logins against a real OpenID provider that nobody here wrote, and attacks on them (catalogue: oauth.*)."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
import pytest

from reference_server.core.identity.logins import person_id
from tests.logins.real_server import Visitor, of_process, running, visiting
from tests.support.provider_process import provider_process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

    from reference_server.operations.api import Api
    from tests.logins.real_server import Running

pytestmark = pytest.mark.long
REFUSED = (401, "login refused")


class Place:
    """A server with a provider, and visitors to them."""

    def __init__(self, server: Running, client: httpx.AsyncClient) -> None:
        self._server, self._client = server, client

    @property
    def api(self) -> Api:
        return self._server.api

    def visitor(self) -> Visitor:
        return Visitor(self._server, self._client)

    @property
    def denied(self) -> list[str]:
        kept = self.api.state.unattributed.kept()
        return [msgspec.json.decode(event.metadata)["reason"] for event in kept if event.type == "login_denied"]


@asynccontextmanager
async def placed(folder: Path) -> AsyncIterator[Place]:
    async with (
        provider_process() as provider,
        running(of_process(provider, folder)) as server,
        visiting() as client,
    ):
        yield Place(server, client)


async def test_people_log_in_as_with_google_and_as_with_apple(tmp_path: Path) -> None:
    async with placed(tmp_path) as place:
        for provider in ("google", "apple"):
            visitor = place.visitor()
            assert await visitor.come_back(provider, await visitor.agree(provider, "ada")) == (302, "")
            me = (await visitor.ask("GET", "/auth/me")).json()["data"]
            assert (me["owner_id"], me["email"]) == (person_id(provider, "ada"), "ada@example.com")
            token = (await visitor.ask("POST", "/auth/token")).json()["data"]["token"]
            assert token.startswith("hfs_")
            assert (await visitor.ask("POST", "/auth/logout")).status_code == 200
            assert (await visitor.ask("GET", "/auth/me")).status_code == 401


async def test_attacks_on_a_login_are_refused(tmp_path: Path) -> None:
    """One provider for all of them: it takes a second of CPU to start."""
    async with placed(tmp_path) as place:
        await _attack(place)
    assert place.denied == [
        *("unverified_email", "code_refused", "wrong_nonce"),
        *("invalid_state", "replayed_state", "wrong_issuer", "code_refused"),
    ]


async def _attack(place: Place) -> None:
    visitor = place.visitor()
    assert await visitor.come_back("google", await visitor.agree("google", "mallory")) == REFUSED  # .unverified-email
    used = await visitor.agree("google", "ada")
    assert await visitor.come_back("google", used) == (302, "")
    again = await visitor.agree("google", "ada")
    assert await visitor.come_back("google", {**again, "code": used["code"]}) == REFUSED  # .code-replay
    victim, attacker = place.visitor(), place.visitor()
    stolen, own = await victim.agree("google", "ada"), await attacker.agree("google", "ben")
    assert await attacker.come_back("google", {**own, "code": stolen["code"]}) == REFUSED  # a code injected: .nonce
    assert await victim.come_back("google", own) == (400, "invalid login state")  # .state: a login forced on somebody
    assert await attacker.come_back("google", own) == (400, "invalid login state")  # used up by the first try
    mixed = await visitor.agree("google", "ada")
    assert await visitor.come_back("google", {**mixed, "iss": "https://evil.example"}) == REFUSED  # .mix-up
    made_up = await visitor.agree("google", "ada")
    assert await visitor.come_back("google", {**made_up, "code": "made-up"}) == REFUSED
