"""Audit streams: noise that would push out what another did, and texts that would break out of their event."""

from __future__ import annotations

from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from simulator.attacks.acting import CREATED, act, call, changed, denied, require
from simulator.attacks.catalogue import random_hex
from simulator.attacks.parties import (
    OwnerAttack,
    chain_break,
    events_shown,
    nobody_made,
    rotation_denied,
    set_up_party,
)
from simulator.attacks.routes import CERTIFICATE, CONSENT_CREATE, HEARTBEAT, POLICY_ACTIVATE, POLICY_CREATE, send
from simulator.attacks.script import Claim, granted, heartbeat_gets, refused
from simulator.checkers.audit_expected import FAILURE_EVENT
from simulator.checkers.audit_lists import REFUSALS
from simulator.contract.answers import Answer, Operation
from simulator.contract.profiles import Basis
from simulator.fleet.machine import Action
from simulator.fleet.requests import consent_call, owner_headers, policy_call
from simulator.limits import AUDIT_NOISE_EVENTS
from simulator.platform.wording import plural

if TYPE_CHECKING:
    from simulator.attacks.parties import Addresses, Party
    from simulator.attacks.script import Outcome, Script, ScriptContext, Send

WORKER_DIGITS = 16
OWNER_SHARE = 20
"""One in so many events of the noise is an owner's, and one of a worker that never was."""
DRAFTS = 20
"""Policies that the noisy owner makes meanwhile: changes, though none of the quiet one's."""
HOSTILE_TEXTS = (
    "line\nbreak",
    "head\r\nSet-Cookie: a=b",
    '"}',
    '"},{"type":"machine_registered","actor":"owner:root","metadata":{"a":"',
    '\\"\\',
    "\\u0022}",
    "\x1b[2J\x1b]0;title\x07\x1b[31mred",
    "\x7f\x9b31m",
    "tab\tback\b",
    "\u2028line\u2029paragraph",
    "\u202egpj.exe\u2066",
    "<script>alert(1)</script>&amp;",
    "'; DROP TABLE audit_events; --",
    "%0a%22%7d ${x} {{x}} %s %n",
)
"""Texts that mean something to a log, a terminal, JSON, a page, a database or a formatter."""
HOSTILE_OWNER = """"}{"type":"x" <b>\\ '"""
"""What an owner's id may hold and a header can carry (contract §5)."""


class Evict(OwnerAttack):
    """More noise than any stream keeps: without any credential, from another owner, and from one that never was."""

    name = "audit.evict"
    basis = Basis.HARDENED
    shape = (
        f"{AUDIT_NOISE_EVENTS:,} events an attempt: heartbeats without a token that name tenant A's worker or none, "
        "and tenant B and an owner that never was on what is A's and on what is nobody's"
    )
    verdict = "400, 401, 403 and 404 for the noise; what tenant A changed is in its audit list as before"
    effect = "one event each in the streams `refused` of those it concerns; nobody is made an owner by it"
    anchor = "contract §3; ASVS 5.0 §16.4"
    severity = 8.1

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt."""
        quiet = yield from set_up_party(context, addresses)
        noisy = yield from set_up_party(context, addresses)
        ghost = context.new_owner()
        # Whatever the server calls its streams: what is no refusal is a change, or an accepted heartbeat.
        before = yield from events_shown(context, quiet.owner_id, addresses)
        before = [one for one in before if one.get("type") not in REFUSALS]
        made = 0
        for noise in self._noise(context, quiet, noisy, ghost):
            outcome: Outcome = yield msgspec.structs.replace(noise, client=addresses.take())
            made += outcome.right
        shown = yield from events_shown(context, quiet.owner_id, addresses)
        after = [one for one in shown if one.get("type") not in REFUSALS]
        lost = [one for one in before if one not in after]
        failures = [one for one in shown if one.get("type") == FAILURE_EVENT]
        foreign = [one for one in after if one not in before]
        foreign += [one for one in failures if one.get("object_id") != quiet.machine.worker_id]
        message = (
            f"after {made} events that others caused an owner who did nothing meanwhile has {len(after)} events of "
            f"{len(before)} changes, {len(lost)} of them lost or changed, and {len(foreign)} that are not its own"
        )
        enough = True if made == AUDIT_NOISE_EVENTS else None
        held = enough if not (lost or foreign) else False
        yield Claim("nothing-lost", held, message, {"lost": lost[:10], "foreign": foreign[:10]})
        yield from nobody_made(context, ghost, addresses)

    @staticmethod
    def _noise(context: ScriptContext, quiet: Party, noisy: Party, ghost: str) -> list[Send]:
        """Make what is sent: mostly what needs no credential, for that costs an attacker least.

        What owners do comes first: a server may go on the slower way with a connection that has brought it once.
        """
        missing = heartbeat_gets(Answer.MISSING_FIELDS, "it has none of its fields")
        bare = send(context, HEARTBEAT, quiet, missing, client=0, payload=b"{}", headers={})
        path = f"/api/v1/workers/wrk_{random_hex(context.rng, WORKER_DIGITS)}/heartbeat"
        unknown = send(context, HEARTBEAT, noisy, missing, client=0, payload=b"{}", headers={}, path=path, known=False)
        by_owners = []
        for actor in (noisy.owner_id, ghost):
            headers = owner_headers(context.token, actor)
            foreign = refused(HTTPStatus.FORBIDDEN, "forbidden", "what the path names is another owner's")
            expected_events = denied("", actor, "", quiet.owner_id)
            by_owners.append(
                send(
                    context, POLICY_ACTIVATE, quiet, foreign, client=0, headers=headers, expected_events=expected_events
                )
            )
            tokenless = refused(HTTPStatus.UNAUTHORIZED, "unauthorized", "the machine's token is missing")
            expected_events = rotation_denied(actor, quiet.machine, "missing_machine_token")
            by_owners.append(
                send(context, CERTIFICATE, quiet, tokenless, client=0, headers=headers, expected_events=expected_events)
            )
            path = f"/api/v1/machines/wrk_{random_hex(context.rng, WORKER_DIGITS)}/certificate"
            expected_events = rotation_denied(actor, None, "missing_machine_token")
            nowhere = send(
                context, CERTIFICATE, noisy, tokenless, client=0, headers=headers, path=path, known=False,
                expected_events=expected_events,
            )  # fmt: skip
            by_owners.append(nowhere)
        drafted = changed(noisy.owner_id, Operation.POLICY_CREATE)
        draft = send(context, POLICY_CREATE, noisy, granted(CREATED), client=0, expected_events=drafted)
        rounds = AUDIT_NOISE_EVENTS // (OWNER_SHARE * len(by_owners))
        first = [draft] * DRAFTS + by_owners * rounds
        last = [unknown] * (AUDIT_NOISE_EVENTS // OWNER_SHARE)
        return first + [bare] * (AUDIT_NOISE_EVENTS - len(first) - len(last)) + last


class Inject(OwnerAttack):
    """Names, ids and rules that mean something to whatever reads the audit."""

    name = "audit.inject"
    basis = Basis.HARDENED
    shape = 'line breaks, quotes, `"}`, ANSI escapes, bidi controls and markup in owner ids, names, rules and ids'
    verdict = "201 for names and rules, 404 and 400 for ids that nobody has"
    effect = "each request leaves one event with its text as it was sent, and the chain holds over all of them"
    anchor = "contract §3; ASVS 5.0 §16.4.1; CWE-117"
    severity = 5.3

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt."""
        owner_id = context.new_owner() + HOSTILE_OWNER
        context.history.owners.append(owner_id)
        party = yield from set_up_party(context, addresses, owner_id)
        names: dict[str, str] = {party.machine.worker_id: party.machine.name}
        policies, refusals = 2, 0
        for text in HOSTILE_TEXTS:
            machine = context.new_machine(owner_id)
            machine.name = text
            yield from act(context, machine, Action.REGISTER, client=addresses.take())
            names[machine.worker_id] = text
            create = policy_call(context.token, owner_id, {"max_cpu_percent": 50, "timezone": text})
            expected_events = changed(owner_id, Operation.POLICY_CREATE)
            step = call(context, create, granted(CREATED), client=addresses.take(), expected_events=expected_events)
            yield from require(step, "create a policy")
            policies += 1
            refusals += yield from self._with_ids(context, party, text, addresses)
        events = yield from events_shown(context, owner_id, addresses)
        yield from self._claims(events, names, policies, refusals)

    @staticmethod
    def _with_ids(context: ScriptContext, party: Party, text: str, addresses: Addresses) -> Script[bool]:
        """Use a text as an id twice. Return whether it is known what came of the one that must leave an event."""
        owner_id = party.owner_id
        no_machine = refused(HTTPStatus.NOT_FOUND, "machine not found", "nobody has that id")
        expected_events = rotation_denied(owner_id, None, "machine_not_found")
        path = f"/api/v1/machines/{quote(text, safe='')}/certificate"
        rotated: Outcome = yield send(
            context, CERTIFICATE, party, no_machine, client=addresses.take(), path=path, known=False,
            expected_events=expected_events,
        )  # fmt: skip
        no_worker = refused(HTTPStatus.BAD_REQUEST, "worker not found for owner", "nobody has that id")
        payload = msgspec.json.encode(consent_call(context.token, owner_id, text, party.policy_id).body)
        yield send(context, CONSENT_CREATE, party, no_worker, client=addresses.take(), payload=payload)
        return rotated.known

    @staticmethod
    def _claims(events: list[dict[str, Any]], names: dict[str, str], policies: int, refusals: int) -> Script[None]:
        kinds = Counter(str(one.get("type")) for one in events)
        registered = [one for one in events if one.get("type") == "machine_registered"]
        once = Counter(one.get("object_id") for one in registered) == Counter(names.keys())
        denials = kinds["machine_certificate_issue_denied"]
        # A rotation that got no answer may have left its event all the same.
        each = refusals <= denials <= len(HOSTILE_TEXTS)
        held: bool | None = once and kinds["policy_created"] == policies and each
        message = (
            f"{len(names)} registrations, {policies} policies and {refusals} refused rotations left "
            f"{len(registered)}, {kinds['policy_created']} and {denials} events"
        )
        firsts = {str(one.get("stream")): one.get("sequence", 1) for one in reversed(events)}
        if not held and any(first != 1 for first in firsts.values()):
            held = None
            message += ", but the oldest events are no longer kept: whether too early, the audit checker judges"
        yield Claim("one-event-each", held, message, {"types": dict(kinds)})
        changed_names = []
        for event in registered:
            metadata = event.get("metadata")
            shown = metadata.get("name") if isinstance(metadata, dict) else None
            if shown is not None and shown != names.get(str(event.get("object_id"))):
                changed_names.append(shown)
        yield Claim("as-sent", not changed_names, f"{len(changed_names)} names are shown as others than they were sent")
        if any("hash" in event for event in events):
            broken = chain_break(events)
            yield Claim("chain", not broken, broken or f"the chain holds over {plural(len(events), 'event')}")
