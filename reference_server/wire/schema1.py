"""The records of schema 1 (contract §7), each as the API shows it, and what must hold of them beyond their types."""

from __future__ import annotations

import re
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.limits import CONSENTS_MAX, MACHINES_MAX, OWNERS_MAX, POLICIES_MAX
from reference_server.wire.ids import CERTIFICATE_ID, CONSENT_ID, EVENT_ID, POLICY_ID, WORKER_ID
from reference_server.wire.rules import rules_error, writable
from reference_server.wire.sections import OWNERS, Section, kept_time

if TYPE_CHECKING:
    from reference_server.wire.sections import Reading

VERSION_MAX = (1 << 53) - 1
"""A policy's version: JSON numbers are exact up to here."""
_EVENT_NS = range(-(1 << 63), 1 << 63)
"""When events may have been: audit streams keep Unix nanoseconds in 8 bytes, years 1678 to 2261."""
_TOKEN = re.compile("[0-9a-f]{48}")


class MachineRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A registered machine; `secret` is its token."""

    id: str
    owner_id: str
    name: str
    secret: str
    created_at: str

    def __repr__(self) -> str:
        """Hide the token."""
        return f"MachineRecord({self.id})"


class CertificateRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A machine's newest certificate."""

    certificate_id: str
    machine_id: str
    issued_at: str
    expires_at: str
    signature: str


class StatusRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a worker was last heard from, and under which policy."""

    worker_id: str
    last_heartbeat: str
    policy_id: str
    updated_at: str


class PolicyRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One version of an owner's policy; `state` is `draft` or `active`."""

    id: str
    owner_id: str
    version: int
    rules: dict[str, Any]
    signature: str
    state: str
    created_at: str
    updated_at: str


class ConsentRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A consent; `revoked_at` is there once it is revoked."""

    id: str
    owner_id: str
    worker_id: str
    policy_id: str
    signature: str
    effective_at: str
    revoked_at: str | None = None


class EventRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An audit event as every implementation keeps it; a chain's fields are not part of schema 1."""

    id: str
    type: str
    actor: str
    object_id: str
    metadata: dict[str, Any]
    created_at: str


def _check_machine(reading: Reading, place: str, key: str, machine: MachineRecord) -> None:
    reading.owner(place, machine.owner_id)
    reading.require(place, "its secret is not 48 hex digits", right=_TOKEN.fullmatch(machine.secret) is not None)
    reading.times(place, created_at=machine.created_at)
    reading.require(place, "it has no certificate", right=reading.find(CERTIFICATES, key) is not None)


def _check_certificate(reading: Reading, place: str, key: str, certificate: CertificateRecord) -> None:
    reading.require(
        place,
        f"{CERTIFICATE_ID.expected} as certificate_id",
        right=CERTIFICATE_ID.fits(certificate.certificate_id),
    )
    reading.require(place, "no such machine", right=reading.find(MACHINES, key) is not None)
    reading.times(place, issued_at=certificate.issued_at, expires_at=certificate.expires_at)
    issued_ns, expires_ns = kept_time(certificate.issued_at), kept_time(certificate.expires_at)
    if issued_ns is not None and expires_ns is not None:
        reading.require(place, "it is over before it begins", right=issued_ns < expires_ns)


def _check_status(reading: Reading, place: str, _key: str, status: StatusRecord) -> None:
    reading.require(place, "its policy_id is no policy's", right=POLICY_ID.fits(status.policy_id))
    reading.times(place, last_heartbeat=status.last_heartbeat, updated_at=status.updated_at)


def _check_policy(reading: Reading, place: str, _key: str, policy: PolicyRecord) -> None:
    reading.require(place, "its state is neither draft nor active", right=policy.state in {"draft", "active"})
    reading.owner(place, policy.owner_id)
    problem = rules_error(policy.rules)
    reading.require(place, f"its rules are none: {problem}", right=problem is None)
    reading.require(place, f"its version is not from 1 to {VERSION_MAX}", right=1 <= policy.version <= VERSION_MAX)
    first = reading.is_first("policy version", policy.owner_id, policy.version)
    reading.require(place, "another policy of its owner has the same version", right=first)
    reading.times(place, created_at=policy.created_at, updated_at=policy.updated_at)


def _check_consent(reading: Reading, place: str, _key: str, consent: ConsentRecord) -> None:
    for name, thing in (
        ("machine", reading.find(MACHINES, consent.worker_id)),
        ("policy", reading.find(POLICIES, consent.policy_id)),
    ):
        reading.require(place, f"no such {name}", right=thing is not None)
        owned = thing is None or thing.owner_id == consent.owner_id
        reading.require(place, f"its {name} is another owner's", right=owned)
    reading.times(place, effective_at=consent.effective_at)
    if consent.revoked_at is not None:
        reading.times(place, revoked_at=consent.revoked_at)


def check_event(reading: Reading, event: EventRecord) -> None:
    """Hold an audit event against what a stream can keep."""
    place = f"audit_events {event.id}"
    reading.require(place, EVENT_ID.expected, right=EVENT_ID.fits(event.id))
    reading.require(place, "it is there twice", right=reading.is_first("event", event.id))
    reading.require(
        place, "its metadata has a number that is too large, or is nested too deeply", right=writable(event.metadata)
    )
    reading.times(place, created_at=event.created_at)
    created_ns = kept_time(event.created_at)
    reading.require(
        place, "created_at is before 1678 or after 2261", right=created_ns is None or created_ns in _EVENT_NS
    )


_SIGNATURE = frozenset({"signature"})
"""Owners' are made with a token that people choose, which they would let one guess."""
MACHINES = Section(
    name="machines", record=MachineRecord, most=MACHINES_MAX, form=WORKER_ID, check=_check_machine,
    required=True, hidden=frozenset({"secret"}),
)  # fmt: skip
CERTIFICATES = Section(
    name="machine_certs", record=CertificateRecord, most=MACHINES_MAX, form=WORKER_ID, key=attrgetter("machine_id"),
    check=_check_certificate, required=True, hidden=_SIGNATURE,
)  # fmt: skip
STATUSES = Section(
    name="worker_status", record=StatusRecord, most=None, form=WORKER_ID, key=attrgetter("worker_id"),
    check=_check_status, required=True, hidden=frozenset(),
)  # fmt: skip
POLICIES = Section(
    name="policies", record=PolicyRecord, most=POLICIES_MAX, form=POLICY_ID, check=_check_policy,
    required=True, hidden=_SIGNATURE,
)  # fmt: skip
CONSENTS = Section(
    name="consents", record=ConsentRecord, most=CONSENTS_MAX, form=CONSENT_ID, check=_check_consent,
    required=True, hidden=_SIGNATURE,
)  # fmt: skip
OWNERS_NAMED: Section[Any] = Section(name=OWNERS, record=None, most=OWNERS_MAX, hidden=frozenset())
SCHEMA_1: tuple[Section[Any], ...] = (MACHINES, CERTIFICATES, STATUSES, POLICIES, CONSENTS, OWNERS_NAMED)
"""In the order in which they stand in a file."""
