"""The adapter of GitHub against a server that follows GitHub's documents, over real HTTP."""

from __future__ import annotations

import base64
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio

from reference_server.adapters.identity.fetching import Fetcher
from reference_server.adapters.identity.github import GitHubProvider
from reference_server.identity_ports import UNAVAILABLE, Denied, Identify, Person
from reference_server.login_settings import LoginProvider
from tests.support.github_double import CLIENT_ID, CLIENT_SECRET, github_double
from tests.support.little_http import Given

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from reference_server.identity_ports import Unavailable
    from tests.support.github_double import GitHubDouble

BACK = "https://hatchfarm.test/api/v1/auth/github/callback"
VERIFIER = "v" * 64
CHALLENGE = base64.urlsafe_b64encode(sha256(VERIFIER.encode()).digest()).decode().rstrip("=")


class Pair:
    """A double of GitHub, and the adapter that asks it."""

    def __init__(self, double: GitHubDouble, fetcher: Fetcher) -> None:
        self.double = double
        self._fetcher = fetcher
        self.adapter = self.with_secret(CLIENT_SECRET)

    def with_secret(self, secret: str) -> GitHubProvider:
        origin = self.double.origin
        row = LoginProvider("github", CLIENT_ID, origin, f"{origin}/x", "user:email", openid=False, form_post=False)
        return GitHubProvider(self._fetcher, row, f"{origin}/login/oauth/access_token", f"{origin}/", secret)

    async def identify(self, **changed: str) -> Person | Denied | Unavailable:
        code = self.double.grant(BACK, CHALLENGE)
        return await self.adapter.identify(
            msgspec.structs.replace(Identify("github", code, VERIFIER, "", BACK), **changed)
        )


@asynccontextmanager
async def running() -> AsyncIterator[Pair]:
    fetcher = Fetcher()
    async with github_double() as double, trio.open_nursery() as nursery:
        await nursery.start(fetcher.run)
        yield Pair(double, fetcher)
        nursery.cancel_scope.cancel()


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with running() as one:
        yield one


async def test_the_user_is_its_number_and_its_primary_verified_address(pair: Pair) -> None:
    assert await pair.identify() == Person("583231", "ada@example.com")
    assert [asked.path for asked in pair.double.asked] == ["/login/oauth/access_token", "/user", "/user/emails"]


@pytest.mark.parametrize(
    "changed",
    [{"code": "made-up"}, {"verifier": "w" * 64}, {"verifier": ""}],
    ids=["code", "verifier", "no-verifier"],
)
async def test_a_code_that_is_not_of_this_login_is_refused(pair: Pair, changed: dict[str, str]) -> None:
    """Catalogue: oauth.no-pkce, .code-replay. GitHub refuses with status 200."""
    assert await pair.identify(**changed) == Denied("code_refused")
    assert len(pair.double.asked) == 1


async def test_a_code_is_used_once(pair: Pair) -> None:
    question = Identify("github", pair.double.grant(BACK, CHALLENGE), VERIFIER, "", BACK)
    assert await pair.adapter.identify(question) == Person("583231", "ada@example.com")
    assert await pair.adapter.identify(question) == Denied("code_refused")


@pytest.mark.parametrize(
    "addresses",
    [
        [],
        [{"email": "ada@example.com", "verified": False, "primary": True}],
        [{"email": "ada@example.com", "verified": True, "primary": False}],
        [
            {"email": "victim@example.com", "verified": False, "primary": True},
            {"email": "ada@example.com", "verified": True, "primary": False},
        ],
    ],
    ids=range(4),
)
async def test_who_has_no_primary_verified_address_is_nobody(pair: Pair, addresses: Any) -> None:
    """Catalogue: oauth.unverified-email."""
    pair.double.addresses = addresses
    assert await pair.identify() == Denied("unverified_email", "583231")


async def test_a_server_that_is_set_up_wrong_lets_nobody_in(pair: Pair) -> None:
    pair.adapter = pair.with_secret("wrong")
    assert await pair.identify() is UNAVAILABLE
    pair.adapter = pair.with_secret(CLIENT_SECRET)
    assert await pair.identify(redirect_uri="https://evil.example/") is UNAVAILABLE


TOKEN = "/login/oauth/access_token"


@pytest.mark.parametrize(
    ("path", "given", "outcome"),
    [
        (TOKEN, Given(500), UNAVAILABLE),
        (TOKEN, Given(200, b"access_token=a"), UNAVAILABLE),
        (TOKEN, Given(200, b'{"access_token":"a","token_type":"mac"}'), Denied("bad_token")),
        (TOKEN, Given(200, b'{"access_token":"a\\nb","token_type":"bearer"}'), Denied("bad_token")),
        (TOKEN, Given(200, b'{"access_token":"a","token_type":"bearer"}'), UNAVAILABLE),
        ("/user", Given(403, b"{}"), UNAVAILABLE),
        ("/user", Given(200, b'{"id":"583231"}'), UNAVAILABLE),
        ("/user", Given(200, b"[]"), UNAVAILABLE),
        ("/user/emails", Given(404), UNAVAILABLE),
        ("/user/emails", Given(200, b'[{"email":"a@b.c","primary":"yes","verified":true}]'), UNAVAILABLE),
    ],
    ids=range(10),
)
async def test_what_is_not_as_documented_lets_nobody_in(
    pair: Pair, path: str, given: Given, outcome: Denied | Unavailable
) -> None:
    pair.double.given[path] = given
    assert await pair.identify() == outcome
