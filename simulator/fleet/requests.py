"""What machines and owners ask of the control plane, as values, and what the answers grant. No I/O."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.wire.canonical_json import canonical_json
from reference_server.wire.signing import sign_text
from reference_server.wire.units import MILLISECOND_NS
from simulator.contract.answers import Operation
from simulator.fleet.grants import Certificate, Consent, PolicyGrant, Registration, read_grant
from simulator.fleet.machine import Action
from simulator.history.records import CertificateRecord, ConsentRecord, Effect, MachineRecord
from simulator.limits import OWNERS_REMEMBERED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.fleet.machine import Machine
    from simulator.history.rows import History

ANY_OWNER = "hatchfarm-harness"
"""An owner whom nothing is registered for, who asks for what every owner is shown."""
ROTATION_SHARE_MAX = 0.8
"""The share of its certificate's life after which a machine rotates at the latest."""
ROTATION_MIN_NS = 200 * MILLISECOND_NS
"""How old a certificate becomes at least: no target can have a machine rotate without end."""


class ApiCall(msgspec.Struct, frozen=True):
    """One request to the API: `path` is below `/api/v1` unless `rooted`, `body` is sent as JSON."""

    operation: Operation
    method: str
    path: str
    headers: Mapping[str, str]
    body: Any = None
    rooted: bool = False

    def message(self, authority: str) -> bytes:
        """Write it as an HTTP/1.1 message."""
        payload = b"" if self.body is None else msgspec.json.encode(self.body)
        return http_message(self.method, self.full_path, authority, self.headers, payload)

    @property
    def full_path(self) -> str:
        """Return the path as it is sent."""
        return self.path if self.rooted else "/api/v1" + self.path


def http_message(method: str, path: str, authority: str, headers: Mapping[str, str], payload: bytes = b"") -> bytes:
    """Write an HTTP/1.1 message with a JSON body, or none."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {authority}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if payload:
        lines.append("Content-Type: application/json")
    if payload or method == "POST":
        lines.append(f"Content-Length: {len(payload)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + payload


def owner_headers(token: str, owner_id: str | None = None) -> dict[str, str]:
    """Return an owner's headers."""
    headers = {"Authorization": f"Bearer {token}"}
    if owner_id is not None:
        headers["X-Owner-ID"] = owner_id
    return headers


def machine_headers(machine: Machine) -> dict[str, str]:
    """Return a machine's headers."""
    return {"X-Machine-Token": machine.token.decode(), "X-Machine-Certificate-Id": machine.certificate_id}


def policy_call(token: str, owner_id: str, rules: dict[str, Any]) -> ApiCall:
    """Create a signed policy draft."""
    signature = sign_text(token.encode(), f"{owner_id}|{canonical_json(rules)}").decode()
    body = {"owner_id": owner_id, "rules": rules, "signature": signature}
    return ApiCall(Operation.POLICY_CREATE, "POST", "/policies", owner_headers(token, owner_id), body)


def activate_call(token: str, owner_id: str, policy_id: str) -> ApiCall:
    """Activate a policy."""
    path = f"/policies/{policy_id}/activate"
    return ApiCall(Operation.POLICY_ACTIVATE, "POST", path, owner_headers(token, owner_id))


def consent_call(token: str, owner_id: str, worker_id: str, policy_id: str) -> ApiCall:
    """Consent that a worker runs under a policy."""
    signature = sign_text(token.encode(), f"{owner_id}|{worker_id}|{policy_id}").decode()
    body = {"owner_id": owner_id, "worker_id": worker_id, "policy_id": policy_id, "signature": signature}
    return ApiCall(Operation.CONSENT_CREATE, "POST", "/consents", owner_headers(token, owner_id), body)


def revoke_call(token: str, owner_id: str, consent_id: str) -> ApiCall:
    """Revoke a consent."""
    path = f"/consents/{consent_id}/revoke"
    return ApiCall(Operation.CONSENT_REVOKE, "POST", path, owner_headers(token, owner_id))


def call_of(machine: Machine, action: Action, token: str, policy_id: str) -> ApiCall:
    """Return the call for what a machine, or its owner for it, wants done; `policy_id` is what it will consent to."""
    owner_id = machine.owner_id
    if action is Action.REGISTER:
        body = {"owner_id": owner_id, "name": machine.name}
        return ApiCall(Operation.REGISTER, "POST", "/machines/register", owner_headers(token, owner_id), body)
    if action is Action.CONSENT:
        return consent_call(token, owner_id, machine.worker_id, policy_id)
    if action is Action.FETCH_POLICY:
        path = f"/workers/{machine.worker_id}/policy"
        return ApiCall(Operation.POLICY_FETCH, "GET", path, machine_headers(machine))
    headers = {**owner_headers(token, owner_id), "X-Machine-Token": machine.token.decode()}
    return ApiCall(Operation.CERTIFICATE, "POST", f"/machines/{machine.worker_id}/certificate", headers)


def apply_grant(
    history: History,
    machine: Machine,
    action: Action,
    data: Mapping[str, Any],
    sent_ns: int,
    answered_ns: int,
    rotation_ns: int,
    spread: float = 1.0,
) -> None:
    """Put what an answer grants into a machine, and note it in the history.

    `rotation_ns` is how old its certificate may become, times `spread`, so that no fleet rotates at once. Raises
    GrantError for an answer that does not hold what the contract says; then nothing is changed.
    """
    owner_id = machine.owner_id

    def issued(certificate: Certificate) -> tuple[str, int]:
        life_ns = certificate.life_ns
        certificate_id = certificate.certificate_id
        record = CertificateRecord(machine.index, certificate_id, sent_ns, answered_ns, life_ns)
        machine.previous_certificate_number = machine.certificate_number
        machine.certificate_number = history.add_certificate(record)
        age_ns = max(min(rotation_ns, life_ns * ROTATION_SHARE_MAX), ROTATION_MIN_NS)
        return certificate_id, answered_ns + int(age_ns * spread)

    if action is Action.REGISTER:
        registration = read_grant(Registration, data)
        worker_id = registration.machine.id
        certificate_id, until_ns = issued(registration.machine_certificate)
        machine.registered(worker_id, registration.machine_token, certificate_id, until_ns)
        history.machines[machine.index] = MachineRecord(worker_id, owner_id)
        note(history, sent_ns, answered_ns, "machine_registered", owner_id, worker_id)
    elif action is Action.CONSENT:
        consent = read_grant(Consent, data)
        consent_id = consent.id
        record = ConsentRecord(machine.index, consent.policy_id or "", consent_id, sent_ns, answered_ns)
        machine.consent_number = history.add_consent(record)
        machine.consented = True
        note(history, sent_ns, answered_ns, "consent_created", owner_id, consent_id)
    elif action is Action.FETCH_POLICY:
        grant = read_grant(PolicyGrant, data)
        machine.fetched_policy(grant.policy.id, grant.rules, answered_ns)
    else:
        certificate_id, until_ns = issued(read_grant(Certificate, data))
        machine.rotated(certificate_id, answered_ns, until_ns)
        note(history, sent_ns, answered_ns, "machine_certificate_issued", owner_id, machine.worker_id)


def note(
    history: History,
    sent_ns: int,
    answered_ns: int,
    event: str,
    owner_id: str,
    object_id: str = "",
    *,
    sure: bool = True,
) -> None:
    """Note the audit event that an owner's change must leave in the owner's own stream."""
    actor, owners = _as_owner(owner_id)
    history.effects.append(Effect(sent_ns, answered_ns, event, actor, object_id, owners, "", sure))


@lru_cache(maxsize=OWNERS_REMEMBERED)
def _as_owner(owner_id: str) -> tuple[str, tuple[str]]:
    """Return an owner as its events name it, and as the one whose stream they are in: the same for all its machines."""
    return f"owner:{owner_id}", (owner_id,)


EVENT_OF = {
    Operation.REGISTER: "machine_registered",
    Operation.CERTIFICATE: "machine_certificate_issued",
    Operation.POLICY_CREATE: "policy_created",
    Operation.POLICY_ACTIVATE: "policy_activated",
    Operation.CONSENT_CREATE: "consent_created",
    Operation.CONSENT_REVOKE: "consent_revoked",
}
"""The audit event of each change that succeeds (contract §3)."""
