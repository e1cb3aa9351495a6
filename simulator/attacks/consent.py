"""Consents that are over, and consents to what is not one's own."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from simulator.attacks.acting import (
    act,
    call,
    consent_anew,
    denied,
    enrol,
    heartbeat,
    make_policy,
    part_of,
    policy_fetch,
    require,
    revoke,
    revoked,
)
from simulator.attacks.catalogue import random_hex
from simulator.attacks.script import Claim, JoinFleet, ScriptAttack, granted, refused
from simulator.contract.answers import Answer
from simulator.contract.profiles import Basis
from simulator.fleet.machine import Action
from simulator.fleet.requests import call_of, consent_call

if TYPE_CHECKING:
    from simulator.attacks.script import Expect, Outcome, Script, ScriptContext, Send
    from simulator.fleet.machine import Machine

STRICTER = {"max_cpu_percent": 10}
"""The rules of a policy that an owner has a machine go over to."""


class NoConsent(ScriptAttack):
    """A new machine that nobody has consented to: it may do nothing yet."""

    name = "consent.none"
    basis = Basis.PUBLISHED
    shape = "a registered machine's heartbeats, under an active policy and under one of nobody's, and its policy fetch"
    verdict = "403 no active consent for worker/policy, 403 no active consent"
    effect = "nothing: it stays unknown, and has no policy"
    anchor = "contract §3, §4: default deny; OWASP API5:2023"
    severity = 8.1

    def script(self, context: ScriptContext) -> Script[None]:
        """Yield the steps of one attempt, in the name of a machine that is never heard from."""
        machine = context.new_machine(context.new_owner())
        yield from act(context, machine, Action.REGISTER)
        policy_id = yield from make_policy(context, machine.owner_id)
        for claimed in (policy_id, f"pol_{random_hex(context.rng, 16)}"):
            machine.policy_id = claimed
            yield heartbeat(context, machine, Answer.NO_CONSENT, "nobody has consented to it", client=1)
        fetch = call_of(machine, Action.FETCH_POLICY, context.token, "")
        none = refused(HTTPStatus.FORBIDDEN, "no active consent", "nobody has consented to it")
        send = call(context, fetch, none, client=1, machine=machine.index)
        yield msgspec.structs.replace(send, certificate=machine.certificate_number)


class AfterRevoke(ScriptAttack):
    """A captured consent, sent again after it was revoked."""

    name = "consent.after-revoke"
    basis = Basis.PUBLISHED
    mixed = True
    shape = "a captured consent sent again after it was revoked, and a heartbeat under it"
    verdict = "409 consent already revoked for this policy version; 403 no active consent for worker/policy"
    effect = "one owner_access_denied event, reason consent_revoked"
    anchor = "contract §4: revoking ends a pair of worker and policy version for good"
    severity = 7.1

    def script(self, context: ScriptContext) -> Script[None]:
        """Yield the steps of one attempt, in the name of a machine that was never heard from."""
        machine = yield from enrol(context, context.new_owner())
        owner_id = machine.owner_id
        captured = consent_call(context.token, owner_id, machine.worker_id, machine.policy_id)
        outcome = yield from require(revoke(context, machine), "revoke")
        revoked(context, machine, outcome)
        because, error = "it was revoked for good", "consent already revoked for this policy version"
        over = refused(HTTPStatus.CONFLICT, error, because, Basis.HARDENED)
        expected_events = denied("consent_revoked", owner_id, machine.worker_id, owner_id)
        yield call(context, captured, over, client=1, expected_events=expected_events, machine=machine.index)
        yield heartbeat(context, machine, Answer.NO_CONSENT, "its consent is revoked", client=1)


class ForeignConsent(ScriptAttack):
    """An owner consents for another one's machine, and to another one's policy."""

    name = "consent.foreign"
    basis = Basis.PUBLISHED
    shape = "an owner's rightly signed consent for another owner's worker, and to another owner's policy"
    verdict = "400 worker not found for owner, 400 active policy not found for owner"
    effect = "one owner_access_denied event each for both owners, and the other's machine keeps its own policy"
    anchor = "OWASP API1:2023"
    severity = 8.1

    def script(self, context: ScriptContext) -> Script[None]:
        """Yield the steps of one attempt, in the names of machines that are never heard from."""
        mine = yield from enrol(context, context.new_owner())
        theirs = yield from enrol(context, context.new_owner(), client=1)
        owner_id, other_id = mine.owner_id, theirs.owner_id
        yield call(
            context,
            consent_call(context.token, owner_id, theirs.worker_id, mine.policy_id),
            refused(HTTPStatus.BAD_REQUEST, "worker not found for owner", "the machine is another owner's"),
            client=2,
            expected_events=denied("worker_not_found_for_owner", owner_id, theirs.worker_id, other_id),
        )
        yield call(
            context,
            consent_call(context.token, owner_id, mine.worker_id, theirs.policy_id),
            refused(HTTPStatus.BAD_REQUEST, "active policy not found for owner", "the policy is another owner's"),
            client=2,
            expected_events=denied("active_policy_not_found_for_owner", owner_id, theirs.policy_id, other_id),
        )
        policy_id = theirs.policy_id
        yield from act(context, theirs, Action.FETCH_POLICY, client=2)
        message = f"the other owner's machine is under {theirs.policy_id}, and was under {policy_id}"
        yield Claim("keeps-its-policy", theirs.policy_id == policy_id, message)


class Newest(ScriptAttack):
    """A machine with two consents: what it may do is by the newest one that is not revoked."""

    name = "consent.newest"
    basis = Basis.HARDENED
    shape = "two consents of one machine, its policy fetched after each, and after the newer and both were revoked"
    verdict = "200 with the policy of the newest unrevoked consent, then 403 no active consent"
    effect = "heartbeats are accepted under each policy until its consent is revoked, and not after"
    anchor = "contract §3: the newest unrevoked consent; §4, check 9"
    severity = 6.5

    def script(self, context: ScriptContext) -> Script[None]:
        """Yield the steps of one attempt."""
        machine = yield from enrol(context, context.new_owner())
        older = machine.policy_id, machine.consent_number
        policy_id = yield from make_policy(context, machine.owner_id, STRICTER)
        yield from act(context, machine, Action.CONSENT, policy_id)
        newer = policy_id, machine.consent_number
        yield from _fetched(context, machine, policy_id, "it was consented to last")
        for consent in (older, newer):
            machine.policy_id, machine.consent_number = consent
            yield heartbeat(context, machine, Answer.ACCEPTED, "neither consent is revoked", client=1)
        for consent, left in ((newer, older), (older, None)):
            machine.policy_id, machine.consent_number = consent
            outcome = yield from require(revoke(context, machine, client=1), "revoke")
            revoked(context, machine, outcome)
            yield heartbeat(context, machine, Answer.NO_CONSENT, "this consent is revoked", client=2)
            if left is not None:
                machine.policy_id, machine.consent_number = left
                yield from _fetched(context, machine, left[0], "the newer consent is revoked, and this one is not")
                yield heartbeat(context, machine, Answer.ACCEPTED, "this consent is not revoked", client=2)
        none = refused(HTTPStatus.FORBIDDEN, "no active consent", "both consents are revoked")
        yield _fetch(context, machine, none)
        yield from consent_anew(context, machine, client=3)
        yield JoinFleet(machine)


def _fetch(context: ScriptContext, machine: Machine, expect: Expect) -> Send:
    return msgspec.structs.replace(policy_fetch(context, machine, Answer.ACCEPTED, "", client=1), expect=expect)


def _fetched(context: ScriptContext, machine: Machine, policy_id: str, because: str) -> Script[None]:
    """Claim that a machine's policy is the one that it has to be."""
    outcome: Outcome = yield _fetch(context, machine, granted(HTTPStatus.OK, because))
    if outcome.right:
        shown = part_of(outcome, "policy").get("id")
        yield Claim("its-policy", shown == policy_id, f"it is given {shown}, where {policy_id} is due: {because}")
