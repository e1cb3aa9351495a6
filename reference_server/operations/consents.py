"""The operations on consents (contract §3, §4)."""

from __future__ import annotations

from http import HTTPStatus

from reference_server.core import consents
from reference_server.core.machines import INVALID_OWNER_ID
from reference_server.operations.callers import OWNER
from reference_server.operations.operation import Answer, Operation
from reference_server.wire.replies import FORBIDDEN, FULL
from reference_server.wire.schema1 import ConsentRecord

OPERATIONS = (
    Operation(
        "POST",
        "/consents",
        OWNER,
        consents.create_consent,
        body=consents.ConsentRequest,
        answers=(
            Answer(HTTPStatus.CREATED, ConsentRecord),
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
        answers=(Answer(HTTPStatus.OK, ConsentRecord), FORBIDDEN, consents.CONSENT_NOT_FOUND),
        summary="Revoke a consent for good. Repeating it changes nothing.",
    ),
)
