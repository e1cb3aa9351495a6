"""Owners who reach for what is another's, or nobody's (OWASP API1: broken object level authorization)."""

from __future__ import annotations

from http import HTTPStatus
from itertools import cycle
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from simulator.attacks.acting import OK, denied
from simulator.attacks.catalogue import random_hex
from simulator.attacks.parties import OwnerAttack, events_shown, nobody_made, rotation_denied, set_up_party
from simulator.attacks.routes import (
    AUDIT,
    CERTIFICATE,
    CONSENT_CREATE,
    CONSENT_REVOKE,
    HEARTBEAT,
    MACHINE_CERTIFICATE,
    MACHINE_TOKEN,
    OF_OWNERS,
    OWNER_ID,
    POLICY_ACTIVATE,
    POLICY_CREATE,
    POLICY_FETCH,
    REGISTER,
    STATUS,
    STATUSES,
    SUMMARY,
    credentials,
    send,
    variable,
)
from simulator.attacks.script import Claim, granted, heartbeat_gets, refused
from simulator.contract.answers import Answer
from simulator.contract.profiles import Basis
from simulator.fleet.requests import consent_call, machine_headers, owner_headers
from simulator.platform.wording import plural

if TYPE_CHECKING:
    from simulator.attacks.parties import Addresses, Party
    from simulator.attacks.routes import Route
    from simulator.attacks.script import Outcome, Script, ScriptContext

ANCHOR = "contract §2, §3; OWASP API1:2023"
ID_DIGITS = 16
NO_NAMES = ("{}|", "{}\x01", "\u2003{}", "{}\u0085", "{}\u00a0", "\x7f{}")
"""Owner ids that no server may take (contract §5)."""
STRIPPED = ("{} ", " {}", "\t{}")
"""The same, of what HTTP itself takes off a header's value: a header of it is another's."""


def _consent(context: ScriptContext, owner_id: str, worker_id: str, policy_id: str) -> bytes:
    """Make the body of a consent that its owner signed rightly, whoever's worker and policy it names."""
    return msgspec.json.encode(consent_call(context.token, owner_id, worker_id, policy_id).body)


class HeaderMismatch(OwnerAttack):
    """Bodies in the name of one owner under the header of another, and names that no header says as bodies do."""

    name = "owner.header-mismatch"
    basis = Basis.HARDENED
    shape = (
        "a registration, policy and consent whose body names another owner than X-Owner-ID: foreign, cut, longer; "
        "owner ids with |, control characters or outer white space in bodies and on every route's header"
    )
    verdict = "403 forbidden; 400 for names that nobody could act under"
    effect = "one owner_access_denied event for both owners; nothing is made"
    anchor = ANCHOR
    severity = 8.1

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt."""
        mine = yield from set_up_party(context, addresses)
        theirs = yield from set_up_party(context, addresses)
        before = len((yield from events_shown(context, theirs.owner_id, addresses)))
        expect = refused(HTTPStatus.FORBIDDEN, "forbidden", "the body's owner is not the header's")
        actors = (mine.owner_id, theirs.owner_id + "0", theirs.owner_id[:-1], theirs.owner_id.upper())
        tried = 0
        for route in (REGISTER, POLICY_CREATE, CONSENT_CREATE):
            for actor in actors:
                headers = {**credentials(context, route, theirs), OWNER_ID: actor}
                expected_events = denied("", actor, "", theirs.owner_id)
                outcome: Outcome = yield send(
                    context,
                    route,
                    theirs,
                    expect,
                    client=addresses.take(),
                    headers=headers,
                    expected_events=expected_events,
                )
                tried += outcome.right
        events = (yield from events_shown(context, theirs.owner_id, addresses))[before:]
        made = [one for one in events if one.get("type") != "owner_access_denied"]
        seen = f"{plural(len(events), 'denial')} and {plural(len(made), 'other')}"
        message = f"of {plural(tried, 'refused request')} in their name an owner sees {seen}"
        yield Claim("nothing-made", not made, message, {"events": made})
        yield from self._names(context, theirs, addresses)

    @staticmethod
    def _names(context: ScriptContext, party: Party, addresses: Addresses) -> Script[None]:
        """Name owners that a signature's text or a header cannot carry as they are."""
        expect = refused(
            HTTPStatus.BAD_REQUEST, "", "nobody could act under that owner id: HTTP strips or forbids what it has"
        )
        names = (*(form.format(party.owner_id) for form in (*NO_NAMES, *STRIPPED)), " ")
        for name, route in zip(names, cycle((REGISTER, POLICY_CREATE, CONSENT_CREATE)), strict=False):
            odd = msgspec.structs.replace(party, owner_id=name)
            yield send(context, route, odd, expect, client=addresses.take(), headers=owner_headers(context.token))
        for number, route in enumerate(OF_OWNERS):
            headers = {
                **credentials(context, route, party),
                OWNER_ID: NO_NAMES[number % len(NO_NAMES)].format("nobody"),
            }
            yield send(context, route, party, expect, client=addresses.take(), headers=headers)


class Idor(OwnerAttack):
    """One owner, and their machine, on every route with another owner's ids."""

    name = "owner.idor"
    basis = Basis.PUBLISHED
    mixed = True
    claim_bases = MappingProxyType({"nobody-made": Basis.HARDENED, "own-events": Basis.HARDENED})
    shape = (
        "owner A, and one that never was, with a right token on every route with owner B's ids, and naming nobody; A's "
        "machine on B's routes"
    )
    verdict = (
        "403 forbidden; 400 where the body names B's worker or policy; 401 for A's machine, and for the fleet of "
        "whoever names nobody; lists without B's"
    )
    effect = "one owner_access_denied event for A and B each time, nothing of B's is changed or shown, nobody is made"
    anchor = ANCHOR
    severity = 9.1

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt."""
        mine = yield from set_up_party(context, addresses)
        theirs = yield from set_up_party(context, addresses)
        yield from self._by_path(context, mine, theirs, addresses)
        yield from self._by_body(context, mine, theirs, addresses)
        yield from self._as_machine(context, mine, theirs, addresses)
        yield from self._lists(context, mine, theirs, addresses)
        yield from self._as_nobody(context, theirs, addresses)
        fetch = granted(OK, "its certificate was not rotated, nor its consent revoked")
        yield send(context, POLICY_FETCH, theirs, fetch, client=addresses.take())

    @staticmethod
    def _by_path(context: ScriptContext, mine: Party, theirs: Party, addresses: Addresses) -> Script[None]:
        expect = refused(HTTPStatus.FORBIDDEN, "forbidden", "what the path names is another owner's")
        for route in (POLICY_ACTIVATE, CONSENT_REVOKE, STATUS):
            headers = owner_headers(context.token, mine.owner_id)
            expected_events = denied("", mine.owner_id, "", theirs.owner_id)
            yield send(
                context,
                route,
                theirs,
                expect,
                client=addresses.take(),
                headers=headers,
                expected_events=expected_events,
            )
        for token in (mine.machine.token, theirs.machine.token):
            headers = {**owner_headers(context.token, mine.owner_id), MACHINE_TOKEN: token.decode()}
            expected_events = rotation_denied(mine.owner_id, theirs.machine, "owner_mismatch")
            yield send(
                context,
                CERTIFICATE,
                theirs,
                expect,
                client=addresses.take(),
                headers=headers,
                expected_events=expected_events,
            )
        unnamed = refused(HTTPStatus.FORBIDDEN, "forbidden", "no owner is named")
        for route in (POLICY_ACTIVATE, CONSENT_REVOKE):
            yield send(context, route, theirs, unnamed, client=addresses.take(), headers=owner_headers(context.token))
        yield send(context, AUDIT, theirs, unnamed, client=addresses.take(), headers=owner_headers(context.token))
        because = "no owner is named, and nobody is shown everybody's machines"
        everybody = refused(HTTPStatus.UNAUTHORIZED, "unauthorized", because, Basis.HARDENED)
        for route in (SUMMARY, STATUSES):
            for path in route.paths(context):
                headers = owner_headers(context.token)
                yield send(context, route, theirs, everybody, client=addresses.take(), path=path, headers=headers)

    @staticmethod
    def _by_body(context: ScriptContext, mine: Party, theirs: Party, addresses: Addresses) -> Script[None]:
        no_worker = refused(HTTPStatus.BAD_REQUEST, "worker not found for owner", "the worker is another owner's")
        no_policy = refused(
            HTTPStatus.BAD_REQUEST, "active policy not found for owner", "the policy is another owner's"
        )
        worker_id, policy_id = theirs.machine.worker_id, theirs.policy_id
        for expect, payload in (
            (no_worker, _consent(context, mine.owner_id, worker_id, mine.policy_id)),
            (no_worker, _consent(context, mine.owner_id, worker_id, policy_id)),
            (no_policy, _consent(context, mine.owner_id, mine.machine.worker_id, policy_id)),
        ):
            expected_events = denied("", mine.owner_id, "", theirs.owner_id)
            yield send(
                context, CONSENT_CREATE, mine, expect, client=addresses.take(), payload=payload,
                expected_events=expected_events,
            )  # fmt: skip

    @staticmethod
    def _as_machine(context: ScriptContext, mine: Party, theirs: Party, addresses: Addresses) -> Script[None]:
        own, foreign = machine_headers(mine.machine), machine_headers(theirs.machine)
        half = {**foreign, MACHINE_CERTIFICATE: mine.machine.certificate_id}
        other_half = {**own, MACHINE_CERTIFICATE: theirs.machine.certificate_id}
        for route, headers, answer in (
            (POLICY_FETCH, own, Answer.POLICY_INVALID_TOKEN),
            (POLICY_FETCH, half, Answer.POLICY_INVALID_CERTIFICATE),
            (POLICY_FETCH, other_half, Answer.POLICY_INVALID_TOKEN),
            (HEARTBEAT, own, Answer.INVALID_TOKEN),
            (HEARTBEAT, half, Answer.INVALID_CERTIFICATE),
            (HEARTBEAT, other_half, Answer.INVALID_TOKEN),
        ):
            expect = heartbeat_gets(answer, "a machine proves itself for its own routes only")
            yield send(context, route, theirs, expect, client=addresses.take(), headers=headers)

    @staticmethod
    def _as_nobody(context: ScriptContext, theirs: Party, addresses: Addresses) -> Script[None]:
        """Try it under a name that nothing was ever granted to."""
        nobody = context.new_owner()
        expect = refused(HTTPStatus.FORBIDDEN, "forbidden", "what the path names is another owner's")
        for route in (POLICY_ACTIVATE, CONSENT_REVOKE, STATUS):
            headers, expected_events = owner_headers(context.token, nobody), denied("", nobody, "", theirs.owner_id)
            yield send(
                context,
                route,
                theirs,
                expect,
                client=addresses.take(),
                headers=headers,
                expected_events=expected_events,
            )
        yield from nobody_made(context, nobody, addresses)

    @staticmethod
    def _lists(context: ScriptContext, mine: Party, theirs: Party, addresses: Addresses) -> Script[None]:
        """See that an owner's lists hold what is theirs alone."""
        get = granted(OK, "it is what its owner may see")
        summary: Outcome = yield send(context, SUMMARY, mine, get, client=addresses.take())
        statuses: Outcome = yield send(context, STATUSES, mine, get, client=addresses.take())
        total = summary.data().get("total")
        workers = statuses.data().get("workers")
        shown = [one.get("worker_id") for one in workers if isinstance(one, dict)] if isinstance(workers, list) else []
        if summary.right and statuses.right:
            held = total == 1 and shown == [mine.machine.worker_id]
            message = f"an owner of one machine is shown a summary of {total} and the statuses of {len(shown)}"
            yield Claim("own-workers", held, message, {"workers": shown})
        events = yield from events_shown(context, theirs.owner_id, addresses)
        actors = {f"owner:{mine.owner_id}", f"owner:{theirs.owner_id}", f"worker:{theirs.machine.worker_id}"}
        others = [one for one in events if one.get("actor") not in actors]
        changes = [
            one for one in events
            if one.get("actor") == f"owner:{mine.owner_id}" and not str(one.get("type")).endswith("_denied")
        ]  # fmt: skip
        seen = f"{plural(len(others), 'event')} of strangers and {plural(len(changes), 'change')} by another owner"
        message = f"an owner's audit shows {seen}"
        yield Claim("own-events", not others and not changes, message, {"events": others + changes})


class UnknownId(OwnerAttack):
    """Every route with an id that nobody has."""

    name = "owner.unknown-id"
    basis = Basis.PUBLISHED
    shape = "an owner on every route with ids never given out, of another kind, too long, or escaped"
    verdict = "404; 400 where the body names it; the same whoever asks"
    effect = "nothing is made; a refused rotation leaves machine_certificate_issue_denied, reason machine_not_found"
    anchor = "contract §3; OWASP API1:2023"
    severity = 5.3

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt."""
        party = yield from set_up_party(context, addresses)
        for route, prefix, error in (
            (CERTIFICATE, "wrk_", "machine not found"),
            (POLICY_ACTIVATE, "pol_", "policy not found"),
            (CONSENT_REVOKE, "con_", "consent not found"),
            (STATUS, "wrk_", "worker not found"),
        ):
            expect = refused(HTTPStatus.NOT_FOUND, error, "nobody has that id")
            expected_events = rotation_denied(party.owner_id, None, "machine_not_found") if route is CERTIFICATE else ()
            for identifier in self._strangers(context, route, party, prefix):
                path = route.paths(context)[0].replace("{id}", identifier)
                yield send(
                    context, route, party, expect, client=addresses.take(), path=path, known=False,
                    expected_events=expected_events,
                )  # fmt: skip
            # Whether escapes are read is open, and so is whether this is an unknown id or an unknown path.
            path = route.paths(context)[0].replace("{id}", "{id}%20")
            expect = refused(HTTPStatus.NOT_FOUND, "not found", "nobody has that id")
            yield send(context, route, party, expect, client=addresses.take(), path=path, known=False)
        unnamed = owner_headers(context.token)
        first = refused(
            HTTPStatus.NOT_FOUND, "policy not found", "that it does not exist is found before the owner is missed"
        )
        yield send(
            context, POLICY_ACTIVATE, party, first, client=addresses.take(), headers=unnamed,
            path=f"/api/v1/policies/pol_{random_hex(context.rng, ID_DIGITS)}/activate",
        )  # fmt: skip
        worker_id, policy_id = party.machine.worker_id, party.policy_id
        for error, worker, policy in (
            ("worker not found for owner", f"wrk_{random_hex(context.rng, ID_DIGITS)}", policy_id),
            ("worker not found for owner", policy_id, policy_id),
            ("active policy not found for owner", worker_id, f"pol_{random_hex(context.rng, ID_DIGITS)}"),
            ("active policy not found for owner", worker_id, party.draft_id),
        ):
            payload = _consent(context, party.owner_id, worker, policy)
            expect = refused(HTTPStatus.BAD_REQUEST, error, "there is none that the owner could consent to")
            yield send(context, CONSENT_CREATE, party, expect, client=addresses.take(), payload=payload)
        yield send(context, POLICY_FETCH, party, granted(OK, "nothing was changed"), client=addresses.take())

    @staticmethod
    def _strangers(context: ScriptContext, route: Route, party: Party, prefix: str) -> tuple[str, ...]:
        own = variable(route, party)
        other_kind = party.policy_id if prefix != "pol_" else party.machine.worker_id
        return (
            prefix + random_hex(context.rng, ID_DIGITS),
            own.upper(),
            own[:-1],
            other_kind,
            prefix + "0" * 200,
        )
