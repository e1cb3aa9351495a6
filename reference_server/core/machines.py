"""Registering machines and rotating their certificates (contract §3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from reference_server.core import changes
from reference_server.core.calls import Call, decode_body
from reference_server.limits import MACHINES_MAX, TEXT_MAX_CHARACTERS, UNKNOWN_ID_MAX_CHARACTERS
from reference_server.wire.replies import FORBIDDEN, FULL, INVALID_REQUEST, UNAUTHORIZED, failure, success
from reference_server.wire.rules import valid_owner_id
from reference_server.wire.signing import certificate_payload, matches
from reference_server.wire.timestamps import format_timestamp

if TYPE_CHECKING:
    from reference_server.core.state import Certificate, State
    from reference_server.wire.values import Instant, Reply

OWNER_AND_NAME_REQUIRED = failure(400, "owner_id and name are required")
INVALID_OWNER_ID = failure(400, "invalid owner_id")
INVALID_NAME = failure(400, "invalid name")
MACHINE_NOT_FOUND = failure(404, "machine not found")


class Registration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a registration."""

    owner_id: str = ""
    name: str = ""


def issue_certificate(state: State, now: Instant, machine_id: str) -> Certificate:
    """Sign a new certificate. It is nobody's yet."""
    certificate_id = "mcert_" + state.entropy.hex(20)
    expires_ns = now.wall_ns + state.certificate_life_ns
    payload = certificate_payload(
        certificate_id,
        machine_id,
        format_timestamp(now.wall_ns),
        format_timestamp(expires_ns),
    )
    return changes.certificate_at(now, certificate_id, now.wall_ns, expires_ns, state.signer.sign(payload))


def show_certificate(machine_id: str, certificate: Certificate) -> dict[str, str]:
    """Shape a certificate as the API shows it."""
    return {
        "certificate_id": certificate.certificate_id,
        "machine_id": machine_id,
        "issued_at": format_timestamp(certificate.issued_ns),
        "expires_at": format_timestamp(certificate.expires_ns),
        "signature": certificate.signature,
    }


def register(state: State, call: Call) -> Reply:
    """`POST /machines/register`."""
    body = decode_body(call.body, Registration)
    if body is None:
        return INVALID_REQUEST
    if not (body.owner_id and body.name):
        return OWNER_AND_NAME_REQUIRED
    if not valid_owner_id(body.owner_id):
        return INVALID_OWNER_ID
    if len(body.name) > TEXT_MAX_CHARACTERS:
        return INVALID_NAME
    if call.owner_id and call.owner_id != body.owner_id:
        state.deny_owner(call.now, "owner_mismatch", call.owner_id, "", body.owner_id)
        return FORBIDDEN
    owner_id = body.owner_id
    if not state.has_room_for(owner_id) or len(state.workers) >= MACHINES_MAX:
        return FULL
    worker_id = "wrk_" + state.entropy.hex(16)
    token = state.entropy.hex(48)
    now = call.now
    certificate = issue_certificate(state, now, worker_id)
    changes.register_machine(
        state,
        now,
        worker_id,
        owner_id,
        body.name,
        token,
        certificate.certificate_id,
        certificate.expires_ns,
        certificate.signature,
    )
    state.audit(now, "machine_registered", f"owner:{owner_id}", worker_id, {"name": body.name}, (owner_id,))
    return success(
        {
            "machine": {
                "id": worker_id,
                "owner_id": owner_id,
                "name": body.name,
                "created_at": format_timestamp(now.wall_ns),
            },
            "machine_token": token,
            "machine_certificate": show_certificate(worker_id, certificate),
        },
        201,
    )


def rotate_certificate(state: State, call: Call) -> Reply:
    """`POST /machines/{id}/certificate`."""
    (machine_id,) = call.ids
    token = call.headers.get("x-machine-token", "")
    if not call.owner_id:
        return FORBIDDEN
    worker = state.workers.get(machine_id)

    def deny(reason: str, reply: Reply) -> Reply:
        owners = (call.owner_id,) if worker is None else (worker.owner.id, call.owner_id)
        shown = machine_id[:UNKNOWN_ID_MAX_CHARACTERS]
        actor = f"owner:{call.owner_id}"
        state.audit(call.now, "machine_certificate_issue_denied", actor, shown, {"reason": reason}, owners)
        return reply

    if not token:
        return deny("missing_machine_token", UNAUTHORIZED)
    if worker is None:
        return deny("machine_not_found", MACHINE_NOT_FOUND)
    if worker.owner.id != call.owner_id:
        return deny("owner_mismatch", FORBIDDEN)
    if not matches(worker.token, token):
        return deny("invalid_machine_token", UNAUTHORIZED)
    certificate = issue_certificate(state, call.now, machine_id)
    certificate_id = certificate.certificate_id
    changes.replace_certificate(
        state, call.now, machine_id, certificate_id, certificate.expires_ns, certificate.signature
    )
    metadata = {"certificate_id": certificate_id}
    actor = f"owner:{call.owner_id}"
    state.audit(call.now, "machine_certificate_issued", actor, machine_id, metadata, (call.owner_id,))
    return success(show_certificate(machine_id, certificate))
