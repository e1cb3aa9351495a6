"""A browser's part of a login, step by step: it keeps cookies, follows nothing by itself, and brings whatever code."""

from __future__ import annotations

import re
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec

from reference_server.wire.units import SECOND_NS
from simulator.attacks.acting import OK, ask, require
from simulator.attacks.catalogue import random_hex
from simulator.attacks.logins.forging import PUBLIC_URL, Forgery, write
from simulator.attacks.parties import WatchedAttack
from simulator.attacks.script import Claim, Expect, NotTriedError, Outcome, PrerequisiteError, granted
from simulator.contract.answers import Answer
from simulator.contract.features import Feature
from simulator.contract.parsed_request import headers_of
from simulator.contract.profiles import Basis

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.attacks.parties import Addresses
    from simulator.attacks.script import Script, ScriptContext, Send

FOUND, NOT_FOUND = HTTPStatus.FOUND, HTTPStatus.NOT_FOUND
SESSION_COOKIES = ("hf_session", "__Host-hf_session")
"""What a session's cookie is called, over TLS the latter."""
_GONE = re.compile(r"max-age\s*=\s*(?:0+|-[0-9]+)", re.IGNORECASE)
"""What an attribute of a cookie says that is over at once."""
LIFE_SECONDS = 300
"""How long an ID token is good that is right."""
EMAIL = "ada@example.com"
CLOSED_SETTINGS: Mapping[str, str] = MappingProxyType({"PUBLIC_URL": PUBLIC_URL, "AGENT_REGISTRATION": "closed"})
"""Of the server for attacks on one where no agent registers any more."""


class LoginAttack(WatchedAttack):
    """An attack on logins, against a server whose provider the attacker plays."""

    basis: ClassVar[Basis] = Basis.HARDENED
    needs = frozenset({Feature.LOGINS})
    needs_identity = True
    needs_settings: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"PUBLIC_URL": PUBLIC_URL, "AGENT_REGISTRATION": "moltbook"}
    )
    verdict = "401 login refused"
    effect = "nobody is logged in; a login_denied event; the login that it was is used up"


class Browser:
    """Somebody's browser: its cookies, and the address that it speaks from."""

    def __init__(self, client: int) -> None:
        self.client = client
        self.cookies: dict[str, str] = {}

    def send(
        self,
        context: ScriptContext,
        method: str,
        path: str,
        expect: Expect,
        headers: Mapping[str, str] = MappingProxyType({}),
        body: Any = None,
    ) -> Send:
        """Make a request with the cookies that there are."""
        jar = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        given = {**({"Cookie": jar} if jar else {}), **headers}
        return ask(context, method, path, given, expect, body, client=self.client)

    def keep(self, outcome: Outcome) -> None:
        """Keep the cookies that an answer sets, and forget those that it takes away."""
        for name, content in cookies_set(outcome.head):
            if content:
                self.cookies[name] = content
            else:
                self.cookies.pop(name, None)


def cookies_set(head: bytes) -> list[tuple[str, str]]:
    """Return the cookies that the head of an answer sets, in order; empty is what it takes away (RFC 6265, 5.2)."""
    cookies = []
    for value in headers_of(head).get(b"set-cookie", []):
        pair, *attributes = (part.strip() for part in value.decode("latin-1").split(";"))
        name, _, content = (part.strip() for part in pair.partition("="))
        gone = any(_GONE.fullmatch(one) for one in attributes)
        cookies.append((name, "" if gone else content.strip('"')))
    return cookies


class Login(msgspec.Struct, frozen=True):
    """A login that has begun: with whom, and what the provider was asked."""

    provider: str
    asked: dict[str, str]
    cookies: dict[str, str]
    head: bytes = b""
    """That of the answer which sent its browser to the provider."""

    @property
    def state(self) -> str:
        """Return what the browser has to come back with."""
        return self.asked.get("state", "")


def begin(context: ScriptContext, browser: Browser, provider: str = "google", return_to: str = "") -> Script[Login]:
    """Begin a login, which ends at `return_to` where that is given.

    Raises NotTriedError where the server knows no such provider, and PrerequisiteError.
    """
    sent_on = Expect(Answer.MAY_BE_REFUSED, (FOUND, NOT_FOUND), "", "a login begins at the provider, if there is one")
    query = f"?{urlencode({'return_to': return_to})}" if return_to else ""
    send = browser.send(context, "GET", f"/auth/{provider}/login{query}", sent_on)
    outcome = yield from require(send, "begin a login")
    if outcome.status == NOT_FOUND:
        raise NotTriedError(f"the server has no logins with {provider}, although it was started with settings of one")
    browser.keep(outcome)
    asked = {name: values[0] for name, values in parse_qs(urlsplit(location_of(outcome.head)).query).items()}
    if not asked.get("state"):
        raise PrerequisiteError("begin a login: the provider is asked without a state")
    return Login(provider, asked, dict(browser.cookies), outcome.head)


def location_of(head: bytes) -> str:
    """Return where an answer sends its browser; nothing where it does not."""
    return b"".join(headers_of(head).get(b"location", [])).decode("latin-1")


def forged(context: ScriptContext, login: Login, **claims: Any) -> Forgery:
    """Return what is right for a login, but for some claims; null takes one away."""
    now = context.wall() // SECOND_NS
    right = {
        "sub": "ada",
        "iat": now,
        "exp": now + LIFE_SECONDS,
        "nonce": login.asked.get("nonce", ""),
        "email": EMAIL,
        "email_verified": True,
    }
    addresses = [{"email": EMAIL, "primary": True, "verified": True}]
    return Forgery(login.asked.get("code_challenge", ""), {**right, **claims}, addresses=addresses)


def come_back(
    context: ScriptContext,
    browser: Browser,
    login: Login,
    forgery: Forgery,
    expect: Expect,
    provider: str = "",
    **fields: str,
) -> Script[Outcome]:
    """Come back from the provider with a code for a forgery; `fields` are put over the right ones."""
    sent = {"code": write(forgery), "state": login.state, **fields}
    path = f"/auth/{provider or login.provider}/callback?{urlencode(sent)}"
    outcome: Outcome = yield browser.send(context, "GET", path, expect)
    browser.keep(outcome)
    return outcome


def log_in(
    context: ScriptContext, browser: Browser, subject: str = "ada", provider: str = "google", **claims: Any
) -> Script[dict[str, Any]]:
    """Log in rightly, and return who one is then; GitHub's subjects are numbers.

    Raises NotTriedError and PrerequisiteError.
    """
    login = yield from begin(context, browser, provider)
    right = granted(FOUND, "the provider vouches for whom the login is of")
    forgery = forged(context, login, sub=subject, **claims)
    if provider == "github":
        forgery = msgspec.structs.replace(forgery, user=int(subject))
    outcome = yield from come_back(context, browser, login, forgery, right)
    if not outcome.right:
        raise PrerequisiteError(f"log in: it got HTTP {outcome.status}")
    me = yield from require(
        browser.send(context, "GET", "/auth/me", granted(OK, "it is logged in")), "read who is logged in"
    )
    return me.data()


def no_session(outcomes: list[Outcome]) -> Claim:
    """Claim that no refusal came with a session."""
    given = [one.status for one in outcomes if any(map(dict(cookies_set(one.head)).get, SESSION_COOKIES))]
    message = f"of {len(outcomes)} refusals {len(given)} set the cookie of a session"
    return Claim("no-session", not given, message, {"statuses": given})


def still_open(context: ScriptContext, addresses: Addresses) -> Script[None]:
    """Log somebody in, so that it shows that only what is wrong is refused."""
    me = yield from log_in(context, Browser(addresses.take(3)), random_hex(context.rng, 12))
    yield Claim("honest-login", me.get("email") == EMAIL, "who logs in rightly is somebody else", {"me": me})


def denied(because: str) -> Expect:
    """Expect that a login is refused."""
    return Expect(Answer.REFUSED, (HTTPStatus.UNAUTHORIZED,), "login refused", because, success=FOUND)


def no_state(because: str) -> Expect:
    """Expect that nobody is known to have begun such a login."""
    return Expect(Answer.REFUSED, (HTTPStatus.BAD_REQUEST,), "invalid login state", because, success=FOUND)
