"""The server as its environment composes it, its providers on loopback, and a visitor that speaks HTTP to both."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import httpx
import trio
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from reference_server.adapters.clock import SystemClock
from reference_server.adapters.entropy import SystemEntropy
from reference_server.adapters.memory.clocks import LoopClock
from reference_server.app import make_api
from tests.http.serving import serving
from tests.support import github_double, openid_provider
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from reference_server.operations.api import Api
    from tests.support.provider_process import ProviderProcess

TOKEN = "owners-token-of-the-test"


def apple_key(folder: Path) -> str:
    """Write a key as Apple gives one."""
    path = folder / "apple.p8"
    path.touch(0o600)
    key = generate_private_key(SECP256R1())
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return str(path)


def of_process(provider: ProviderProcess, folder: Path) -> dict[str, str]:
    """Return the settings by which one provider stands for Google and for Apple."""
    settings = {
        "GOOGLE_CLIENT_ID": openid_provider.CLIENT_ID,
        "GOOGLE_CLIENT_SECRET": openid_provider.CLIENT_SECRET,
        "APPLE_CLIENT_ID": openid_provider.CLIENT_ID,
        "APPLE_TEAM_ID": "TEAM",
        "APPLE_KEY_ID": "KEY",
        "APPLE_PRIVATE_KEY_FILE": apple_key(folder),
    }
    for name in ("GOOGLE", "APPLE"):
        settings |= {
            f"{name}_ISSUER": provider.origin,
            f"{name}_AUTHORIZATION_URL": f"{provider.page}/oauth2/authorize",
            f"{name}_TOKEN_URL": f"{provider.origin}/oauth2/token",
            f"{name}_JWKS_URL": f"{provider.origin}/jwks",
        }
    return settings


def of_github(origin: str, page: str) -> dict[str, str]:
    """Return the settings by which a double stands for GitHub; `page` is where browsers find it."""
    return {
        "GITHUB_CLIENT_ID": github_double.CLIENT_ID,
        "GITHUB_CLIENT_SECRET": github_double.CLIENT_SECRET,
        "GITHUB_AUTHORIZATION_URL": f"{page}/login/oauth/authorize",
        "GITHUB_TOKEN_URL": f"{origin}/login/oauth/access_token",
        "GITHUB_API_URL": origin,
    }


class Running(NamedTuple):
    """A server that runs, and where browsers reach it."""

    api: Api
    url: str
    clock: LoopClock


@asynccontextmanager
async def running(settings: Mapping[str, str]) -> AsyncIterator[Running]:
    """Serve with these settings."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environ = {
        "HATCHFARM_API_TOKEN": TOKEN,
        "PORT": str(port),
        "PUBLIC_URL": url,
        "WORKER_STATUS_STATE_FILE": "",
        "RATE_LIMIT_BURST": "1000",
        **settings,
    }
    clock = LoopClock(SystemClock().now())
    api = make_api(environ, SystemEntropy(), clock)
    async with serving(api, clock, express_lane=True):
        yield Running(api, url, clock)


class Visitor:
    """A browser's part, by hand: it keeps the cookies of the server that it visits, and follows what it is told to."""

    def __init__(self, server: Running, client: httpx.AsyncClient) -> None:
        self._url = server.url
        self._client = client
        self.cookies: dict[str, str] = {}

    async def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Ask the server."""
        jar = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = {"cookie": jar, "origin": self._url} if jar else {}
        response = await self._client.request(method, f"{self._url}/api/v1{path}", headers=headers, **more)
        for cookie in response.headers.get_list("set-cookie"):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        self._client.cookies.clear()
        return response

    async def agree(self, provider: str, who: str) -> dict[str, str]:
        """Begin a login, say at the provider who one is, and return what it sends back."""
        begun = await self.ask("GET", f"/auth/{provider}/login")
        sent = await self._client.post(begun.headers["location"], data={"sub": who})
        assert sent.status_code == 302, sent.text
        return {name: value for name, (value,) in parse_qs(urlsplit(sent.headers["location"]).query).items()}

    async def come_back(self, provider: str, sent: Mapping[str, str]) -> tuple[int, str]:
        """Come back with what a provider sent; Apple sends a form."""
        path = f"/auth/{provider}/callback"
        answer = await (
            self.ask("POST", path, data=dict(sent)) if provider == "apple" else self.ask("GET", path, params=dict(sent))
        )
        return answer.status_code, answer.json().get("error", "")


@asynccontextmanager
async def visiting() -> AsyncIterator[httpx.AsyncClient]:
    """Have an HTTP client for visitors."""
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        yield client
        await trio.lowlevel.checkpoint()
