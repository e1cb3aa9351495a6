"""GitHub, which has no ID tokens: a code is redeemed for an access token, and the user is fetched with that."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

import msgspec

from reference_server.adapters.identity.id_tokens import BAD_TOKEN, person_of
from reference_server.adapters.identity.openid import code_form, refusal_of
from reference_server.identity_ports import UNAVAILABLE, Denied

if TYPE_CHECKING:
    from reference_server.adapters.identity.fetching import Fetcher
    from reference_server.identity_ports import Identify, Person, Unavailable
    from reference_server.login_settings import LoginProvider

_VERSION = {"accept": "application/vnd.github+json", "x-github-api-version": "2022-11-28"}
Kind = TypeVar("Kind")


class _Token(msgspec.Struct, frozen=True):
    access_token: str = ""
    token_type: str = ""


class _User(msgspec.Struct, frozen=True):
    id: int


class _Address(msgspec.Struct, frozen=True):
    email: str
    primary: bool
    verified: bool


_ADDRESSES = "/user/emails?per_page=100"
"""All of them: a person has no more, and the primary one may stand anywhere."""


class GitHubProvider:
    """`identity_ports.IdentityProvider` of GitHub. Who somebody is is the number of the user: names are given anew."""

    def __init__(self, fetcher: Fetcher, provider: LoginProvider, exchange_url: str, api_url: str, secret: str) -> None:
        self._fetcher = fetcher
        self._provider = provider
        self._exchange_url = exchange_url
        self._api_url = api_url.rstrip("/")
        self._secret = secret

    async def identify(self, question: Identify) -> Person | Denied | Unavailable:
        """Redeem the code, and fetch the user and its primary address."""
        form = code_form(question, self._provider.client_id, self._secret)
        fetched = await self._fetcher.fetch("POST", self._exchange_url, form=form)
        token = None if fetched is None or fetched.status != HTTPStatus.OK else fetched.read(_Token)
        if token is None or not token.access_token:
            return refusal_of(self._provider.name, fetched)  # GitHub refuses with status 200
        if token.token_type.lower() != "bearer" or not (
            token.access_token.isascii() and token.access_token.isprintable()
        ):
            return BAD_TOKEN
        user = await self._get("/user", token.access_token, _User)
        addresses = None if user is None else await self._get(_ADDRESSES, token.access_token, list[_Address])
        if user is None or addresses is None:
            return UNAVAILABLE
        primary = next((one for one in addresses if one.primary), None)
        return person_of(
            str(user.id), "" if primary is None else primary.email, primary is not None and primary.verified
        )

    async def _get(self, path: str, token: str, kind: type[Kind]) -> Kind | None:
        headers = {**_VERSION, "authorization": f"Bearer {token}"}
        fetched = await self._fetcher.fetch("GET", self._api_url + path, headers=headers)
        return None if fetched is None or fetched.status != HTTPStatus.OK else fetched.read(kind)
