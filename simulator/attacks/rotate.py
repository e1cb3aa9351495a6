"""Rotating the certificate of a machine without the right to: each refused rotation is audited with its reason."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from simulator.attacks.acting import OK
from simulator.attacks.catalogue import random_hex
from simulator.attacks.credential import TOKEN_DIGITS, near_miss
from simulator.attacks.parties import OwnerAttack, rotation_denied, set_up_party
from simulator.attacks.routes import CERTIFICATE, MACHINE_TOKEN, POLICY_FETCH, credentials, send
from simulator.attacks.script import Claim, granted, refused
from simulator.contract.profiles import Basis
from simulator.fleet.requests import owner_headers

if TYPE_CHECKING:
    from simulator.attacks.parties import Addresses, Party
    from simulator.attacks.script import Outcome, Script, ScriptContext

ANCHOR = "contract §3; OWASP API1:2023"


def _keeps_its_certificate(context: ScriptContext, party: Party, addresses: Addresses) -> Script[None]:
    """See that the machine's certificate is still good: a rotation would have killed it."""
    fetch = send(context, POLICY_FETCH, party, granted(OK, "nothing rotated its certificate"), client=addresses.take())
    outcome: Outcome = yield fetch
    held = outcome.right if outcome.known else None
    yield Claim("keeps-its-certificate", held, f"under its certificate the machine got HTTP {outcome.status}")


class NoToken(OwnerAttack):
    """Rotations without the machine's token."""

    name = "rotate.no-token"
    basis = Basis.PUBLISHED
    shape = "an owner rotates a certificate without the machine's token, or with an empty one, their own or another's"
    verdict = "401 unauthorized"
    effect = "one machine_certificate_issue_denied event, reason missing_machine_token, for both owners"
    anchor = ANCHOR
    severity = 8.1

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt: the token is asked for before it is asked whose the machine is."""
        mine = yield from set_up_party(context, addresses)
        theirs = yield from set_up_party(context, addresses)
        expect = refused(HTTPStatus.UNAUTHORIZED, "unauthorized", "the machine's token is missing")
        for party in (mine, theirs):
            expected_events = rotation_denied(mine.owner_id, party.machine, "missing_machine_token")
            for token in ({}, {MACHINE_TOKEN: ""}):
                headers = {**owner_headers(context.token, mine.owner_id), **token}
                yield send(
                    context, CERTIFICATE, party, expect, client=addresses.take(), headers=headers,
                    expected_events=expected_events,
                )  # fmt: skip
        for party in (mine, theirs):
            yield from _keeps_its_certificate(context, party, addresses)


class WrongOwner(OwnerAttack):
    """Rotations by somebody else than the machine's owner."""

    name = "rotate.wrong-owner"
    basis = Basis.PUBLISHED
    shape = "an owner rotates another owner's certificate, with the machine's own token and with theirs; nobody does"
    verdict = "403 forbidden"
    effect = "one machine_certificate_issue_denied event, reason owner_mismatch, for both owners"
    anchor = ANCHOR
    severity = 9.1

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt: the owner is judged before the token."""
        mine = yield from set_up_party(context, addresses)
        theirs = yield from set_up_party(context, addresses)
        expect = refused(HTTPStatus.FORBIDDEN, "forbidden", "the machine is another owner's")
        expected_events = rotation_denied(mine.owner_id, theirs.machine, "owner_mismatch")
        for token in (
            theirs.machine.token.decode(),
            mine.machine.token.decode(),
            random_hex(context.rng, TOKEN_DIGITS),
        ):
            headers = {**owner_headers(context.token, mine.owner_id), MACHINE_TOKEN: token}
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
        headers = {**owner_headers(context.token), MACHINE_TOKEN: theirs.machine.token.decode()}
        yield send(context, CERTIFICATE, theirs, unnamed, client=addresses.take(), headers=headers)
        yield from _keeps_its_certificate(context, theirs, addresses)


class WrongRotationToken(OwnerAttack):
    """Rotations with another token than the machine's."""

    name = "rotate.wrong-token"
    basis = Basis.PUBLISHED
    shape = "an owner rotates their certificate with a random, near-miss, cut, longer or another machine's token"
    verdict = "401 unauthorized"
    effect = "one machine_certificate_issue_denied event, reason invalid_machine_token"
    anchor = ANCHOR
    severity = 8.1

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt."""
        party = yield from set_up_party(context, addresses)
        other = yield from set_up_party(context, addresses, party.owner_id)
        true = party.machine.token.decode()
        tokens = (
            random_hex(context.rng, TOKEN_DIGITS),
            near_miss(context.rng, true, int(context.rng.integers(TOKEN_DIGITS))),
            true[:-1],
            true + "0",
            other.machine.token.decode(),
            party.machine.certificate_id,
            context.token,
        )
        expect = refused(HTTPStatus.UNAUTHORIZED, "unauthorized", "it is not the machine's token")
        expected_events = rotation_denied(party.owner_id, party.machine, "invalid_machine_token")
        for token in tokens:
            headers = {**credentials(context, CERTIFICATE, party), MACHINE_TOKEN: token}
            yield send(
                context,
                CERTIFICATE,
                party,
                expect,
                client=addresses.take(),
                headers=headers,
                expected_events=expected_events,
            )
        yield from _keeps_its_certificate(context, party, addresses)
