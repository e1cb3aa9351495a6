"""The operations on machines and their certificates (contract §3)."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from reference_server.core import machines
from reference_server.operations.callers import MACHINE_TOKEN, OWNER
from reference_server.operations.fields import (  # noqa: TC001 - msgspec reads a struct's types later
    CertificateId,
    CertificateSignature,
    MachineToken,
    Name,
    OwnerId,
    Timestamp,
    WorkerId,
)
from reference_server.operations.operation import Answer, Operation
from reference_server.wire.replies import FORBIDDEN, FULL, UNAUTHORIZED


class MachineToRegister(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A machine, and whose it is to be."""

    owner_id: OwnerId
    name: Name


class Machine(msgspec.Struct, frozen=True):
    """A machine as its registration shows it."""

    id: WorkerId
    owner_id: OwnerId
    name: Name
    created_at: Timestamp


class MachineCertificate(msgspec.Struct, frozen=True):
    """A machine's newest certificate, the only one that is valid."""

    certificate_id: CertificateId
    machine_id: WorkerId
    issued_at: Timestamp
    expires_at: Timestamp
    signature: CertificateSignature


class Registered(msgspec.Struct, frozen=True):
    """What a registration gives; the token is shown this once."""

    machine: Machine
    machine_token: MachineToken
    machine_certificate: MachineCertificate


OPERATIONS = (
    Operation(
        "POST",
        "/machines/register",
        OWNER,
        machines.register,
        body=machines.Registration,
        described=MachineToRegister,
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
        answers=(Answer(HTTPStatus.OK, MachineCertificate), FORBIDDEN, UNAUTHORIZED, machines.MACHINE_NOT_FOUND),
        summary="Replace a machine's certificate, which ends the old one.",
    ),
)
