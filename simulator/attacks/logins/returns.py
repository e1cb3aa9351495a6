"""Where a login ends, and what its browser keeps: another site's page, and cookies that others can read or replace."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from simulator.attacks.catalogue import random_hex
from simulator.attacks.logins.browsing import (
    FOUND,
    SESSION_COOKIES,
    Browser,
    LoginAttack,
    begin,
    come_back,
    cookies_set,
    forged,
    location_of,
)
from simulator.attacks.logins.forging import PUBLIC_URL
from simulator.attacks.script import Claim, Expect, granted
from simulator.contract.answers import Answer
from simulator.contract.parsed_request import headers_of

if TYPE_CHECKING:
    from simulator.attacks.parties import Addresses
    from simulator.attacks.script import Script, ScriptContext

EVIL = "evil.example"
ELSEWHERE = (
    f"https://{EVIL}/",
    f"//{EVIL}/",
    f"///{EVIL}/",
    f"/\\{EVIL}/",
    f"\\\\{EVIL}/",
    f"/\t/{EVIL}/",
    f"/\n/{EVIL}/",
    f"https:{EVIL}",
    f"{PUBLIC_URL}.{EVIL}/",
    f".{EVIL}/",
    f"@{EVIL}/",
    f":80@{EVIL}/",
    EVIL,
    "javascript:alert(1)",
    "/there\r\nSet-Cookie: hf_session=fixed",
)
"""What a browser would take for another site, for a script or for a header, by itself or behind the server's origin."""
PATH = "/there?one=1&two=%2F"
LAX = "samesite=lax"


class ReturnTo(LoginAttack):
    """A link to a right login that ends at somebody else's page."""

    name = "oauth.return-to"
    shape = f"a login that ends at a path, and its cookies; logins to end elsewhere, in {len(ELSEWHERE)} spellings"
    verdict = "400 for another site; 302 to the path"
    effect = "nobody is sent elsewhere; cookies are the host's alone, over TLS alone, and no script's"
    anchor = "CWE-601; CWE-1004; RFC 6265bis §4.1.3; RFC 9700 §4.11; contract: Logins"
    severity = 6.1

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt."""
        browser = Browser(addresses.take(2))
        login = yield from begin(context, browser, return_to=PATH)
        forgery = forged(context, login, sub=random_hex(context.rng, 12))
        right = granted(FOUND, "the provider vouches for whom the login is of")
        done = yield from come_back(context, browser, login, forgery, right)
        if done.right:
            location = location_of(done.head)
            message = f"a login that was to end at {PATH} ended at {location[:200]!r}"
            yield Claim("ends-there", location in {PATH, PUBLIC_URL + PATH}, message)
            lacks = _open_to_others(login.head, done.head)
            yield Claim("cookies", not lacks, "; ".join(lacks) or "every cookie is the host's alone")
        no_path = Expect(Answer.REFUSED, (HTTPStatus.BAD_REQUEST,), "", "it is no path of this server", success=FOUND)
        for provider in ("google", "github"):
            for return_to in ELSEWHERE:
                path = f"/auth/{provider}/login?{urlencode({'return_to': return_to})}"
                yield Browser(addresses.take()).send(context, "GET", path, no_path)


def _open_to_others(login: bytes, done: bytes) -> list[str]:
    """Return what lets scripts or other hosts at the cookies of a login, and of the session that it ended with."""
    bound = [name for name, attributes in _cookies(login) if _is_the_hosts(name, attributes) and LAX in attributes]
    wrong = [] if bound else ["no cookie of a login is __Host-, Secure, HttpOnly and SameSite=Lax"]
    sessions = [(name, attributes) for name, attributes in _cookies(done) if name in SESSION_COOKIES]
    wrong += [
        f"the session's cookie {name} is not __Host-, Secure and HttpOnly, over the path / and without a domain"
        for name, attributes in sessions
        if not _is_the_hosts(name, attributes)
    ]
    return wrong if sessions else [*wrong, "the login set no cookie of a session"]


def _is_the_hosts(name: str, attributes: set[str]) -> bool:
    """Return whether a browser keeps a cookie for one host, over TLS, and shows it to no script."""
    return (
        name.startswith("__Host-")
        and attributes >= {"secure", "httponly", "path=/"}
        and not any(one.startswith("domain") for one in attributes)
    )


def _cookies(head: bytes) -> list[tuple[str, set[str]]]:
    """Return the cookies that a head sets, each with its attributes in small letters; not those that it takes away."""
    kept = {name for name, content in cookies_set(head) if content}
    values = [value.decode("latin-1").split(";") for value in headers_of(head).get(b"set-cookie", [])]
    found = [(pair.partition("=")[0].strip(), rest) for pair, *rest in values]
    return [(name, {"".join(one.split()).lower() for one in rest}) for name, rest in found if name in kept]
