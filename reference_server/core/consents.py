"""Consents that bind a worker to a policy version, their revocation and their storage (contract §3, §4, §7)."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.core.attending import bring_up
from reference_server.core.changes import Kind, change
from reference_server.core.machines import INVALID_OWNER_ID
from reference_server.core.market.changes import end_consent as stop_offering
from reference_server.core.records import Consent
from reference_server.core.table import Table
from reference_server.wire.ids import CONSENT_ID
from reference_server.wire.replies import FORBIDDEN, FULL, failure, success
from reference_server.wire.rules import valid_owner_id
from reference_server.wire.schema1 import CONSENTS, ConsentRecord
from reference_server.wire.sections import kept_time
from reference_server.wire.signing import matches, sign_text
from reference_server.wire.timestamps import format_timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reference_server.core.calls import Call
    from reference_server.core.state import State
    from reference_server.wire.state_file import StateFile
    from reference_server.wire.values import Instant, Reply

FIELDS_REQUIRED = failure(HTTPStatus.BAD_REQUEST, "owner_id, worker_id, policy_id, signature are required")
INVALID_SIGNATURE = failure(HTTPStatus.UNAUTHORIZED, "invalid consent signature")
WORKER_NOT_FOUND = failure(HTTPStatus.BAD_REQUEST, "worker not found for owner")
POLICY_NOT_FOUND = failure(HTTPStatus.BAD_REQUEST, "active policy not found for owner")
ALREADY_REVOKED = failure(HTTPStatus.CONFLICT, "consent already revoked for this policy version")
CONSENT_NOT_FOUND = failure(HTTPStatus.NOT_FOUND, "consent not found")


class ConsentRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /consents`."""

    owner_id: str = ""
    worker_id: str = ""
    policy_id: str = ""
    signature: str = ""


@change(Kind.CONSENT)
def add_consent(state: State, at: Instant, consent_id: str, worker_id: str, policy_id: str, signature: str) -> None:
    """Bind a worker to a policy version."""
    worker = state.workers[worker_id]
    # The ids of the records themselves, so that consents share one copy of each text.
    policy_id = state.policies[policy_id].id
    consent = Consent(consent_id, worker.owner.id, worker.id, policy_id, signature, at.wall_ns)
    state.consents[consent_id] = consent
    worker.consents[policy_id] = consent


@change(Kind.REVOCATION, fencing=True)
def end_consent(state: State, at: Instant, consent_id: str) -> None:
    """End a consent permanently; its machine offers nothing under it any more."""
    consent = state.consents[consent_id]
    consent.revoked_ns = at.wall_ns
    stop_offering(state.market, consent.worker_id, consent.policy_id)


def show_consent(consent: Consent) -> dict[str, Any]:
    """Return a consent as the API shows it."""
    shown = {
        "id": consent.id,
        "owner_id": consent.owner_id,
        "worker_id": consent.worker_id,
        "policy_id": consent.policy_id,
        "signature": consent.signature,
        "effective_at": format_timestamp(consent.effective_ns),
    }
    if consent.revoked_ns is not None:
        shown["revoked_at"] = format_timestamp(consent.revoked_ns)
    return shown


def create_consent(state: State, call: Call[ConsentRequest]) -> Reply:
    """`POST /consents`. A repeated consent to the same worker and policy returns the existing one."""
    body = call.body
    owner_id, worker_id, policy_id = body.owner_id, body.worker_id, body.policy_id
    if not (owner_id and worker_id and policy_id and body.signature):
        return FIELDS_REQUIRED
    if not valid_owner_id(owner_id):
        return INVALID_OWNER_ID
    if call.owner_id and call.owner_id != owner_id:
        state.deny_owner(call.now, "owner_mismatch", call.owner_id, "", owner_id)
        return FORBIDDEN
    if not matches(sign_text(state.api_token, f"{owner_id}|{worker_id}|{policy_id}"), body.signature):
        state.deny_owner(call.now, "invalid_consent_signature", owner_id, worker_id, owner_id)
        return INVALID_SIGNATURE
    worker = state.workers.get(worker_id)
    if worker is None or worker.owner.id != owner_id:
        resource_owner_id = owner_id if worker is None else worker.owner.id
        state.deny_owner(call.now, "worker_not_found_for_owner", owner_id, worker_id, resource_owner_id)
        return WORKER_NOT_FOUND
    policy = state.policies.get(policy_id)
    if policy is None or policy.owner_id != owner_id or not policy.active:
        resource_owner_id = owner_id if policy is None else policy.owner_id
        state.deny_owner(call.now, "active_policy_not_found_for_owner", owner_id, policy_id, resource_owner_id)
        return POLICY_NOT_FOUND
    consent = worker.consents.get(policy_id)
    if consent is not None:
        if consent.revoked_ns is None:
            return success(show_consent(consent), HTTPStatus.CREATED)
        state.deny_owner(call.now, "consent_revoked", owner_id, worker_id, owner_id)
        return ALREADY_REVOKED
    if not TABLE.has_room(state):
        return FULL
    consent_id = state.new_id(CONSENT_ID)
    add_consent(state, call.now, consent_id, worker_id, policy_id, body.signature)
    metadata = {"worker_id": worker_id, "policy_id": policy_id}
    state.audit(call.now, "consent_created", f"owner:{owner_id}", consent_id, metadata, (owner_id,))
    return success(show_consent(state.consents[consent_id]), HTTPStatus.CREATED)


def revoke_consent(state: State, call: Call[bytes]) -> Reply:
    """`POST /consents/{id}/revoke`. Repeated revocations change nothing."""
    (consent_id,) = call.ids
    if not call.owner_id:
        return FORBIDDEN
    consent = state.consents.get(consent_id)
    if consent is None:
        return CONSENT_NOT_FOUND
    if consent.owner_id != call.owner_id:
        state.deny_owner(call.now, "not_the_owner", call.owner_id, consent_id, consent.owner_id)
        return FORBIDDEN
    if consent.revoked_ns is None:
        bring_up(state, call.now)
        end_consent(state, call.now, consent_id)
        metadata = {"worker_id": consent.worker_id, "policy_id": consent.policy_id}
        state.audit(call.now, "consent_revoked", f"owner:{call.owner_id}", consent_id, metadata, (call.owner_id,))
        bring_up(state, call.now)  # requeues the jobs of its machine at once
    return success(show_consent(consent))


def _keep(state: State) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((consent.id, show_consent(consent)) for consent in state.consents.values())


def _restore(state: State, file: StateFile, _now: Instant) -> None:
    """Files from elsewhere may have several consents for a pair: one that is not revoked counts, else the newest."""
    records = CONSENTS.of(file.sections).values()
    for consent in sorted(records, key=lambda consent: kept_time(consent.effective_at) or 0):
        worker = state.workers[consent.worker_id]
        revoked_ns = None if consent.revoked_at is None else kept_time(consent.revoked_at) or 0
        state.consents[consent.id] = restored = Consent(
            consent.id,
            worker.owner.id,
            worker.id,
            state.policies[consent.policy_id].id,
            consent.signature,
            kept_time(consent.effective_at) or 0,
            revoked_ns,
        )
        other = worker.consents.get(consent.policy_id)
        if other is None or other.revoked_ns is not None or revoked_ns is None:
            # Removed first, so that the newest comes last in the dict.
            worker.consents.pop(consent.policy_id, None)
            worker.consents[restored.policy_id] = restored


TABLE: Table[dict[str, Consent], ConsentRecord] = Table(section=CONSENTS, keep=_keep, restore=_restore)
