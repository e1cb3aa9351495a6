"""Fully set up owners of a script, their audit streams, and enough client addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from simulator.attacks.acting import RULES, audit_page, enrol, play
from simulator.attacks.script import (
    Claim,
    ExpectedEvent,
    PrerequisiteError,
    Script,
    ScriptAttack,
    ScriptContext,
    Send,
)
from simulator.checkers.audit_chain import event_hash
from simulator.limits import ADDRESS_BURST_REQUESTS
from simulator.platform.wording import plural

if TYPE_CHECKING:
    from simulator.fleet.machine import Machine

BREAKDOWN = 500
PAGE = 500
"""The largest page of a list (contract §1)."""


class Addresses:
    """Assigns a script's addresses so that none exceeds a burst, because rate-limited requests are not judged."""

    def __init__(self) -> None:
        self._client = 0
        self._used = 0

    def take(self, requests: int = 1) -> int:
        """Return an address for this many requests in a row."""
        self._used += requests
        if self._used > ADDRESS_BURST_REQUESTS:
            self._client += 1
            self._used = requests
        return self._client


class WatchedAttack(ScriptAttack):
    """An attack during which no server may answer with an internal error."""

    def script(self, context: ScriptContext) -> Script[None]:
        """Yield the steps of one attempt, and claim that no answer was an internal error."""
        return _watched(self.steps(context, Addresses()))

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of the attempt itself."""
        raise NotImplementedError


class OwnerAttack(WatchedAttack):
    """An attack by requests of owners."""


def _watched(script: Script[None]) -> Script[None]:
    """Play a script, and check all answers for internal errors. A failed write has its own message (§7)."""
    broken: list[str] = []
    unmet: PrerequisiteError | None = None
    asked, sent = 0, None
    while True:
        try:
            step = script.send(sent)
        except StopIteration:
            break
        except PrerequisiteError as error:
            unmet = error
            break
        sent = yield step
        if isinstance(step, Send):
            asked += 1
            if sent.status == BREAKDOWN and b"state persistence failed" not in sent.body:
                broken.append(step.request.partition(b"\r\n")[0].decode("latin-1"))
    if broken or unmet is None:
        message = f"of {asked} requests {len(broken)} were answered with HTTP {BREAKDOWN}"
        yield Claim("no-breakdown", not broken, message, {"requests": broken[:10]})
    if unmet is not None:
        raise unmet


class Party(msgspec.Struct, frozen=True):
    """An owner with a machine under a consent, the machine's policy, and another policy that is a draft."""

    owner_id: str
    machine: Machine
    policy_id: str
    draft_id: str
    consent_id: str


def set_up_party(context: ScriptContext, addresses: Addresses, owner_id: str = "") -> Script[Party]:
    """Set up an owner, a new one unless given. Raises PrerequisiteError."""
    owner_id = owner_id or context.new_owner()
    client = addresses.take(6)
    machine = yield from enrol(context, owner_id, client=client)
    draft_id = yield from play(context, context.acts.draft_policy(owner_id, dict(RULES)), client=client)
    consent = context.history.consents[machine.consent_number - 1]
    return Party(owner_id, machine, machine.policy_id, draft_id, consent.consent_id)


def rotation_denied(actor: str, machine: Machine | None, reason: str) -> tuple[ExpectedEvent, ...]:
    """Return the audit event of a refused rotation (contract §3); `machine` is None for one that does not exist."""
    machine_id, owners = ("", ()) if machine is None else (machine.worker_id, (machine.owner_id,))
    shown_to = tuple(dict.fromkeys((*owners, actor)))
    return (ExpectedEvent("machine_certificate_issue_denied", f"owner:{actor}", machine_id, shown_to, reason),)


def events_shown(context: ScriptContext, owner_id: str, addresses: Addresses) -> Script[list[dict[str, Any]]]:
    """Read an owner's audit list without accepted heartbeats, oldest first. Raises PrerequisiteError."""
    events: list[dict[str, Any]] = []
    offset = 0
    while True:
        page = yield from audit_page(context, owner_id, f"?limit={PAGE}&offset={offset}", client=addresses.take())
        shown = page.get("events")
        shown = [one for one in shown if isinstance(one, dict)] if isinstance(shown, list) else []
        events += [one for one in shown if one.get("type") != "worker_heartbeat"]
        offset += len(shown)
        total = page.get("total")
        if not shown or not isinstance(total, int) or offset >= total:
            return events


def nobody_made(context: ScriptContext, owner_id: str, addresses: Addresses) -> Script[None]:
    """Claim that refusals create no owner: the audit list is empty (contract §3). Raises PrerequisiteError."""
    events = yield from events_shown(context, owner_id, addresses)
    message = f"an owner that nothing was ever granted to has {plural(len(events), 'event')}"
    yield Claim("nobody-made", not events, message, {"events": events[:10]})


def chain_break(events: list[dict[str, Any]]) -> str:
    """Return where a stream's hash chain is broken (contract §3), or an empty text."""
    latest: dict[str, dict[str, Any]] = {}
    for event in events:
        before = latest.get(str(event.get("stream")))
        if event.get("hash") != event_hash(event):
            return f"event {event.get('id')} does not have the hash {event.get('hash')}"
        if before is not None and event.get("previous_hash") != before["hash"]:
            return f"event {event.get('id')} does not follow {before.get('id')}"
        if before is not None and event.get("sequence") != before.get("sequence", 0) + 1:
            return f"between {before.get('id')} and {event.get('id')} there is a gap"
        latest[str(event.get("stream"))] = event
    return ""
