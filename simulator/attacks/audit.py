"""Audit streams: noise that would push out what another did, and texts that would break out of their event."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from simulator.attacks.acting import CREATED, act, call, changed, settle
from simulator.attacks.catalogue import random_hex
from simulator.attacks.parties import OwnerAttack, chain_break, notable_events, rotation_denied, settle_party
from simulator.attacks.routes import CERTIFICATE, CONSENT_CREATE, HEARTBEAT, send
from simulator.attacks.script import Say, granted, heartbeat_gets, refused
from simulator.fleet.machine import Action
from simulator.fleet.requests import consent_call, owner_headers, policy_call
from simulator.history import Answer, Operation
from simulator.limits import AUDIT_NOISE_EVENTS

if TYPE_CHECKING:
    from simulator.attacks.parties import Addresses, Party
    from simulator.attacks.script import Outcome, Script, Send, Stage

WORKER_DIGITS = 16
OWNER_SHARE = 20
"""One in so many events of the noise is an owner's."""
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
    """More noise than any stream keeps, from another owner and from workers that never were."""

    name = "audit.evict"
    shape = f"{AUDIT_NOISE_EVENTS:,} events an attempt, from tenant B, B's machine and unknown workers"
    verdict = "400 and 401 for the noise; tenant A's audit list is the same before and after"
    effect = "one event each: in B's stream, or for unknown workers in nobody's"
    anchor = "contract §3; ASVS 5.0 §16.4"
    severity = 6.5

    def steps(self, stage: Stage, addresses: Addresses) -> Script[None]:
        """Tell one attempt."""
        quiet = yield from settle_party(stage, addresses)
        noisy = yield from settle_party(stage, addresses)
        before = yield from notable_events(stage, quiet.owner_id, addresses)
        made = 0
        for noise in self._noise(stage, noisy):
            outcome: Outcome = yield msgspec.structs.replace(noise, client=addresses.take())
            made += outcome.right
        after = yield from notable_events(stage, quiet.owner_id, addresses)
        lost = [one for one in before if one not in after]
        foreign = [one for one in after if one not in before]
        message = (
            f"after {made} events of others an owner who did nothing meanwhile has {len(after)} of "
            f"{len(before)} events, {len(lost)} of them lost or changed"
        )
        enough = True if made == AUDIT_NOISE_EVENTS else None
        held = enough if after == before else False
        yield Say("nothing-lost", held, message, {"lost": lost[:10], "foreign": foreign[:10]})

    @staticmethod
    def _noise(stage: Stage, noisy: Party) -> list[Send]:
        """Make what is sent: mostly what machines can do, for that costs an attacker least.

        What owners do comes first: a server may go on the slower way with a connection that has brought it once.
        """
        missing = heartbeat_gets(Answer.MISSING_FIELDS, "it has none of its fields")
        own = send(stage, HEARTBEAT, noisy, missing, client=0, payload=b"{}")
        path = f"/api/v1/workers/wrk_{random_hex(stage.rng, WORKER_DIGITS)}/heartbeat"
        unknown = send(stage, HEARTBEAT, noisy, missing, client=0, payload=b"{}", path=path, known=False)
        denied = send(
            stage,
            CERTIFICATE,
            noisy,
            refused(401, "unauthorized", "the machine's token is missing"),
            client=0,
            headers=owner_headers(stage.token, noisy.owner_id),
            leaves=rotation_denied(noisy.owner_id, noisy.machine, "missing_machine_token"),
        )
        by_owner = AUDIT_NOISE_EVENTS // OWNER_SHARE
        return ([denied] * by_owner + [own, unknown] * AUDIT_NOISE_EVENTS)[:AUDIT_NOISE_EVENTS]


class Inject(OwnerAttack):
    """Names, ids and rules that mean something to whatever reads the audit."""

    name = "audit.inject"
    shape = 'line breaks, quotes, `"}`, ANSI escapes, bidi controls and markup in owner ids, names, rules and ids'
    verdict = "201 for names and rules, 404 and 400 for ids that nobody has"
    effect = "each request leaves one event with its text as it was sent, and the chain holds over all of them"
    anchor = "contract §3; ASVS 5.0 §16.4.1; CWE-117"
    severity = 5.3

    def steps(self, stage: Stage, addresses: Addresses) -> Script[None]:
        """Tell one attempt."""
        owner_id = stage.new_owner() + HOSTILE_OWNER
        stage.history.owners.append(owner_id)
        party = yield from settle_party(stage, addresses, owner_id)
        names: dict[str, str] = {party.machine.worker_id: party.machine.name}
        policies = 2
        for text in HOSTILE_TEXTS:
            machine = stage.new_machine(owner_id)
            machine.name = text
            yield from act(stage, machine, Action.REGISTER, client=addresses.take())
            names[machine.worker_id] = text
            create = policy_call(stage.token, owner_id, {"max_cpu_percent": 50, "timezone": text})
            leaves = changed(owner_id, Operation.POLICY_CREATE)
            step = call(stage, create, granted(CREATED), client=addresses.take(), leaves=leaves)
            yield from settle(step, "create a policy")
            policies += 1
            yield from self._with_ids(stage, party, text, addresses)
        events = yield from notable_events(stage, owner_id, addresses)
        yield from self._claims(events, names, policies)

    @staticmethod
    def _with_ids(stage: Stage, party: Party, text: str, addresses: Addresses) -> Script[None]:
        owner_id = party.owner_id
        no_machine = refused(404, "machine not found", "nobody has that id")
        leaves = rotation_denied(owner_id, None, "machine_not_found")
        path = f"/api/v1/machines/{quote(text, safe='')}/certificate"
        yield send(
            stage, CERTIFICATE, party, no_machine, client=addresses.take(), path=path, leaves=leaves, known=False
        )  # fmt: skip
        no_worker = refused(400, "worker not found for owner", "nobody has that id")
        payload = msgspec.json.encode(consent_call(stage.token, owner_id, text, party.policy_id).body)
        yield send(stage, CONSENT_CREATE, party, no_worker, client=addresses.take(), payload=payload)

    @staticmethod
    def _claims(events: list[dict[str, Any]], names: dict[str, str], policies: int) -> Script[None]:
        kinds = Counter(str(one.get("type")) for one in events)
        registered = [one for one in events if one.get("type") == "machine_registered"]
        once = Counter(one.get("object_id") for one in registered) == Counter(names.keys())
        denials = kinds["machine_certificate_issue_denied"]
        held: bool | None = once and kinds["policy_created"] == policies and denials == len(HOSTILE_TEXTS)
        message = (
            f"{len(names)} registrations, {policies} policies and {len(HOSTILE_TEXTS)} refused rotations left "
            f"{len(registered)}, {kinds['policy_created']} and {denials} events"
        )
        if not held and events and events[0].get("sequence", 1) != 1:
            held = None
            message += ", but the oldest events are no longer kept: whether too early, the audit checker judges"
        yield Say("one-event-each", held, message, {"types": dict(kinds)})
        changed_names = []
        for event in registered:
            metadata = event.get("metadata")
            shown = metadata.get("name") if isinstance(metadata, dict) else None
            if shown is not None and shown != names.get(str(event.get("object_id"))):
                changed_names.append(shown)
        yield Say("as-sent", not changed_names, f"{len(changed_names)} names are shown as others than they were sent")
        if any("hash" in event for event in events):
            broken = chain_break(events)
            yield Say("chain", not broken, broken or f"the chain holds over all {len(events)} events")
