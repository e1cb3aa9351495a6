"""ID tokens that prove nothing (OpenID Connect Core 1.0, 3.1.3.7; RFC 8725): each is right but for one thing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.wire.units import SECOND_NS
from simulator.attacks.logins.browsing import (
    Browser,
    Login,
    LoginAttack,
    begin,
    come_back,
    denied,
    forged,
    no_session,
    still_open,
)
from simulator.attacks.logins.forging import CLIENT_ID, Forgery

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.attacks.parties import Addresses
    from simulator.attacks.script import Outcome, Script, ScriptContext

LEEWAY_SECONDS = 120
"""How far beyond its time a token is tried: twice what providers' clocks may be off."""


class TokenAttack(LoginAttack):
    """Logins whose token is forged, one after the other, and then one that is right."""

    because = "its token proves nothing"

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt."""
        outcomes: list[Outcome] = []
        number, login, browser = 0, None, None
        while True:
            browser = Browser(addresses.take(2))
            login = yield from begin(context, browser, self.provider(number))
            wrong = next((one for at, one in enumerate(self.forgeries(context, login)) if at == number), None)
            if wrong is None:
                break
            outcomes.append((yield from come_back(context, browser, login, wrong, denied(self.because))))
            number += 1
        yield no_session(outcomes)
        yield from still_open(context, addresses)

    def provider(self, number: int) -> str:
        """Return with whom a login is begun."""
        del number
        return "google"

    def forgeries(self, context: ScriptContext, login: Login) -> Iterator[Forgery]:
        """Yield what each login is to bring, in the same order for every login."""
        raise NotImplementedError


def with_claims(context: ScriptContext, login: Login, *each: dict[str, Any]) -> Iterator[Forgery]:
    """Yield what is right but for some claims, one set of them after the other."""
    for claims in each:
        yield forged(context, login, **claims)


class AlgNone(TokenAttack):
    """Tokens that say of themselves that nobody signed them."""

    name = "oauth.alg-none"
    shape = (
        "ID tokens with alg none, in any case and without any, unsigned, and under the signature of another algorithm"
    )
    anchor = "RFC 8725 §2.1, §3.1; CWE-347"
    severity = 9.8
    because = "nobody signed its token"

    def forgeries(self, context: ScriptContext, login: Login) -> Iterator[Forgery]:
        """Yield tokens that are not signed."""
        right = forged(context, login)
        for algorithm in ("none", "None", "NONE", "nOnE", "", None):
            yield msgspec.structs.replace(right, header={"alg": algorithm}, key="none")
        for header in ({}, {"alg": "none"}, {"alg": "none", "kid": None}, {"alg": "ES256"}, {"alg": "PS256"}):
            key = "none" if not header else "provider"
            yield msgspec.structs.replace(right, header=header, key=key)


class KeyConfusion(TokenAttack):
    """Tokens that anybody can sign: by HMAC with what is public, or by a key that comes with them."""

    name = "oauth.key-confusion"
    shape = (
        "ID tokens under an HMAC by the public key in each form, by the client's secret, by keys that come with them"
    )
    anchor = "RFC 8725 §2.1, §3.1, §3.10; CWE-347"
    severity = 9.8
    because = "its signature is not by the provider's key"

    def forgeries(self, context: ScriptContext, login: Login) -> Iterator[Forgery]:
        """Yield tokens that the provider's key did not sign."""
        right = forged(context, login)
        for secret in ("pem", "der", "jwk", "modulus", "client", "empty"):
            yield msgspec.structs.replace(right, header={"alg": "HS256"}, key=secret)
        for algorithm in ("HS384", "HS512"):
            yield msgspec.structs.replace(right, header={"alg": algorithm}, key="pem")
        yield msgspec.structs.replace(right, header={"alg": "HS256", "kid": "../../../../dev/null"}, key="empty")
        yield msgspec.structs.replace(right, key="another")
        yield msgspec.structs.replace(right, key="another", header={"kid": "made-up"})
        yield msgspec.structs.replace(right, key="another", header={"kid": None})
        yield msgspec.structs.replace(right, key="embedded")
        yield msgspec.structs.replace(right, key="another", header={"jku": "https://evil.example/jwks"})


class WrongAud(TokenAttack):
    """Tokens that the provider gave to somebody else's client."""

    name = "oauth.wrong-aud"
    shape = "ID tokens for another client, for several without this one, of another authorized party, for nobody"
    anchor = "OpenID Connect Core §3.1.3.7; RFC 8725 §3.9"
    severity = 9.1
    because = "its token was given to another client"

    def forgeries(self, context: ScriptContext, login: Login) -> Iterator[Forgery]:
        """Yield tokens for others."""
        others: tuple[Any, ...] = (
            "another-client",
            ["another-client", "third"],
            f"{CLIENT_ID}-other",
            CLIENT_ID[:-1],
            "",
            [],
            None,
        )
        yield from with_claims(context, login, *({"aud": one} for one in others))
        both = [CLIENT_ID, "another-client"]
        yield from with_claims(
            context, login, {"aud": both}, {"aud": both, "azp": "another-client"}, {"azp": "another-client"}
        )


class WrongIss(TokenAttack):
    """Tokens that another issuer gave, or that do not say who did."""

    name = "oauth.wrong-iss"
    shape = "ID tokens of other issuers, of ones whose names are nearly the provider's, and of nobody"
    anchor = "OpenID Connect Core §3.1.3.7; RFC 8725 §3.8"
    severity = 9.1
    because = "its token was issued by somebody else"

    def forgeries(self, context: ScriptContext, login: Login) -> Iterator[Forgery]:
        """Yield tokens of others; without a claim the provider puts its own name there."""
        others = ("https://evil.example", "https://accounts.google.com", "http://127.0.0.1", "", ["a"], 1)
        yield from with_claims(context, login, *({"iss": one} for one in others))
        yield msgspec.structs.replace(forged(context, login), no_issuer=True)


class Expired(TokenAttack):
    """Tokens whose time is over, or has not come."""

    name = "oauth.expired"
    shape = "ID tokens that have expired, that do not say when, that were issued long ago or in the future"
    anchor = "OpenID Connect Core §3.1.3.7; RFC 7519 §4.1.4"
    severity = 7.5
    because = "its token is not good at this time"

    def forgeries(self, context: ScriptContext, login: Login) -> Iterator[Forgery]:
        """Yield tokens of other times."""
        now = context.wall() // SECOND_NS
        yield from with_claims(
            context,
            login,
            {"exp": now - LEEWAY_SECONDS},
            {"exp": now - LEEWAY_SECONDS, "iat": now - 2 * LEEWAY_SECONDS},
            {"exp": 0},
            {"exp": -1},
            {"exp": None},
            {"exp": "never"},
            {"iat": now + 10 * LEEWAY_SECONDS, "exp": now + 20 * LEEWAY_SECONDS},
            {"nbf": now + 10 * LEEWAY_SECONDS},
            {"iat": now - 86_400},
            {"iat": None},
        )


class Nonce(TokenAttack):
    """Tokens that were made for another login."""

    name = "oauth.nonce"
    shape = "ID tokens without a nonce, with a made-up one, one that is nearly right, and that of another login"
    anchor = "OpenID Connect Core §3.1.2.1, §15.5.2"
    severity = 8.1
    because = "its token was made for another login"

    def forgeries(self, context: ScriptContext, login: Login) -> Iterator[Forgery]:
        """Yield tokens with other nonces."""
        nonce = login.asked.get("nonce", "")
        near = (nonce.upper(), nonce[:-1], f"{nonce}0", f" {nonce}", login.state, login.asked.get("code_challenge", ""))
        others = (None, "", "0" * 64, [nonce], *near)
        yield from with_claims(context, login, *({"nonce": one} for one in others if one != nonce))


class UnverifiedEmail(TokenAttack):
    """People whose address nobody has verified: it may be anybody's."""

    name = "oauth.unverified-email"
    shape = "addresses that Google or GitHub calls unverified, of which it says nothing, and none at all"
    effect = "nobody is logged in; a login_denied event that names the person"
    anchor = "OpenID Connect Core §5.7; contract: Logins"
    severity = 8.1
    because = "an address that is not verified is no identity"

    def provider(self, number: int) -> str:
        """Return with whom a login is begun: the first four with GitHub."""
        return "github" if number < 4 else "google"  # noqa: PLR2004 - as below

    def forgeries(self, context: ScriptContext, login: Login) -> Iterator[Forgery]:
        """Yield people without an address of their own."""
        right = forged(context, login)
        owned = {"email": "mallory@example.com", "primary": False, "verified": True}
        for primary in ({"primary": True, "verified": False}, {"primary": False, "verified": False}):
            yield msgspec.structs.replace(right, addresses=[owned, {"email": "victim@example.com", **primary}])
        yield msgspec.structs.replace(right, addresses=[])
        yield msgspec.structs.replace(right, addresses=[{"email": "", "primary": True, "verified": True}])
        others = (False, "false", None, "", "yes")
        yield from with_claims(
            context,
            login,
            *({"email_verified": one} for one in others),
            {"email": None},
            {"email": ""},
            {"email": "ada"},
        )
