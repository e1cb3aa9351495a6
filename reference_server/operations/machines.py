"""The operations on machines and their certificates (contract §3)."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from reference_server.core import machines
from reference_server.operations.callers import MACHINE_TOKEN, OWNER
from reference_server.operations.operation import Answer, Operation
from reference_server.wire.replies import FORBIDDEN, FULL, UNAUTHORIZED
from reference_server.wire.schema1 import CertificateRecord


class Machine(msgspec.Struct, frozen=True):
    """A machine as its registration shows it."""

    id: str
    owner_id: str
    name: str
    created_at: str


class Registered(msgspec.Struct, frozen=True):
    """What a registration gives; the token is shown this once."""

    machine: Machine
    machine_token: str
    machine_certificate: CertificateRecord


OPERATIONS = (
    Operation(
        "POST",
        "/machines/register",
        OWNER,
        machines.register,
        body=machines.Registration,
        answers=(
            Answer(HTTPStatus.CREATED, Registered),
            machines.OWNER_AND_NAME_REQUIRED,
            machines.INVALID_OWNER_ID,
            machines.INVALID_NAME,
            FORBIDDEN,
            FULL,
        ),
        summary="Register a machine.",
    ),
    Operation(
        "POST",
        "/machines/{id}/certificate",
        OWNER,
        machines.rotate_certificate,
        headers=(MACHINE_TOKEN.header,),
        answers=(Answer(HTTPStatus.OK, CertificateRecord), FORBIDDEN, UNAUTHORIZED, machines.MACHINE_NOT_FOUND),
        summary="Replace a machine's certificate, which ends the old one.",
    ),
)
