"""The operations on policies (contract §3, §5)."""

from __future__ import annotations

from http import HTTPStatus

from reference_server.core import policies
from reference_server.core.machines import INVALID_OWNER_ID
from reference_server.operations.callers import OWNER
from reference_server.operations.operation import ANY, Answer, Operation
from reference_server.wire.replies import FORBIDDEN, FULL
from reference_server.wire.schema1 import PolicyRecord

OPERATIONS = (
    Operation(
        "POST",
        "/policies",
        OWNER,
        policies.create_policy,
        body=policies.PolicyRequest,
        read=policies.read_policy_request,
        answers=(
            Answer(HTTPStatus.CREATED, PolicyRecord),
            policies.OWNER_AND_SIGNATURE_REQUIRED,
            INVALID_OWNER_ID,
            Answer(HTTPStatus.BAD_REQUEST, error=ANY),
            FORBIDDEN,
            policies.INVALID_SIGNATURE,
            FULL,
        ),
        summary="Create the owner's next policy version, a draft.",
    ),
    Operation(
        "POST",
        "/policies/{id}/activate",
        OWNER,
        policies.activate_policy,
        answers=(Answer(HTTPStatus.OK, PolicyRecord), policies.POLICY_NOT_FOUND, FORBIDDEN),
        summary="Make a draft active.",
    ),
)
