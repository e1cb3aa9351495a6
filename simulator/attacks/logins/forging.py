"""What a provider on this machine is to answer: all of it stands in the code, or the identity, that an attack brings.

So the provider remembers nothing, and an attack needs no other way to it than through the server that it attacks.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, Literal, TypeVar

import msgspec

CLIENT_ID, CLIENT_SECRET = "hatchfarm-under-attack", "secret-of-a-client-under-attack"
KEY_ID = "attack-1"
PUBLIC_URL = "https://hatchfarm.test"
"""Where browsers would find the server; by `https` its cookies are those of a server that people use."""
Key = Literal["provider", "another", "embedded", "none", "pem", "der", "jwk", "modulus", "client", "empty"]


class Forgery(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a code is redeemed for. `challenge` is the one of PKCE that it is bound to, empty for none.

    `claims` are those of an ID token; without an `iss`, it is the provider's own unless `no_issuer`. `header` is put
    over the right one, null takes a field away. `key` says what signs it: the provider's key, another of the same id,
    one that stands in the header, nothing, or an HMAC whose secret is the provider's public key in some form.
    For GitHub `addresses` are the user's.
    """

    challenge: str = ""
    claims: dict[str, Any] = {}
    no_issuer: bool = False
    header: dict[str, Any] = {}
    key: Key = "provider"
    user: int = 1
    addresses: list[dict[str, Any]] = []


class Vouching(msgspec.Struct, frozen=True, omit_defaults=True):
    """What Moltbook says of an identity: whose it is, that it is nobody's, or nothing that could be used.

    A `status` of 0 closes the connection without an answer.
    """

    id: str = ""
    name: str = ""
    status: int = 200
    body: str = ""
    """What is answered in the place of it."""


_Wanted = TypeVar("_Wanted", Forgery, Vouching)


def write(wanted: Forgery | Vouching) -> str:
    """Write what is wanted as a code, or an identity."""
    return urlsafe_b64encode(msgspec.json.encode(wanted)).decode().rstrip("=")


def read_forgery(code: str) -> Forgery | None:
    """Read a code; None for what is none."""
    return _read(code, Forgery)


def read_vouching(identity: str) -> Vouching | None:
    """Read an identity; None for what is none."""
    return _read(identity, Vouching)


def _read(text: str, kind: type[_Wanted]) -> _Wanted | None:
    try:
        return msgspec.json.decode(urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=kind)
    except (ValueError, RecursionError):
        return None
