"""Common parts of scripts: setting up owners and machines, sending heartbeats, reading what owners are shown."""

from __future__ import annotations

from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from reference_server.wire.timestamps import format_timestamp
from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.attacks.catalogue import NONCE_BYTES
from simulator.attacks.script import (
    Claim,
    Expect,
    ExpectedEvent,
    Outcome,
    PrerequisiteError,
    Script,
    ScriptContext,
    Send,
    granted,
    heartbeat_gets,
)
from simulator.contract.answers import Answer, Operation
from simulator.contract.refusals import CREATING
from simulator.fleet.acts import Act, ActError, Ask, CutOffError, Reply, note_revocation
from simulator.fleet.machine import Action, Machine, heartbeat_request, signed_heartbeat
from simulator.fleet.requests import (
    EVENT_OF,
    ApiCall,
    machine_headers,
    owner_headers,
)
from simulator.history.losses import Loss
from simulator.history.rows import NO_MACHINE, NONE

if TYPE_CHECKING:
    from collections.abc import Mapping

CREATED, OK = HTTPStatus.CREATED, HTTPStatus.OK
RULES: Mapping[str, Any] = {"max_cpu_percent": 50}
_Result = TypeVar("_Result")


def too_late(context: ScriptContext, takes_ns: int) -> Script[bool]:
    """Return whether less than `takes_ns` of the run is left; then claim that nothing can be known."""
    left_ns = context.end_ns - context.now()
    if left_ns >= takes_ns:
        return False
    message = f"it takes {-(-takes_ns // SECOND_NS)} s, and {left_ns // SECOND_NS} s of the run were left"
    yield Claim("time", None, message)
    return True


def call(
    context: ScriptContext,
    wanted: ApiCall,
    expect: Expect,
    *,
    client: int = 0,
    expected_events: tuple[ExpectedEvent, ...] = (),
    machine: int = NO_MACHINE,
) -> Send:
    """Return the step of an API call; `machine` is the number of the machine that it concerns."""
    return Send(
        wanted.message(context.host), expect, wanted.operation, machine, client=client, expected_events=expected_events
    )


def ask(
    context: ScriptContext,
    method: str,
    path: str,
    headers: Mapping[str, str],
    expect: Expect,
    body: Any = None,
    **more: Any,
) -> Send:
    """Return the step of any request below `/api/v1`; `more` are other arguments of `Send`."""
    return Send(ApiCall(Operation.OTHER, method, path, headers, body).message(context.host), expect, **more)


def require(send: Send, what: str) -> Script[Outcome]:
    """Do a step that later ones build on. Raises PrerequisiteError if its answer is not the expected one."""
    outcome: Outcome = yield send
    if not outcome.right:
        raise PrerequisiteError(f"{what}: {answered(outcome)}")
    return outcome


def answered(outcome: Outcome) -> str:
    """Describe the outcome of a step that does not allow the next ones."""
    return f"it got HTTP {outcome.status}" if outcome.status else "no whole answer came"


def part_of(outcome: Outcome, name: str) -> dict[str, Any]:
    """Return an object in an answer's data, or an empty one."""
    part = outcome.data().get(name)
    return part if isinstance(part, dict) else {}


def items_of(outcome: Outcome, name: str) -> list[dict[str, Any]]:
    """Return the objects of a list in an answer's data, or an empty list."""
    shown = outcome.data().get(name)
    return [one for one in shown if isinstance(one, dict)] if isinstance(shown, list) else []


def changed(owner_id: str, operation: Operation, object_id: str = "") -> tuple[ExpectedEvent, ...]:
    """Return the audit event that an owner's change leaves."""
    return (ExpectedEvent(EVENT_OF[operation], f"owner:{owner_id}", object_id, (owner_id,)),)


def play(context: ScriptContext, act: Act[_Result], *, client: int = 0) -> Script[_Result]:
    """Play an act of the control plane from one client. Raises PrerequisiteError if it fails."""
    reply: Reply | None = None
    while True:
        try:
            ask = act.send(reply)
        except StopIteration as end:
            result: _Result = end.value
            return result
        except ActError as error:
            raise PrerequisiteError(str(error)) from None
        if not isinstance(ask, Ask):
            raise TypeError(f"{type(ask).__name__} is no step of an attack")
        sent_ns = context.now()
        try:
            outcome: Outcome = yield _send_of(context, ask, client)
        except GeneratorExit:  # cut off by the end of the run
            with suppress(CutOffError):
                act.throw(CutOffError(Reply(sent_ns, context.now(), loss=Loss.ENDED)))
            raise
        reply = Reply(
            outcome.sent_ns, outcome.answered_ns, outcome.status, outcome.head, outcome.body, got=outcome.got
        )  # fmt: skip


def _send_of(context: ScriptContext, ask: Ask, client: int) -> Send:
    """Return the step of an act's request, which names the machine if the machine itself sends it."""
    success = CREATED if ask.call.operation in CREATING else OK
    send = call(context, ask.call, granted(success), client=client)
    machine = ask.machine
    if machine is None or ask.action is None:
        return send
    return msgspec.structs.replace(
        send, machine=machine.index, certificate=machine.certificate_number, consent=machine.consent_number
    )


def make_policy(
    context: ScriptContext, owner_id: str, rules: Mapping[str, Any] = RULES, *, client: int = 0
) -> Script[str]:
    """Create and activate a policy, and return its id. Raises PrerequisiteError."""
    return play(context, context.acts.make_policy(owner_id, dict(rules)), client=client)


def act(
    context: ScriptContext, machine: Machine, action: Action, policy_id: str = "", *, client: int = 0
) -> Script[None]:
    """Make one control-plane request of a machine, and apply its answer. Raises PrerequisiteError."""
    return play(context, context.acts.act(machine, action, policy_id), client=client)


def enrol(context: ScriptContext, owner_id: str, policy_id: str = "", *, client: int = 0) -> Script[Machine]:
    """Register a machine, and consent to it under `policy_id` or a new policy. Raises PrerequisiteError."""
    machine = context.new_machine(owner_id)
    yield from act(context, machine, Action.REGISTER, client=client)
    policy_id = policy_id or (yield from make_policy(context, owner_id, client=client))
    yield from act(context, machine, Action.CONSENT, policy_id, client=client)
    yield from act(context, machine, Action.FETCH_POLICY, client=client)
    return machine


def revoke(context: ScriptContext, machine: Machine, *, client: int = 0) -> Send:
    """Return the step that revokes a machine's consent. Pass its outcome to `revoked`."""
    ask = context.acts.revoke_ask(machine)
    expected_events = changed(machine.owner_id, Operation.CONSENT_REVOKE, ask.object_id)
    return call(context, ask.call, granted(OK), client=client, expected_events=expected_events)


def revoked(context: ScriptContext, machine: Machine, outcome: Outcome) -> None:
    """Record that a machine's consent was revoked, or may have been."""
    note_revocation(context.history, machine, outcome.sent_ns, outcome.answered_ns, sure=outcome.right)


def heartbeat(
    context: ScriptContext,
    machine: Machine,
    answer: Answer,
    because: str,
    *,
    nonce: bytes | None = None,
    skew_ns: int = 0,
    metrics: str = "{}",
    client: int = 0,
    **more: Any,
) -> Send:
    """Return the step of a correctly signed heartbeat, with a timestamp `skew_ns` off, and by default a fresh nonce.

    `more` are other arguments of `heartbeat_send`.
    """
    nonce = context.rng.bytes(NONCE_BYTES) if nonce is None else nonce
    timestamp = format_timestamp((context.wall() + skew_ns) // MILLISECOND_NS * MILLISECOND_NS)
    body = signed_heartbeat(machine.token, machine.worker_id, timestamp, nonce.hex(), machine.policy_id, metrics)
    return heartbeat_send(context, machine, body, heartbeat_gets(answer, because), nonce=nonce, client=client, **more)


def heartbeat_send(
    context: ScriptContext,
    machine: Machine,
    body: bytes,
    expect: Expect,
    *,
    nonce: bytes,
    client: int = 0,
    token: str | None = None,
    certificate_id: str | None = None,
    certificate: int = NONE,
) -> Send:
    """Return the step that sends any heartbeat body as a machine, by default with its own token and certificate.

    `certificate` is the history's number of `certificate_id`.
    """
    request = heartbeat_request(
        context.host,
        machine.worker_id,
        machine.token.decode() if token is None else token,
        machine.certificate_id if certificate_id is None else certificate_id,
        body,
    )
    certificate = machine.certificate_number if certificate_id is None else certificate
    return Send(
        request, expect, Operation.HEARTBEAT, machine.index, nonce, certificate, machine.consent_number, client,
    )  # fmt: skip


def policy_fetch(
    context: ScriptContext,
    machine: Machine,
    answer: Answer,
    because: str,
    *,
    client: int = 0,
    certificate_id: str | None = None,
    certificate: int = NONE,
) -> Send:
    """Return the step of a machine's policy fetch, by default with its own certificate."""
    headers = machine_headers(machine)
    if certificate_id is None:
        certificate = machine.certificate_number
    else:
        headers["X-Machine-Certificate-Id"] = certificate_id
    wanted = ApiCall(Operation.POLICY_FETCH, "GET", f"/workers/{machine.worker_id}/policy", headers)
    send = call(context, wanted, heartbeat_gets(answer, because), client=client)
    return msgspec.structs.replace(send, machine=machine.index, certificate=certificate, consent=machine.consent_number)


def consent_anew(context: ScriptContext, machine: Machine, *, client: int = 0) -> Script[None]:
    """Consent to a machine under a new policy, so that it can go on after a revocation. Raises PrerequisiteError."""
    policy_id = yield from make_policy(context, machine.owner_id, client=client)
    yield from act(context, machine, Action.CONSENT, policy_id, client=client)
    yield from act(context, machine, Action.FETCH_POLICY, client=client)


def denied(reason: str, actor_owner_id: str, object_id: str, owner_id: str) -> tuple[ExpectedEvent, ...]:
    """Return the audit event of an owner's refused action against `owner_id` (contract §2)."""
    owners = tuple(dict.fromkeys((owner_id, actor_owner_id)))
    return (ExpectedEvent("owner_access_denied", f"owner:{actor_owner_id}", object_id, owners, reason),)


def audit_page(context: ScriptContext, owner_id: str, query: str = "", *, client: int = 0) -> Script[dict[str, Any]]:
    """Read a page of an owner's audit list. Raises PrerequisiteError."""
    headers = owner_headers(context.token, owner_id)
    send = ask(context, "GET", f"/audit/events{query}", headers, granted(OK), client=client)
    outcome = yield from require(send, "read the audit list")
    return outcome.data()
