"""Pages of other sites that would read what a browser's owner may (contract §1: CORS)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.attacks.acting import OK
from simulator.attacks.catalogue import random_hex
from simulator.attacks.parties import OwnerAttack, set_up_party
from simulator.attacks.routes import AUDIT, OF_OWNERS, STATUSES, SUMMARY, credentials, routes_of, send, variable
from simulator.attacks.script import Claim, Send, granted
from simulator.contract.parsed_request import headers_of
from simulator.contract.profiles import Basis
from simulator.fleet.requests import http_message
from simulator.platform.wording import plural

if TYPE_CHECKING:
    from simulator.attacks.parties import Addresses
    from simulator.attacks.script import Outcome, Script, ScriptContext

ORIGIN, ALLOWED = "Origin", b"access-control-allow-origin"
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization, content-type, x-owner-id",
}
"""What a browser asks before a page of another site may send what says who calls."""
DEFAULT = "http://localhost:3000"
"""The origin that is allowed by default (contract §1)."""


def foreign_origins(name: str) -> tuple[str, ...]:
    """Return origins that nobody can have allowed, by a name that was made up, some of them nearly the default."""
    return (
        f"https://{name}.example",
        "null",
        f"{DEFAULT}.{name}.example",
        f"{DEFAULT}@{name}.example",
        f"http://{name}localhost:3000",
        f"https://{name}.example, {DEFAULT}",
        f"{DEFAULT} https://{name}.example",
    )


class ForeignOrigin(OwnerAttack):
    """Pages of other sites that read an owner's fleet, and ask first whether they may change it."""

    name = "owner.foreign-origin"
    basis = Basis.HARDENED
    shape = "an owner's reading from pages of other sites, the preflights before it, and OPTIONS for every route"
    verdict = "200 that names no foreign origin as allowed; 200 to OPTIONS"
    effect = "nothing is changed, and a browser shows nothing to the page"
    anchor = "contract §1; CWE-942; OWASP API8:2023"
    severity = 6.5

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt."""
        party = yield from set_up_party(context, addresses)
        answers: list[tuple[str, Outcome]] = []
        for origin in foreign_origins(f"evil{random_hex(context.rng, 12)}"):
            for route in (SUMMARY, STATUSES, AUDIT):
                own = granted(OK, "the token is the owner's, wherever the page is from")
                headers = {**credentials(context, route, party), ORIGIN: origin}
                outcome: Outcome = yield send(context, route, party, own, client=addresses.take(), headers=headers)
                answers.append((origin, outcome))
            for path in (route.paths(context)[0].replace("{id}", variable(route, party)) for route in OF_OWNERS):
                asked = _options(context, path, {ORIGIN: origin, **PREFLIGHT}, addresses.take())
                answers.append((origin, (yield asked)))
        for path in (path for route in routes_of(context) for path in route.paths(context)):
            yield _options(context, path.replace("{id}", "wrk_0000000000000000"), {}, addresses.take())
        let_in = sorted({origin for origin, outcome in answers if _lets_in(outcome, origin)})
        judged = sum(outcome.known for _, outcome in answers)
        if judged:
            message = f"of {judged} answers to pages of other sites some let {plural(len(let_in), 'origin')} read them"
            yield Claim("not-let-in", not let_in, message, {"origins": let_in})


def _options(context: ScriptContext, path: str, headers: dict[str, str], client: int) -> Send:
    expect = granted(OK, "OPTIONS is answered for every route, whoever asks")
    return Send(http_message("OPTIONS", path, context.host, headers), expect, client=client)


def _lets_in(outcome: Outcome, origin: str) -> bool:
    """Return whether a browser would show an answer to a page of an origin."""
    named = headers_of(outcome.head).get(ALLOWED, [])
    return bool({origin.encode(), b"*"} & {one.strip() for one in named})
