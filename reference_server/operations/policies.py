"""The operations on policies (contract §3, §5)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Literal

import msgspec

from reference_server.core import policies
from reference_server.core.machines import INVALID_OWNER_ID
from reference_server.limits import TEXT_MAX_CHARACTERS
from reference_server.operations.callers import OWNER
from reference_server.operations.fields import (  # noqa: TC001 - msgspec reads a struct's types later
    OwnerId,
    PolicyId,
    Rules,
    Signature,
    Timestamp,
    Version,
)
from reference_server.operations.operation import ANY, Answer, Operation
from reference_server.wire.replies import FORBIDDEN, FULL
from reference_server.wire.rules import HOURS_MAX, PERCENT_MAX

Percent = Annotated[float, msgspec.Meta(ge=1, le=PERCENT_MAX, examples=[50])]
Hour = Annotated[int, msgspec.Meta(ge=0, lt=HOURS_MAX, examples=[22])]


class RulesToSign(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a machine may spend, and when: at these hours of its time zone (contract §5)."""

    max_cpu_percent: Percent
    max_memory_percent: Percent = 50
    max_gpu_percent: Percent = 50
    timezone: Annotated[
        str, msgspec.Meta(min_length=1, max_length=TEXT_MAX_CHARACTERS, pattern="[^ ]", examples=["UTC"])
    ] = "UTC"
    allowed_hours: Annotated[list[Hour], msgspec.Meta(min_length=1, max_length=HOURS_MAX)] = msgspec.field(
        default_factory=lambda: [22, 23]
    )


class PolicyToCreate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rules, and the owner's signature over their canonical JSON."""

    owner_id: OwnerId
    rules: RulesToSign
    signature: Signature


class Policy(msgspec.Struct, frozen=True):
    """One version of an owner's policy."""

    id: PolicyId
    owner_id: OwnerId
    version: Version
    rules: Rules
    signature: Signature
    state: Literal["draft", "active"]
    created_at: Timestamp
    updated_at: Timestamp


OPERATIONS = (
    Operation(
        "POST",
        "/policies",
        OWNER,
        policies.create_policy,
        body=policies.PolicyRequest,
        described=PolicyToCreate,
        read=policies.read_policy_request,
        answers=(
            Answer(HTTPStatus.CREATED, Policy),
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
        answers=(Answer(HTTPStatus.OK, Policy), policies.POLICY_NOT_FOUND, FORBIDDEN),
        summary="Make a draft active.",
    ),
)
