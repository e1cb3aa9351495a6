"""Chromium through the whole login, with each provider: its own rules for cookies, redirects and forms apply."""

from __future__ import annotations

import html
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
import trio

from reference_server.core.identity.logins import person_id
from reference_server.wire.units import SECOND_NS
from tests.logins.real_server import of_github, of_process, running
from tests.support.chromium import Browser, chromium
from tests.support.github_double import github_double
from tests.support.little_http import Given, little_http
from tests.support.openid_provider import OpenIdProvider, signed
from tests.support.provider_process import ProviderProcess, provider_process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.logins.real_server import Running
    from tests.support.little_http import Asked

pytestmark = pytest.mark.long
SHOWN = "/api/v1/auth/me"


class FormPosting(OpenIdProvider):
    """A provider that sends its answer as a form that the browser posts from its page, as Apple does."""

    def __init__(self) -> None:
        super().__init__()
        self.clock: Callable[[], int] = lambda: 0

    async def answer(self, asked: Asked) -> Given:
        """Show the page of the provider, or answer as any does."""
        if asked.path != "/auth/authorize":
            return await super().answer(asked)
        assert asked.query["response_mode"] == "form_post"
        self.token = signed(self.claims(self.clock(), asked.query["nonce"], email_verified="true"))
        fields = {"state": asked.query["state"], "code": "c0de"}
        hidden = "".join(f"<input type=hidden name={name} value={value}>" for name, value in fields.items())
        action = html.escape(asked.query["redirect_uri"])
        page = f"<form method=post action='{action}'>{hidden}<button id=authorize>Continue</button></form>"
        return Given(200, page.encode(), (("content-type", "text/html"),))


@asynccontextmanager
async def form_posting() -> AsyncIterator[FormPosting]:
    provider = FormPosting()
    async with little_http(provider.answer) as origin:
        provider.origin = origin
        yield provider


def elsewhere(origin: str) -> str:
    """Return an origin as another site than the server's is: by another name of this machine."""
    return origin.replace("127.0.0.1", "localhost")


def log_in(browser: Browser, url: str, provider: str, agree: Callable[[Browser], None]) -> dict[str, Any]:
    """Log in, and return what the page shows that one comes to, what scripts see, and what logging out does."""
    with browser.tab(f"{url}/api/v1/auth/{provider}/login?{urlencode({'return_to': SHOWN})}", 1000):
        agree(browser)
        return {
            "address": browser.evaluate("location.href"),
            "me": json.loads(browser.evaluate("document.body.innerText")),
            "cookie": browser.evaluate("document.cookie"),
            "out": browser.evaluate("fetch('/api/v1/auth/logout', {method: 'POST'}).then(answer => answer.status)"),
            "after": browser.evaluate(f"fetch('{SHOWN}').then(answer => answer.status)"),
        }


def press_the_button(browser: Browser) -> None:
    browser.press_and_load("document.getElementById('authorize')")


def sign_in_as_ada(browser: Browser) -> None:
    browser.write("input[name=sub]", "ada")
    browser.press_and_load("document.querySelector('form button')")


async def check(server: Running, folder: Path, provider: str, agree: Callable[[Browser], None], owner_id: str) -> None:
    """Log in in a thread of its own: whom the browser asks is served here."""

    def drive() -> dict[str, Any]:
        with chromium(folder / "profile") as browser:
            return log_in(browser, server.url, provider, agree)

    seen = await trio.to_thread.run_sync(drive)
    assert seen["address"] == server.url + SHOWN
    assert seen["me"]["data"]["owner_id"] == owner_id
    assert (seen["cookie"], seen["out"], seen["after"]) == ("", 200, 401)


async def test_chromium_logs_in_with_an_openid_provider(tmp_path: Path) -> None:
    async with provider_process() as provider, running(of_process(provider, tmp_path)) as server:
        await check(server, tmp_path, "google", sign_in_as_ada, person_id("google", "ada"))


async def test_chromium_logs_in_with_a_provider_that_posts_a_form(tmp_path: Path) -> None:
    async with form_posting() as provider:
        settings = {
            "APPLE_ISSUER": provider.origin,
            "APPLE_AUTHORIZATION_URL": f"{elsewhere(provider.origin)}/auth/authorize",
            "APPLE_TOKEN_URL": f"{provider.origin}/token",
            "APPLE_JWKS_URL": f"{provider.origin}/keys",
        }
        nobody = ProviderProcess(provider.origin, provider.origin)
        async with running(of_process(nobody, tmp_path) | settings) as server:
            provider.clock = lambda: server.clock.now().wall_ns // SECOND_NS
            await check(server, tmp_path, "apple", press_the_button, person_id("apple", "s1"))


async def test_chromium_logs_in_with_github(tmp_path: Path) -> None:
    async with github_double() as double, running(of_github(double.origin, elsewhere(double.origin))) as server:
        await check(server, tmp_path, "github", press_the_button, person_id("github", "583231"))
