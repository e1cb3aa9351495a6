"""A provider's public keys (RFC 7517): fetched when they are needed, and anew for a key that is not among them."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
import trio
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from reference_server.limits import JWKS_LIFE_SECONDS, JWKS_REFETCH_SECONDS, JWKS_RETRY_SECONDS, RSA_KEY_MIN_BITS
from reference_server.wire.units import SECOND_NS

if TYPE_CHECKING:
    from reference_server.adapters.identity.fetching import Fetcher
    from reference_server.ports import Clock

ALGORITHMS = {"RS256": "RSA", "ES256": "EC"}
"""What ID tokens may be signed with, and the type of key that it takes. Never `none`, and nothing that takes a secret:
with a public key taken for a secret everybody could sign (RFC 8725, 2.1)."""
PublicKey = RSAKey | ECKey


class _JwkSet(msgspec.Struct, frozen=True):
    keys: list[dict[str, Any]]


class KeySet:
    """The keys at a URL."""

    def __init__(self, fetcher: Fetcher, clock: Clock, url: str) -> None:
        self._fetcher = fetcher
        self._clock = clock
        self._url = url
        self._keys: dict[tuple[str, str], PublicKey] = {}
        self._fetched_ns: int | None = None
        self._asked_ns: int | None = None
        self._one = trio.Lock()

    async def find(self, algorithm: str, kid: str) -> PublicKey | None:
        """Return the key of an id for an algorithm; None for one that is not there, or not now.

        A key that is not there has the keys fetched anew, once a minute at most, so that nobody who makes ids up has
        the provider asked for each.
        """
        async with self._one:
            if self._is_old():
                if self._may_ask_again(JWKS_RETRY_SECONDS):
                    await self._fetch()
                if self._is_old():
                    return None
            key = self._known_key(algorithm, kid)
            if key is None and self._may_ask_again(JWKS_REFETCH_SECONDS):
                await self._fetch()
                key = self._known_key(algorithm, kid)
            return key

    def _known_key(self, algorithm: str, kid: str) -> PublicKey | None:
        if kid:
            return self._keys.get((algorithm, kid))
        # A token need not say by which key it is signed where there is one alone (OpenID Connect Core 1.0, 10.1).
        keys = [key for (known, _), key in self._keys.items() if known == algorithm]
        return keys[0] if len(keys) == 1 else None

    @property
    def known(self) -> bool:
        """Return whether the provider's keys are known at all."""
        return not self._is_old()

    def _is_old(self) -> bool:
        now_ns = self._clock.now().monotonic_ns
        return self._fetched_ns is None or now_ns - self._fetched_ns > JWKS_LIFE_SECONDS * SECOND_NS

    def _may_ask_again(self, seconds: int) -> bool:
        """Return whether it was not asked for so long."""
        now_ns = self._clock.now().monotonic_ns
        return self._asked_ns is None or now_ns - self._asked_ns >= seconds * SECOND_NS

    async def _fetch(self) -> None:
        self._asked_ns = self._clock.now().monotonic_ns
        fetched = await self._fetcher.fetch("GET", self._url)
        jwks = None if fetched is None or fetched.status != HTTPStatus.OK else fetched.read(_JwkSet)
        if jwks is None:
            return
        keys: dict[tuple[str, str], PublicKey] = {}
        for jwk in jwks.keys:
            for algorithm, kind in ALGORITHMS.items():
                key = _read_key(jwk, algorithm, kind)
                if key is not None:
                    keys[algorithm, str(jwk.get("kid", ""))] = key
        self._keys, self._fetched_ns = keys, self._asked_ns


def _read_key(jwk: dict[str, Any], algorithm: str, kind: str) -> PublicKey | None:
    """Read a key for an algorithm; None for one of another kind or use, and for one that is too weak."""
    if jwk.get("kty") != kind or jwk.get("use", "sig") != "sig" or jwk.get("alg", algorithm) != algorithm:
        return None
    try:
        if kind == "EC":
            return ECKey.import_key(jwk) if jwk.get("crv") == "P-256" else None
        modulus = urlsafe_b64decode(str(jwk.get("n", "")) + "==")  # too much padding is passed over
        strong = int.from_bytes(modulus).bit_length() >= RSA_KEY_MIN_BITS
        return RSAKey.import_key(jwk) if strong else None
    except (JoseError, ValueError, TypeError, KeyError):
        return None
