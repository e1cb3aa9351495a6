"""What an ID token proves (OpenID Connect Core 1.0, 3.1.3.7; RFC 8725), or why it proves nothing."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any

import msgspec
from joserfc import jws
from joserfc.errors import JoseError

from reference_server.adapters.identity.key_sets import ALGORITHMS
from reference_server.identity_ports import UNAVAILABLE, Denied, Person
from reference_server.limits import (
    ID_TOKEN_MAX_CHARACTERS,
    LOGIN_CLOCK_LEEWAY_SECONDS,
    LOGIN_LIFE_SECONDS,
    MAIL_ADDRESS_MAX_CHARACTERS,
    SUBJECT_MAX_CHARACTERS,
)
from reference_server.wire.units import SECOND_NS

if TYPE_CHECKING:
    from reference_server.adapters.identity.key_sets import KeySet
    from reference_server.identity_ports import Unavailable

BAD_TOKEN, BAD_SIGNATURE = Denied("bad_token"), Denied("bad_signature")


class _Header(msgspec.Struct, frozen=True):
    alg: str
    kid: str = ""


class Claims(msgspec.Struct, frozen=True):
    """The claims of an ID token that are looked at; others say nothing here."""

    iss: str
    sub: str
    aud: str | list[str]
    exp: float
    iat: float
    nonce: str = ""
    azp: str = ""
    nbf: float = 0
    email: str = ""
    email_verified: bool | str = False


class Expected(msgspec.Struct, frozen=True):
    """What a token has to say to be the one of a login. `now_ns` is the moment by the wall clock."""

    issuer: str
    client_id: str
    nonce: str
    now_ns: int


async def read_id_token(token: str, keys: KeySet, expected: Expected) -> Person | Denied | Unavailable:
    """Return whom a token is of."""
    if len(token) > ID_TOKEN_MAX_CHARACTERS or not token.isascii():
        return BAD_TOKEN
    header = _read_header(token)
    if header is None or header.alg not in ALGORITHMS:
        return BAD_SIGNATURE
    key = await keys.find(header.alg, header.kid)
    if key is None:
        return BAD_SIGNATURE if keys.known else UNAVAILABLE
    try:
        payload: Any = jws.deserialize_compact(token, key, algorithms=[header.alg]).payload
    except (JoseError, ValueError):
        return BAD_SIGNATURE
    try:
        claims = msgspec.json.decode(payload, type=Claims)
    except (ValueError, RecursionError):
        return BAD_TOKEN
    return _refusal(claims, expected) or person_of(claims.sub, claims.email, claims.email_verified in {True, "true"})


def _read_header(token: str) -> _Header | None:
    try:
        return msgspec.convert(jws.extract_compact(token.encode()).headers(), _Header)
    except (JoseError, ValueError):
        return None


def _refusal(claims: Claims, expected: Expected) -> Denied | None:
    """Return why a token whose signature is right is not the one of this login."""
    now = expected.now_ns / SECOND_NS
    leeway = LOGIN_CLOCK_LEEWAY_SECONDS
    if claims.iss != expected.issuer:
        return Denied("wrong_issuer")
    audience = [claims.aud] if isinstance(claims.aud, str) else claims.aud
    if expected.client_id not in audience or (len(audience) > 1 and not claims.azp):
        return Denied("wrong_audience")
    if claims.azp and claims.azp != expected.client_id:
        return Denied("wrong_audience")
    if now >= claims.exp + leeway or claims.iat < now - LOGIN_LIFE_SECONDS - leeway:
        return Denied("expired")
    if max(claims.iat, claims.nbf) > now + leeway:
        return Denied("not_yet_valid")
    if not (expected.nonce and hmac.compare_digest(claims.nonce.encode(), expected.nonce.encode())):
        return Denied("wrong_nonce")
    return None


def person_of(subject: str, email: str, verified: bool) -> Person | Denied:  # noqa: FBT001 - what is said of the address
    """Return a person with a verified address: without one there is no identity (contract: Logins)."""
    if not (0 < len(subject) <= SUBJECT_MAX_CHARACTERS and subject.isascii() and subject.isprintable()):
        return BAD_TOKEN
    if not (verified and "@" in email and len(email) <= MAIL_ADDRESS_MAX_CHARACTERS and email.isprintable()):
        return Denied("unverified_email", subject)
    return Person(subject, email)
