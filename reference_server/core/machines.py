"""Machines and their certificates: registration, rotation and storage (contract §3, §7)."""

from __future__ import annotations

from bisect import insort
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.core.changes import Kind, change
from reference_server.core.records import Certificate, Worker
from reference_server.core.table import Table
from reference_server.limits import TEXT_MAX_CHARACTERS, UNKNOWN_ID_MAX_CHARACTERS
from reference_server.wire.ids import CERTIFICATE_ID, WORKER_ID
from reference_server.wire.replies import FORBIDDEN, FULL, UNAUTHORIZED, failure, success
from reference_server.wire.rules import valid_owner_id
from reference_server.wire.schema1 import CERTIFICATES, MACHINES, CertificateRecord, MachineRecord
from reference_server.wire.sections import kept_time
from reference_server.wire.signing import certificate_payload, matches
from reference_server.wire.state_file import StateFileError
from reference_server.wire.timestamps import format_timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reference_server.core.calls import Call
    from reference_server.core.state import State
    from reference_server.wire.state_file import StateFile
    from reference_server.wire.values import Instant, Reply

OWNER_AND_NAME_REQUIRED = failure(HTTPStatus.BAD_REQUEST, "owner_id and name are required")
INVALID_OWNER_ID = failure(HTTPStatus.BAD_REQUEST, "invalid owner_id")
INVALID_NAME = failure(HTTPStatus.BAD_REQUEST, "invalid name")
MACHINE_NOT_FOUND = failure(HTTPStatus.NOT_FOUND, "machine not found")


class Registration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /machines/register`."""

    owner_id: str = ""
    name: str = ""


def certificate_at(at: Instant, certificate_id: str, issued_ns: int, expires_ns: int, signature: str) -> Certificate:
    """Return a certificate whose remaining life from `at` on is measured by the monotonic clock.

    It never lives longer than it was issued for, even if the wall clock was set back since.
    """
    expires_monotonic_ns = at.monotonic_ns + expires_ns - max(at.wall_ns, issued_ns)
    return Certificate(certificate_id, issued_ns, expires_ns, expires_monotonic_ns, signature)


@change(Kind.MACHINE)
def register_machine(
    state: State,
    at: Instant,
    worker_id: str,
    owner_id: str,
    name: str,
    token: str,
    certificate_id: str,
    expires_ns: int,
    signature: str,
) -> None:
    """Add a machine with its first certificate. Its owner must have a record, or there must be room for one."""
    owner = state.owner(owner_id)
    if owner is None:
        raise ValueError("no room for another owner")
    certificate = certificate_at(at, certificate_id, at.wall_ns, expires_ns, signature)
    worker = Worker(worker_id, owner, name, token.encode(), at.wall_ns, len(state.workers), certificate)
    state.workers[worker_id] = worker
    insort(owner.workers, worker_id)
    state.fleet.add(worker)


@change(Kind.CERTIFICATE, fencing=True)
def replace_certificate(
    state: State, at: Instant, worker_id: str, certificate_id: str, expires_ns: int, signature: str
) -> None:
    """Replace a machine's certificate; the old one is invalid from then on."""
    state.workers[worker_id].certificate = certificate_at(at, certificate_id, at.wall_ns, expires_ns, signature)


def issue_certificate(state: State, now: Instant, machine_id: str) -> Certificate:
    """Return a new signed certificate, without storing it."""
    certificate_id = state.new_id(CERTIFICATE_ID)
    expires_ns = now.wall_ns + state.certificate_life_ns
    payload = certificate_payload(
        certificate_id,
        machine_id,
        format_timestamp(now.wall_ns),
        format_timestamp(expires_ns),
    )
    return certificate_at(now, certificate_id, now.wall_ns, expires_ns, state.signer.sign(payload))


def show_certificate(machine_id: str, certificate: Certificate) -> dict[str, str]:
    """Return a certificate as the API shows it."""
    return {
        "certificate_id": certificate.certificate_id,
        "machine_id": machine_id,
        "issued_at": format_timestamp(certificate.issued_ns),
        "expires_at": format_timestamp(certificate.expires_ns),
        "signature": certificate.signature,
    }


def register(state: State, call: Call[Registration]) -> Reply:
    """`POST /machines/register`."""
    body = call.body
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
    if not state.has_room_for(owner_id) or not TABLE.has_room(state):
        return FULL
    worker_id = state.new_id(WORKER_ID)
    token = state.entropy.hex(48)
    now = call.now
    certificate = issue_certificate(state, now, worker_id)
    register_machine(
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
        HTTPStatus.CREATED,
    )


def rotate_certificate(state: State, call: Call[bytes]) -> Reply:
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
    replace_certificate(state, call.now, machine_id, certificate_id, certificate.expires_ns, certificate.signature)
    metadata = {"certificate_id": certificate_id}
    actor = f"owner:{call.owner_id}"
    state.audit(call.now, "machine_certificate_issued", actor, machine_id, metadata, (call.owner_id,))
    return success(show_certificate(machine_id, certificate))


def _keep(state: State) -> Iterator[tuple[str, MachineRecord]]:
    for worker in state.workers.values():
        created_at = format_timestamp(worker.created_ns)
        yield worker.id, MachineRecord(worker.id, worker.owner.id, worker.name, worker.token.decode(), created_at)


def _keep_certificates(state: State) -> Iterator[tuple[str, dict[str, str]]]:
    return ((worker.id, show_certificate(worker.id, worker.certificate)) for worker in state.workers.values())


def _restore(state: State, file: StateFile, now: Instant) -> None:
    certificates = CERTIFICATES.of(file.sections)
    for machine in MACHINES.of(file.sections).values():
        owner = state.owner(machine.owner_id)
        if owner is None:
            raise StateFileError("it has more owners than this server can hold")
        kept = certificates[machine.id]
        issued_ns, expires_ns = kept_time(kept.issued_at) or 0, kept_time(kept.expires_at) or 0
        worker = Worker(
            machine.id,
            owner,
            machine.name,
            machine.secret.encode(),
            kept_time(machine.created_at) or 0,
            len(state.workers),
            certificate_at(now, kept.certificate_id, issued_ns, expires_ns, kept.signature),
        )
        state.workers[machine.id] = worker
        owner.workers.append(machine.id)
        state.fleet.add(worker)
    for owner in state.owners.values():
        owner.workers.sort()  # once at the end: sorted insertion would move all later entries each time


def _restore_nothing(_state: State, _file: StateFile, _now: Instant) -> None:
    """Do nothing: a certificate is restored with its machine."""


TABLE: Table[dict[str, Worker], MachineRecord] = Table(section=MACHINES, keep=_keep, restore=_restore)
CERTIFICATE_TABLE: Table[Any, CertificateRecord] = Table(
    section=CERTIFICATES, keep=_keep_certificates, restore=_restore_nothing
)
"""The table of certificates, each of which is stored in its machine's record."""
