"""A browser's part of a login, by hand: it keeps cookies, follows nothing by itself, and may be asked to misbehave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec

from reference_server.adapters.memory.clocks import LoopClock
from reference_server.adapters.memory.entropy import SeededEntropy
from reference_server.adapters.memory.identity import MemoryProvider
from reference_server.core.tables import TABLES
from reference_server.identity_ports import Person
from reference_server.operations.api import Api
from reference_server.operations.routing import ROUTES
from reference_server.pipeline.resolving import Resolver
from reference_server.settings import Settings
from reference_server.wire.signing import CertificateSigner
from reference_server.wire.values import Headers, Reply, Request
from tests.core.declared import assert_declared
from tests.core.server_under_test import Answer, as_answer
from tests.http.twins import API_TOKEN, START

if TYPE_CHECKING:
    from collections.abc import Callable

PUBLIC_URL = "https://hatchfarm.test"
PROVIDERS: dict[str, Any] = {
    "public_url": PUBLIC_URL,
    "google_client_id": "google-client",
    "google_client_secret": "google-secret",
    "apple_client_id": "apple-client",
    "apple_team_id": "team",
    "apple_key_id": "key",
    "apple_private_key_file": "key.pem",
    "github_client_id": "github-client",
    "github_client_secret": "github-secret",
}
SAME_ORIGIN: Headers = (("origin", PUBLIC_URL),)
FORM = ("content-type", "application/x-www-form-urlencoded")


class Site:
    """One instance that people log in to, with twins of the providers."""

    def __init__(self, prepare: Callable[[Api], None] | None = None, **settings: Any) -> None:
        self.clock = LoopClock()
        given = {"api_token": API_TOKEN, "rate_limit_burst": 1_000_000, **PROVIDERS, **settings}
        signer = CertificateSigner.from_seed(bytes(range(32)))
        self.api = Api(Settings(**given), SeededEntropy("site"), signer, START, TABLES, ROUTES)
        self.providers = {name: MemoryProvider() for name in ("google", "apple", "github")}
        self.api.providers = self.providers
        if prepare is not None:
            prepare(self.api)
        self.resolver = Resolver(self.api, self.clock)

    async def ask(
        self,
        method: str,
        path: str,
        headers: Headers = (),
        *,
        query: str = "",
        body: bytes = b"",
        prefix: str = "/api/v1",
    ) -> Answer:
        """Ask; whatever is answered must be what the operation's row declares."""
        request = Request(method, f"{prefix}{path}", query, headers, body)
        reply: Reply = await self.resolver.resolved(self.api.handle(request, self.clock.now()))
        assert_declared(ROUTES, request, reply)
        return as_answer(reply)

    def metrics(self) -> str:
        request = Request("GET", "/metrics", headers=(("authorization", f"Bearer {API_TOKEN}"),))
        return self.api.handle(request, self.clock.now()).body.decode()

    async def audit(self, owner_id: str) -> list[dict[str, Any]]:
        headers = (("authorization", f"Bearer {API_TOKEN}"), ("x-owner-id", owner_id))
        events: list[dict[str, Any]] = (await self.ask("GET", "/audit/events", headers)).data["events"]
        return events

    @property
    def denied(self) -> list[str]:
        """Why logins of nobody known were denied, in order."""
        return [
            msgspec.json.decode(event.metadata)["reason"]
            for event in self.api.state.unattributed.kept()
            if event.type == "login_denied"
        ]


class Browser:
    """Somebody's browser at a site."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.cookies: dict[str, str] = {}

    async def ask(
        self,
        method: str,
        path: str,
        more: Headers = (),
        *,
        query: str = "",
        body: bytes = b"",
        prefix: str = "/api/v1",
    ) -> Answer:
        """Ask with all cookies that it has, and keep those that it is given."""
        jar = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = ((("cookie", jar),) if jar else ()) + more
        answer = await self.site.ask(method, path, headers, query=query, body=body, prefix=prefix)
        for cookie in answer.cookies:
            pair, *attributes = cookie.split("; ")
            name, _, value = pair.partition("=")
            if "Max-Age=0" in attributes:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        return answer

    async def begin(self, provider: str = "google", return_to: str = "") -> dict[str, str]:
        """Begin a login, and return what the provider is asked."""
        query = urlencode({"return_to": return_to}) if return_to else ""
        answer = await self.ask("GET", f"/auth/{provider}/login", query=query)
        assert answer.status == 302, answer
        fields = parse_qs(urlsplit(answer.headers["location"]).query, strict_parsing=True)
        return {name: value for name, (value,) in fields.items()}

    async def come_back(self, provider: str, **fields: str) -> Answer:
        """Come back with what the provider sends, as it sends it."""
        path, sent = f"/auth/{provider}/callback", urlencode(fields)
        if provider == "apple":
            return await self.ask("POST", path, (FORM,), body=sent.encode())
        return await self.ask("GET", path, query=sent)

    async def log_in(self, provider: str = "google", subject: str = "s1", email: str = "ada@example.com") -> str:
        """Log in, and return the owner id."""
        login = await self.begin(provider)
        self.site.providers[provider].people["code"] = Person(subject, email)
        answer = await self.come_back(provider, state=login["state"], code="code")
        assert answer.status == 302, answer
        return str((await self.ask("GET", "/auth/me")).data["owner_id"])
