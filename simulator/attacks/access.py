"""Every route without the right to it, with headers that say two things, and with methods it does not have."""

from __future__ import annotations

import re
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from simulator.attacks.acting import OK
from simulator.attacks.parties import OwnerAttack, events_shown, set_up_party
from simulator.attacks.routes import (
    BEARER,
    HEARTBEAT,
    MACHINE_CERTIFICATE,
    MACHINE_TOKEN,
    OF_OWNERS,
    OWNER_ID,
    POLICY_FETCH,
    STATUS,
    SUMMARY,
    credentials,
    routes_of,
    send,
    variable,
    wrong_bearers,
)
from simulator.attacks.script import Claim, Expect, granted, heartbeat_gets, refused
from simulator.contract.answers import Answer
from simulator.contract.profiles import Basis
from simulator.fleet.requests import owner_headers
from simulator.platform.wording import plural

if TYPE_CHECKING:
    from simulator.attacks.parties import Addresses, Party
    from simulator.attacks.routes import Route
    from simulator.attacks.script import Outcome, Script, ScriptContext, Send

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE")
"""Methods to try. `OPTIONS` is answered everywhere (contract §1), `HEAD` where `GET` is (§3)."""
WITHOUT_BODY = frozenset({"GET", "HEAD", "DELETE", "TRACE"})
_ALLOW = re.compile(rb"\r\nallow:([^\r\n]*)", re.IGNORECASE)


class NoAuth(OwnerAttack):
    """Every owner route without the owners' token or with a wrong one, every machine route without a machine's."""

    name = "owner.no-auth"
    basis = Basis.PUBLISHED
    claim_bases = MappingProxyType({"nothing-made": Basis.HARDENED})
    shape = "every owner route without a bearer and with wrong ones; machine routes with an owner's instead of theirs"
    verdict = "401 unauthorized; 400 missing required heartbeat fields"
    effect = "nothing is changed; machine routes count missing_worker_policy_auth_headers and missing_heartbeat_fields"
    anchor = "contract §2; OWASP API2:2023"
    severity = 9.8

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt."""
        party = yield from set_up_party(context, addresses)
        before = len((yield from events_shown(context, party.owner_id, addresses)))
        expect = refused(HTTPStatus.UNAUTHORIZED, "unauthorized", "it carries no token of the owners")
        for route in OF_OWNERS:
            right = credentials(context, route, party)
            nameless = {name: value for name, value in right.items() if name != BEARER}
            for number, bearer in enumerate((None, *wrong_bearers(context, party))):
                headers = nameless if bearer is None else {**right, BEARER: bearer}
                path = route.paths(context)[number % len(route.paths(context))]
                yield send(context, route, party, expect, client=addresses.take(), path=path, headers=headers)
        asked = SUMMARY.paths(context)[0] + f"?access_token={context.token}&token={context.token}"
        named = {OWNER_ID: party.owner_id}
        yield send(context, SUMMARY, party, expect, client=addresses.take(), path=asked, headers=named)
        events = (yield from events_shown(context, party.owner_id, addresses))[before:]
        made = [one for one in events if not str(one.get("type")).endswith("_denied")]
        left = plural(len(made), "event")
        message = f"requests without a token left {left} of changes in the audit of the owner they named"
        yield Claim("nothing-made", not made, message, {"events": made})
        for headers in ({}, owner_headers(context.token, party.owner_id)):
            for route, answer in ((POLICY_FETCH, Answer.POLICY_MISSING_HEADERS), (HEARTBEAT, Answer.MISSING_FIELDS)):
                because = heartbeat_gets(answer, "it carries no machine's token and certificate")
                yield send(context, route, party, because, client=addresses.take(), headers=headers)
        yield send(context, POLICY_FETCH, party, granted(OK, "nothing was changed"), client=addresses.take())


class DuplicateHeader(OwnerAttack):
    """Requests that say twice who calls."""

    name = "owner.duplicate-header"
    basis = Basis.HARDENED
    shape = "every route with a second Authorization, X-Owner-ID, X-Machine-Token or X-Machine-Certificate-Id"
    verdict = "400 invalid request"
    effect = "nothing is changed, and nothing counted"
    anchor = "contract §2; OWASP API2:2023"
    severity = 7.5

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt: the same value twice, and another before the right one or behind it."""
        party = yield from set_up_party(context, addresses)
        machine = party.machine
        values = {
            BEARER: f"Bearer {context.token}",
            OWNER_ID: party.owner_id,
            MACHINE_TOKEN: machine.token.decode(),
            MACHINE_CERTIFICATE: machine.certificate_id,
        }
        number = 0
        for route in routes_of(context):
            because = "two headers say who calls, and nobody can know which to believe"
            expect = refused(HTTPStatus.BAD_REQUEST, "invalid request", because)
            if route.machine_facing:
                expect = heartbeat_gets(Answer.INVALID_REQUEST, because)
            right = credentials(context, route, party)
            for name, value in values.items():
                # `extra` headers come first.
                extra = ((name.lower(), "somebody-else" if number % 3 else value),)
                headers = {**right, name: value}
                if number % 3 == 1:
                    headers, extra = {**right, name: "somebody-else"}, ((name.lower(), value),)
                path = route.paths(context)[number % len(route.paths(context))]
                yield send(
                    context, route, party, expect, client=addresses.take(), path=path, headers=headers, extra=extra
                )  # fmt: skip
                number += 1
        yield send(context, POLICY_FETCH, party, granted(OK, "nothing was changed"), client=addresses.take())


class Verbs(OwnerAttack):
    """Every method that a route does not have, and `HEAD` where it has `GET`."""

    name = "owner.verbs"
    basis = Basis.RFC
    mixed = True
    shape = f"every route, under both prefixes, with each of {', '.join(METHODS)} that it does not have; HEAD for GET"
    verdict = "405 with Allow; HEAD as GET, without a body"
    effect = "nothing is changed"
    anchor = "RFC 9110 §15.5.6; OWASP API8:2023"
    severity = 5.3

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt."""
        party = yield from set_up_party(context, addresses)
        methods_of: dict[str, set[str]] = {}
        for route in routes_of(context):
            for path in route.paths(context):
                methods_of.setdefault(path, set()).update(("GET", "HEAD") if route.method == "GET" else (route.method,))
        expect = Expect(Answer.REFUSED, (HTTPStatus.METHOD_NOT_ALLOWED,), "", "the path does not have that method")
        wrong: list[dict[str, Any]] = []
        refusals = 0
        for route in routes_of(context):
            for path in route.paths(context):
                for method in METHODS:
                    if method in methods_of[path]:
                        continue
                    outcome: Outcome = yield self._try(context, route, party, expect, path, method, addresses)
                    if outcome.status == HTTPStatus.METHOD_NOT_ALLOWED:
                        refusals += 1
                        found = _ALLOW.search(outcome.head)
                        allow = (
                            {one.strip().upper() for one in found[1].decode("latin-1").split(",")} if found else set()
                        )
                        if method in allow or not methods_of[path] <= allow:
                            wrong.append({"method": method, "path": path, "allow": sorted(allow)})
        if refusals:
            message = (
                f"of {refusals} answers 405 {len(wrong)} have an Allow that does not list the path's own methods alone"
            )
            yield Claim("allow", not wrong, message, {"wrong": wrong[:10]})
        yield from self._heads(context, party, addresses)
        yield send(context, POLICY_FETCH, party, granted(OK, "nothing was changed"), client=addresses.take())

    @staticmethod
    def _heads(context: ScriptContext, party: Party, addresses: Addresses) -> Script[None]:
        """Ask for the head of everything that can be read."""
        right, bodies = 0, []
        for route in routes_of(context):
            answered = granted(OK, "HEAD is answered as GET is", Basis.HARDENED)
            if route is STATUS:
                answered = refused(
                    HTTPStatus.NOT_FOUND, "", "as to GET: the machine was never heard from", Basis.HARDENED
                )
            for path in route.paths(context) if route.method == "GET" else ():
                outcome: Outcome = yield send(
                    context, route, party, answered, client=addresses.take(), method="HEAD", path=path
                )
                right += outcome.right
                if outcome.body:
                    bodies.append(path)
        if right:
            message = f"of {right} answers to HEAD {len(bodies)} came with a body"
            yield Claim("head", not bodies, message, {"paths": bodies[:10]})

    @staticmethod
    def _try(
        context: ScriptContext, route: Route, party: Party, expect: Expect, path: str, method: str, addresses: Addresses
    ) -> Send:
        payload = b"" if method in WITHOUT_BODY else None
        path = path.replace("{id}", variable(route, party))
        return send(context, route, party, expect, client=addresses.take(), method=method, path=path, payload=payload)
