"""What scripts do over and over: set up owners and machines of their own, send heartbeats, look at what is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.wire.timestamps import format_timestamp
from simulator.attacks.catalogue import NONCE_BYTES
from simulator.attacks.script import (
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
from simulator.fleet.grants import GrantError, read_id
from simulator.fleet.machine import MILLISECOND_NS, Action, Machine, heartbeat_request, signed_heartbeat
from simulator.fleet.requests import (
    EVENT_OF,
    ApiCall,
    activate_call,
    apply_grant,
    call_of,
    machine_headers,
    note,
    owner_headers,
    policy_call,
    revoke_call,
)
from simulator.history.records import Revocation
from simulator.history.rows import NEVER_NS, NO_MACHINE, NONE

if TYPE_CHECKING:
    from collections.abc import Mapping

CREATED, OK = 201, 200
RULES: Mapping[str, Any] = {"max_cpu_percent": 50}
_SUCCESS = {Action.REGISTER: CREATED, Action.CONSENT: CREATED}


def call(
    context: ScriptContext,
    wanted: ApiCall,
    expect: Expect,
    *,
    client: int = 0,
    expected_events: tuple[ExpectedEvent, ...] = (),
    machine: int = NO_MACHINE,
) -> Send:
    """Make a step of a call of the API; `machine` is the number of the one that it is about."""
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
    """Make a step of any request below `/api/v1`; `more` is what `Send` takes besides."""
    return Send(ApiCall(Operation.OTHER, method, path, headers, body).message(context.host), expect, **more)


def require(send: Send, what: str) -> Script[Outcome]:
    """Do a step that the rest builds on. Raises PrerequisiteError when it does not get the answer it needs."""
    outcome: Outcome = yield send
    if not outcome.right:
        raise PrerequisiteError(f"{what}: {answered(outcome)}")
    return outcome


def answered(outcome: Outcome) -> str:
    """Return what came of a step that was not answered as what follows needs."""
    return f"it got HTTP {outcome.status}" if outcome.status else "no whole answer came"


def new_id(outcome: Outcome, what: str) -> str:
    """Return the id of what a step created. Raises PrerequisiteError when there is none that can be used."""
    try:
        return read_id(outcome.data())
    except GrantError as error:
        raise PrerequisiteError(f"{what}: an answer that the contract does not allow ({error})") from None


def changed(owner_id: str, operation: Operation, object_id: str = "") -> tuple[ExpectedEvent, ...]:
    """Return which event an owner's change expected_events."""
    return (ExpectedEvent(EVENT_OF[operation], f"owner:{owner_id}", object_id, (owner_id,)),)


def make_policy(
    context: ScriptContext, owner_id: str, rules: Mapping[str, Any] = RULES, *, client: int = 0
) -> Script[str]:
    """Create and activate a policy; returns its id."""
    create = policy_call(context.token, owner_id, dict(rules))
    expected_events = changed(owner_id, Operation.POLICY_CREATE)
    outcome = yield from require(
        call(context, create, granted(CREATED), client=client, expected_events=expected_events), "create a policy"
    )
    policy_id = new_id(outcome, "create a policy")
    activate = activate_call(context.token, owner_id, policy_id)
    expected_events = changed(owner_id, Operation.POLICY_ACTIVATE, policy_id)
    yield from require(
        call(context, activate, granted(OK), client=client, expected_events=expected_events), "activate a policy"
    )
    return policy_id


def act(
    context: ScriptContext, machine: Machine, action: Action, policy_id: str = "", *, client: int = 0
) -> Script[Outcome]:
    """Do one control-plane action of a machine, and let it take the answer. Raises PrerequisiteError."""
    wanted = call_of(machine, action, context.token, policy_id)
    expect = granted(_SUCCESS.get(action, OK))
    send = Send(
        wanted.message(context.host), expect, wanted.operation, machine.index, client=client,
        certificate=machine.certificate_number, consent=machine.consent_number,
    )  # fmt: skip
    sent_ns = context.now()
    event = EVENT_OF.get(wanted.operation)
    try:
        outcome: Outcome = yield send
    except GeneratorExit:  # cut off by the end of the run: it may take effect all the same
        if event is not None:
            note(context.history, sent_ns, NEVER_NS, event, machine.owner_id, sure=False)
        raise
    if not outcome.right:
        if event is not None and outcome.got in {Answer.LOST, Answer.UNAVAILABLE, Answer.FAILED}:
            note(context.history, sent_ns, outcome.answered_ns, event, machine.owner_id, sure=False)
        raise PrerequisiteError(f"{action.name.lower()}: {answered(outcome)}")
    try:
        apply_grant(
            context.history, machine, action, outcome.data(), outcome.sent_ns, outcome.answered_ns, context.rotation_ns
        )
    except GrantError as error:
        if event is not None:
            note(context.history, sent_ns, outcome.answered_ns, event, machine.owner_id, sure=False)
        raise PrerequisiteError(
            f"{action.name.lower()}: an answer that the contract does not allow ({error})"
        ) from None
    return outcome


def enrol(context: ScriptContext, owner_id: str, policy_id: str = "", *, client: int = 0) -> Script[Machine]:
    """Register a machine, and have it consented to under a policy, a new one unless given. Raises PrerequisiteError."""
    machine = context.new_machine(owner_id)
    yield from act(context, machine, Action.REGISTER, client=client)
    policy_id = policy_id or (yield from make_policy(context, owner_id, client=client))
    yield from act(context, machine, Action.CONSENT, policy_id, client=client)
    yield from act(context, machine, Action.FETCH_POLICY, client=client)
    return machine


def revoke(context: ScriptContext, machine: Machine, *, client: int = 0) -> Send:
    """Make the step that revokes a machine's consent. `revoked` must be told of its outcome."""
    consent = context.history.consents[machine.consent_number - 1]
    wanted = revoke_call(context.token, machine.owner_id, consent.consent_id)
    expected_events = changed(machine.owner_id, Operation.CONSENT_REVOKE, consent.consent_id)
    return call(context, wanted, granted(OK), client=client, expected_events=expected_events)


def revoked(context: ScriptContext, machine: Machine, outcome: Outcome) -> None:
    """Note that a machine's consent was revoked, or may have been."""
    answered_ns = outcome.answered_ns if outcome.right else NEVER_NS
    context.history.revocations.append(Revocation(machine.consent_number, outcome.sent_ns, answered_ns))


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
    """Make the step of a rightly signed heartbeat, stamped `skew_ns` off, with a fresh nonce unless given.

    `more` is what `heartbeat_send` takes besides.
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
    """Make the step of any heartbeat body sent as a machine; token and certificate are its own unless given.

    `certificate` is the history's number of a certificate that is given.
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
    """Make the step of a machine's policy fetch, under its own certificate unless another is given with its number."""
    headers = machine_headers(machine)
    if certificate_id is None:
        certificate = machine.certificate_number
    else:
        headers["X-Machine-Certificate-Id"] = certificate_id
    wanted = ApiCall(Operation.POLICY_FETCH, "GET", f"/workers/{machine.worker_id}/policy", headers)
    send = call(context, wanted, heartbeat_gets(answer, because), client=client)
    return msgspec.structs.replace(send, machine=machine.index, certificate=certificate, consent=machine.consent_number)


def consent_anew(context: ScriptContext, machine: Machine, *, client: int = 0) -> Script[None]:
    """Have a machine consented to under a new policy, so that it may go on after a revoke. Raises PrerequisiteError."""
    policy_id = yield from make_policy(context, machine.owner_id, client=client)
    yield from act(context, machine, Action.CONSENT, policy_id, client=client)
    yield from act(context, machine, Action.FETCH_POLICY, client=client)


def denied(reason: str, actor_owner_id: str, object_id: str, owner_id: str) -> tuple[ExpectedEvent, ...]:
    """Return which event an owner's refused action leaves, for `owner_id` on whom it was tried (contract §2)."""
    owners = tuple(dict.fromkeys((owner_id, actor_owner_id)))
    return (ExpectedEvent("owner_access_denied", f"owner:{actor_owner_id}", object_id, owners, reason),)


def audit_page(context: ScriptContext, owner_id: str, query: str = "", *, client: int = 0) -> Script[dict[str, Any]]:
    """Read a page of an owner's audit list. Raises PrerequisiteError."""
    headers = owner_headers(context.token, owner_id)
    send = ask(context, "GET", f"/audit/events{query}", headers, granted(OK), client=client)
    outcome = yield from require(send, "read the audit list")
    return outcome.data()
