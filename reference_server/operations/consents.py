"""The operations on consents (contract §3, §4)."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from reference_server.core import consents
from reference_server.core.machines import INVALID_OWNER_ID
from reference_server.operations.callers import OWNER
from reference_server.operations.fields import (  # noqa: TC001 - msgspec reads a struct's types later
    ConsentId,
    OwnerId,
    PolicyId,
    Signature,
    Timestamp,
    WorkerId,
)
from reference_server.operations.operation import Answer, Operation
from reference_server.wire.replies import FORBIDDEN, FULL


class ConsentToGive(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which worker may run under which policy version, signed by the owner."""

    owner_id: OwnerId
    worker_id: WorkerId
    policy_id: PolicyId
    signature: Signature


class Consent(msgspec.Struct, frozen=True):
    """A consent; `revoked_at` is there once it is revoked."""

    id: ConsentId
    owner_id: OwnerId
    worker_id: WorkerId
    policy_id: PolicyId
    signature: Signature
    effective_at: Timestamp
    revoked_at: Timestamp | msgspec.UnsetType = msgspec.UNSET


OPERATIONS = (
    Operation(
        "POST",
        "/consents",
        OWNER,
        consents.create_consent,
        body=consents.ConsentRequest,
        described=ConsentToGive,
        answers=(
            Answer(HTTPStatus.CREATED, Consent),
            consents.FIELDS_REQUIRED,
            INVALID_OWNER_ID,
            FORBIDDEN,
            consents.INVALID_SIGNATURE,
            consents.WORKER_NOT_FOUND,
            consents.POLICY_NOT_FOUND,
            consents.ALREADY_REVOKED,
            FULL,
        ),
        summary="Consent that a worker runs under a policy version.",
    ),
    Operation(
        "POST",
        "/consents/{id}/revoke",
        OWNER,
        consents.revoke_consent,
        answers=(Answer(HTTPStatus.OK, Consent), FORBIDDEN, consents.CONSENT_NOT_FOUND),
        summary="Revoke a consent for good. Repeating it changes nothing.",
    ),
)
