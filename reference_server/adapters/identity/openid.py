"""Providers that speak OpenID Connect, as Google and Apple do: a code is redeemed for an ID token."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec
from joserfc import jwt

from reference_server.adapters.identity.id_tokens import BAD_TOKEN, Expected, read_id_token
from reference_server.adapters.identity.key_sets import KeySet
from reference_server.identity_ports import UNAVAILABLE, Denied
from reference_server.limits import APPLE_SECRET_LIFE_SECONDS
from reference_server.wire.units import SECOND_NS

if TYPE_CHECKING:
    from collections.abc import Callable

    from joserfc.jwk import ECKey

    from reference_server.adapters.identity.fetching import Fetched, Fetcher
    from reference_server.identity_ports import Identify, Person, Unavailable
    from reference_server.login_settings import LoginProvider
    from reference_server.ports import Clock
    from reference_server.wire.values import Instant

CODE_REFUSED = Denied("code_refused")
_OUR_FAULT = frozenset(
    {"invalid_client", "unauthorized_client", "incorrect_client_credentials", "redirect_uri_mismatch"}
)
_log = logging.getLogger("hatchfarm")


class _Tokens(msgspec.Struct, frozen=True):
    id_token: str = ""


class _Refusal(msgspec.Struct, frozen=True):
    error: str = ""


class OpenIdProvider:
    """`identity_ports.IdentityProvider` of one that gives ID tokens. `secret` proves this server to it, at a moment."""

    def __init__(
        self,
        fetcher: Fetcher,
        clock: Clock,
        provider: LoginProvider,
        exchange_url: str,
        jwks_url: str,
        secret: Callable[[Instant], str],
    ) -> None:
        self._fetcher = fetcher
        self._clock = clock
        self._provider = provider
        self._exchange_url = exchange_url
        self._keys = KeySet(fetcher, clock, jwks_url)
        self._secret = secret

    async def identify(self, question: Identify) -> Person | Denied | Unavailable:
        """Redeem the code, and read the ID token that it gives."""
        form = code_form(question, self._provider.client_id, self._secret(self._clock.now()))
        fetched = await self._fetcher.fetch("POST", self._exchange_url, form=form)
        if fetched is None or fetched.status != HTTPStatus.OK:
            return refusal_of(self._provider.name, fetched)
        tokens = fetched.read(_Tokens)
        if tokens is None or not tokens.id_token:
            return BAD_TOKEN
        expected = Expected(self._provider.issuer, self._provider.client_id, question.nonce, self._clock.now().wall_ns)
        return await read_id_token(tokens.id_token, self._keys, expected)


def code_form(question: Identify, client_id: str, secret: str) -> dict[str, str]:
    """Return the form that redeems a code (RFC 6749, 4.1.3; RFC 7636, 4.5)."""
    return {
        "grant_type": "authorization_code",
        "code": question.code,
        "redirect_uri": question.redirect_uri,
        "client_id": client_id,
        "client_secret": secret,
        "code_verifier": question.verifier,
    }


def refusal_of(provider: str, fetched: Fetched | None) -> Denied | Unavailable:
    """Return what it means that a code was not redeemed. Where this server is set up wrong, nobody can log in."""
    if fetched is None or fetched.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return UNAVAILABLE
    refusal = fetched.read(_Refusal)
    if refusal is not None and refusal.error in _OUR_FAULT:
        _log.error("Nobody can log in with %s, for it refuses this server: %s", provider, refusal.error)
        return UNAVAILABLE
    if fetched.status == HTTPStatus.TOO_MANY_REQUESTS or refusal is None:
        return UNAVAILABLE
    return CODE_REFUSED


def apple_secret(provider: LoginProvider, team_id: str, key_id: str, key: ECKey) -> Callable[[Instant], str]:
    """Return what makes the secret that proves this server to Apple: a token signed by its key, for some minutes."""

    def make(now: Instant) -> str:
        seconds = now.wall_ns // SECOND_NS
        claims = {
            "iss": team_id,
            "iat": seconds,
            "exp": seconds + APPLE_SECRET_LIFE_SECONDS,
            "aud": provider.issuer,
            "sub": provider.client_id,
        }
        return jwt.encode({"alg": "ES256", "kid": key_id}, claims, key, algorithms=["ES256"])

    return make
