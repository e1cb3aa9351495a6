"""An API in process whose provider an attack plays: the server's own adapters, and no socket between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import msgspec
import trio

from reference_server.adapters.identity.fetching import Fetched, Fetcher
from reference_server.adapters.identity.github import GitHubProvider
from reference_server.adapters.identity.moltbook import Moltbook
from reference_server.adapters.identity.openid import OpenIdProvider
from reference_server.login_settings import login_providers
from reference_server.operations.outcomes import Deferred
from reference_server.pipeline.resolving import Resolver
from simulator.attacks.logins.forging import PUBLIC_URL
from simulator.deployment.identity_provider import IdentityProvider
from tests.attacks.playing import World, script_attack, served

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from reference_server.operations.api import Api
    from reference_server.wire.values import Instant, Reply, Request
    from tests.attacks.playing import Performance

PROVIDER = IdentityProvider("http://127.0.0.1:9")
"""Where nobody is: what is asked of it never leaves this process. Its keys take a while to make."""
FIELDS = {"GOOGLE_TOKEN_URL": "google_exchange_url", "GITHUB_TOKEN_URL": "github_exchange_url"}


class DirectFetcher(Fetcher):
    """Asks the provider by a call."""

    async def fetch(
        self,
        method: str,
        url: str,
        *,
        form: Mapping[str, str] | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Fetched | None:
        """Return what it answers; None where it closes the connection."""
        del method
        body = urlencode(form).encode() if form else msgspec.json.encode(json) if json else b""
        answer = PROVIDER.answer(urlsplit(url).path, dict(headers or {}), body)
        return Fetched(answer.status, answer.body) if answer.status else None


class _Clock:
    def __init__(self, world: World) -> None:
        self._world = world

    def now(self) -> Instant:
        return self._world.instant


class LoginWorld(World):
    """A world in which people log in, and agents show identities."""

    def __init__(self, *, answer: Callable[[Api, Request, Instant], Reply | None] | None = None, seed: int = 7) -> None:
        fields = {FIELDS.get(name, name.lower()): value for name, value in PROVIDER.settings.items()}
        settings = {**fields, "public_url": PUBLIC_URL, "agent_registration": "moltbook"}
        super().__init__(settings, answer=self._answered, seed=seed)
        self._first = answer
        clock, fetcher = _Clock(self), DirectFetcher()
        provider = login_providers(self.settings)
        google, github = provider["google"], provider["github"]
        self.api.providers = {
            "google": OpenIdProvider(
                fetcher, clock, google, self.settings.google_exchange_url, self.settings.google_jwks_url, lambda _: "s"
            ),
            "github": GitHubProvider(
                fetcher, github, self.settings.github_exchange_url, self.settings.github_api_url, "s"
            ),
        }
        self.api.moltbook = Moltbook(fetcher, clock, self.settings.moltbook_base_url, "key")
        self._clock = clock

    def play(self, name: str, **numbers: Any) -> Performance:
        """Play a script once, on a server with the settings that it needs."""
        attack = script_attack(name)
        needed = {
            "agent_registration": attack.needs_settings["AGENT_REGISTRATION"],
            "session_ttl_seconds": int(attack.needs_settings.get("SESSION_TTL_SECONDS", "43200")),
        }
        self.api.state.settings = msgspec.structs.replace(self.settings, **needed)
        return super().play(name, **numbers)

    def _answered(self, api: Api, request: Request, now: Instant) -> Reply | None:
        """Answer as a test wants it, or else as the server does."""
        if self._first is not None:
            reply = self._first(api, request, now)
            if reply is not None:
                return reply
        return self.resolved(api, request, now)

    def resolved(self, api: Api, request: Request, now: Instant) -> Reply:
        """Answer as the server does once it has asked its provider."""
        reply = served(api, request, now)
        return trio.run(self._resolve, reply) if isinstance(reply, Deferred) else reply

    async def _resolve(self, reply: Reply) -> Reply:
        resolver = Resolver(self.api, self._clock)
        async with trio.open_nursery() as nursery:
            await nursery.start(resolver.run)
            answer = await resolver.resolved(reply)
            nursery.cancel_scope.cancel()
        return answer
