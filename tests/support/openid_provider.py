"""An OpenID provider whose every token a test makes: right, or wrong in one way. Its keys and its HTTP are real."""

from __future__ import annotations

import base64
import hmac
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from joserfc import jws, jwt
from joserfc.jwk import ECKey, RSAKey

from tests.support.little_http import Given, little_http

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.support.little_http import Asked

CLIENT_ID = "this-client"
CLIENT_SECRET = "this-secret"
KEY = RSAKey.generate_key(2048, {"kid": "k1", "use": "sig", "alg": "RS256"})
KEY_FOR_ANYTHING = RSAKey.import_key(
    {name: value for name, value in KEY.as_dict(private=True).items() if name not in {"alg", "use"}}
)
OTHER_KEY = RSAKey.generate_key(2048, {"kid": "k1"})
NEXT_KEY = ECKey.generate_key("P-256", {"kid": "k2", "use": "sig", "alg": "ES256"})


class OpenIdProvider:
    """One that answers as it is set to. `asked` has all requests, in order."""

    def __init__(self) -> None:
        self.origin = ""
        self.asked: list[Asked] = []
        self.keys: list[dict[str, Any]] = [KEY.as_dict(private=False)]
        self.token: Callable[[], str] | str = ""
        self.given: dict[str, Given] = {}
        """By path, what is answered in the place of what is right."""

    def claims(self, now_seconds: int, nonce: str, /, **changed: Any) -> dict[str, Any]:
        """Return right claims, with changes; None takes one away."""
        claims = {
            "iss": self.origin,
            "sub": "s1",
            "aud": CLIENT_ID,
            "exp": now_seconds + 300,
            "iat": now_seconds,
            "nonce": nonce,
            "email": "ada@example.com",
            "email_verified": True,
        }
        return {name: value for name, value in {**claims, **changed}.items() if value is not None}

    async def answer(self, asked: Asked) -> Given:
        """Answer a request."""
        self.asked.append(asked)
        if asked.path in self.given:
            return self.given[asked.path]
        if asked.path == "/token":
            token = self.token if isinstance(self.token, str) else self.token()
            return Given(body=json.dumps({"id_token": token, "access_token": "a", "token_type": "Bearer"}).encode())
        return Given(body=json.dumps({"keys": self.keys}).encode())

    def count(self, path: str) -> int:
        """Count the requests to a path."""
        return sum(asked.path == path for asked in self.asked)


def signed(claims: Any, key: Any = KEY, **header: Any) -> str:
    """Sign claims, as a JWT."""
    head = {"alg": "ES256" if key.key_type == "EC" else "RS256", "kid": key.kid, **header}
    registry = jws.JWSRegistry(algorithms=[head["alg"]], strict_check_header=False)
    return jwt.encode(head, claims, key, algorithms=[head["alg"]], registry=registry)


def written(header: dict[str, Any], claims: Any) -> str:
    """Write what is to be signed of a token."""
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (header, claims))
    return ".".join(parts)


def unsigned(claims: Any) -> str:
    """Write claims as a token that says of itself that nobody signed it."""
    return written({"alg": "none", "kid": "k1"}, claims) + "."


def signed_by_hmac(claims: Any, secret: bytes) -> str:
    """Sign claims by HMAC: with the provider's public key taken for the secret, it is a key confusion."""
    text = written({"alg": "HS256", "kid": "k1"}, claims)
    digest = hmac.digest(secret, text.encode(), "sha256")
    return f"{text}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


@asynccontextmanager
async def openid_provider() -> AsyncIterator[OpenIdProvider]:
    """Serve one on loopback."""
    provider = OpenIdProvider()
    async with little_http(provider.answer) as origin:
        provider.origin = origin
        yield provider
