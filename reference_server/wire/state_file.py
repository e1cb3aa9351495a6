"""The state file of schema 1 and the legacy worker-status file (contract §7), from bytes to records.

Strict, because a file that is half understood would be a silent wrong state: each record must be exactly what the API
shows, must stand under its own id, and may only name what is there. And total: a file without a problem can be served,
and written again, so that whoever looks into one beforehand learns what a start would say.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from reference_server.limits import CONSENTS_MAX, MACHINES_MAX, OWNERS_MAX, POLICIES_MAX
from reference_server.wire.rules import rules_error, valid_owner_id, writable
from reference_server.wire.timestamps import NEWEST_NS, OLDEST_NS, parse_timestamp

SCHEMA_VERSION = 1
VERSION_MAX = (1 << 53) - 1
"""A policy's version: JSON numbers are exact up to here."""
_EVENT_NS = range(-(1 << 63), 1 << 63)
"""When events may have been: audit streams keep Unix nanoseconds in 8 bytes, years 1678 to 2261."""
kept_time = lru_cache(maxsize=4096)(parse_timestamp)
"""`parse_timestamp` for the times of records, of which most stand there twice or more: a large file is read faster."""
_WAY_OUT = "give an intact copy of it, or the file that was meant"
_HEX = {"wrk": 16, "mcert": 20, "pol": 16, "con": 16, "aud": 16}
_IDS = {
    prefix: re.compile(f"{prefix}_[0-9a-f]{{{digits}}}")  # backtracking: no loop in it
    for prefix, digits in _HEX.items()
}
_TOKEN = re.compile("[0-9a-f]{48}")


class StateFileError(Exception):
    """A file of which no record can be read. The message says why, and the way out; the file's name is the caller's."""


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


class StateFile(msgspec.Struct):
    """What a state file holds: its readable records, and in `problems` one sentence for each thing that is wrong.

    `unknown` holds later sections as they are. `remarks` are worth knowing, and no reason to refuse the file.
    """

    saved_at: str
    machines: dict[str, MachineRecord]
    machine_certs: dict[str, CertificateRecord]
    worker_status: dict[str, StatusRecord]
    policies: dict[str, PolicyRecord]
    consents: dict[str, ConsentRecord]
    audit_events: list[EventRecord]
    unknown: dict[str, Any]
    problems: list[str]
    remarks: list[str]


class WorkerStatusFile(msgspec.Struct):
    """What a legacy worker-status file holds, read as a state file is."""

    worker_status: dict[str, StatusRecord]
    problems: list[str]


_Record = TypeVar("_Record", MachineRecord, CertificateRecord, StatusRecord, PolicyRecord, ConsentRecord, EventRecord)
KNOWN_KEYS = frozenset(
    {
        "schema_version",
        "saved_at",
        "machines",
        "machine_certs",
        "worker_status",
        "policies",
        "consents",
        "audit_events",
    }
)


def read_state(content: bytes) -> StateFile | WorkerStatusFile:
    """Read a state file, or a legacy worker-status file when there is no `schema_version`.

    Raises:
        StateFileError: for what is neither, and for another schema version.
    """
    document = _decode(content)
    if not isinstance(document, dict):
        raise StateFileError(f"it holds no JSON object: {_WAY_OUT}")
    if "schema_version" not in document:
        if not KNOWN_KEYS.isdisjoint(document):
            raise StateFileError(f"it has a state file's sections but no schema_version: {_WAY_OUT}")
        return _legacy(document)
    version = document["schema_version"]
    if type(version) is not int:
        raise StateFileError(f"its schema_version is no whole number: {_WAY_OUT}")
    if version != SCHEMA_VERSION:
        raise StateFileError(
            f"it is of schema version {version}, and {SCHEMA_VERSION} is what can be read: "
            "use the program that wrote it, or a copy from before",
        )
    return _state(document)


def _decode(content: bytes) -> Any:
    """Decode strictly: UTF-8, no lone surrogates, no key twice, of which one would be lost without a word."""
    try:
        msgspec.json.decode(content)
        return json.loads(content, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise StateFileError(f"it is not JSON ({str(error) or 'nested too deeply'}): {_WAY_OUT}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        (name, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {name!r} is there twice in one object")
    return found


class _Reading:
    """Turns values into records, and notes what is wrong with each under its place in the file."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.owners: set[str] = set()

    def records(self, document: dict[str, Any], section: str, kind: type[_Record]) -> dict[str, _Record]:
        """Read a section that maps ids to records. An empty one is null in files of some implementations."""
        values = self._section(document, section)
        if not isinstance(values, dict):
            if values is not None:
                self.problems.append(f"{section}: it is no object")
            return {}
        records: dict[str, _Record] = {}
        for key, value in values.items():
            record = self._record(f"{section}.{key}", value, kind)
            if record is not None:
                records[key] = record
        return records

    def events(self, document: dict[str, Any]) -> list[EventRecord]:
        """Read the audit events."""
        values = self._section(document, "audit_events")
        if not isinstance(values, list):
            if values is not None:
                self.problems.append("audit_events: it is no array")
            return []
        read = [self._record(f"audit_events[{at}]", value, EventRecord) for at, value in enumerate(values)]
        return [event for event in read if event is not None]

    def _section(self, document: dict[str, Any], section: str) -> Any:
        if section not in document:
            self.problems.append(f"{section}: the section is missing")
        return document.get(section)

    def _record(self, place: str, value: Any, kind: type[_Record]) -> _Record | None:
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            self.problems.append(f"{place}: {error}")
            return None

    def require(self, place: str, problem: str, *, right: bool) -> None:
        """Note a problem unless it is right."""
        if not right:
            self.problems.append(f"{place}: {problem}")

    def identity(self, place: str, prefix: str, key: str, record_id: str) -> None:
        """Hold an id against its form, and against the key it stands under."""
        self.require(place, f"{prefix}_ and {_HEX[prefix]} hex digits expected", right=is_id(prefix, record_id))
        self.require(place, "it stands under another id than its own", right=key == record_id)

    def times(self, place: str, **times: str) -> None:
        """Hold times against the contract's form (§1)."""
        for name, text in times.items():
            unix_ns = kept_time(text)
            self.require(place, f"{name} is no timestamp", right=unix_ns is not None)
            if unix_ns is not None and not OLDEST_NS <= unix_ns <= NEWEST_NS:
                self.problems.append(f"{place}: {name} is in no year from 1 to 9999, in UTC")

    def owner(self, place: str, owner_id: str) -> None:
        """Hold an owner's id against what one can act under (contract §5)."""
        self.require(place, "it has no owner", right=owner_id != "")
        self.require(
            place,
            "its owner_id is longer than 256 characters, has | or control characters in it, or white space around it",
            right=valid_owner_id(owner_id),
        )
        self.owners.add(owner_id)

    def room(self, section: str, count: int, most: int) -> None:
        """Hold the number of records against what this server has room for."""
        self.require(section, f"there are {count}, and this server has room for {most}", right=count <= most)


def is_id(prefix: str, text: str) -> bool:
    """Return whether a text is an id of this kind (contract §1)."""
    return _IDS[prefix].fullmatch(text) is not None


def _legacy(document: dict[str, Any]) -> WorkerStatusFile:
    if document and not any(is_id("wrk", key) for key in document):
        raise StateFileError(
            f"it is neither a state file, which has a schema_version, nor a map of worker statuses: {_WAY_OUT}"
        )
    reading = _Reading()
    statuses = reading.records({"worker_status": document}, "worker_status", StatusRecord)
    _check_statuses(reading, statuses)
    return WorkerStatusFile(statuses, reading.problems)


def _state(document: dict[str, Any]) -> StateFile:
    reading = _Reading()
    saved_at = document.get("saved_at")
    saved = saved_at if isinstance(saved_at, str) else ""
    reading.times("saved_at", saved_at=saved)
    state = StateFile(
        saved,
        reading.records(document, "machines", MachineRecord),
        reading.records(document, "machine_certs", CertificateRecord),
        reading.records(document, "worker_status", StatusRecord),
        reading.records(document, "policies", PolicyRecord),
        reading.records(document, "consents", ConsentRecord),
        reading.events(document),
        {key: document[key] for key in document if key not in KNOWN_KEYS},
        reading.problems,
        [],
    )
    _check_machines(reading, state)
    _check_statuses(reading, state.worker_status)
    _check_policies(reading, state.policies)
    _check_consents(reading, state)
    _check_events(reading, state.audit_events)
    for section, records, most in (
        ("machines", state.machines, MACHINES_MAX),
        ("policies", state.policies, POLICIES_MAX),
        ("consents", state.consents, CONSENTS_MAX),
        ("owners", reading.owners, OWNERS_MAX),
    ):
        reading.room(section, len(records), most)
    # A server that took over a legacy file keeps statuses of machines it never knew.
    state.remarks = [
        f"worker_status.{key}: no such machine" for key in state.worker_status if key not in state.machines
    ]
    return state


def _check_machines(reading: _Reading, state: StateFile) -> None:
    for key, machine in state.machines.items():
        place = f"machines.{key}"
        reading.identity(place, "wrk", key, machine.id)
        reading.owner(place, machine.owner_id)
        reading.require(place, "its secret is not 48 hex digits", right=_TOKEN.fullmatch(machine.secret) is not None)
        reading.times(place, created_at=machine.created_at)
        reading.require(place, "it has no certificate", right=key in state.machine_certs)
    for key, certificate in state.machine_certs.items():
        place = f"machine_certs.{key}"
        reading.identity(place, "wrk", key, certificate.machine_id)
        reading.require(
            place,
            "mcert_ and 20 hex digits expected as certificate_id",
            right=is_id("mcert", certificate.certificate_id),
        )
        reading.require(place, "no such machine", right=key in state.machines)
        reading.times(place, issued_at=certificate.issued_at, expires_at=certificate.expires_at)
        issued_ns, expires_ns = kept_time(certificate.issued_at), kept_time(certificate.expires_at)
        if issued_ns is not None and expires_ns is not None:
            reading.require(place, "it is over before it begins", right=issued_ns < expires_ns)


def _check_statuses(reading: _Reading, statuses: dict[str, StatusRecord]) -> None:
    for key, status in statuses.items():
        place = f"worker_status.{key}"
        reading.identity(place, "wrk", key, status.worker_id)
        reading.require(place, "its policy_id is no policy's", right=is_id("pol", status.policy_id))
        reading.times(place, last_heartbeat=status.last_heartbeat, updated_at=status.updated_at)


def _check_policies(reading: _Reading, policies: dict[str, PolicyRecord]) -> None:
    versions: set[tuple[str, int]] = set()
    for key, policy in policies.items():
        place = f"policies.{key}"
        reading.identity(place, "pol", key, policy.id)
        reading.require(place, "its state is neither draft nor active", right=policy.state in {"draft", "active"})
        reading.owner(place, policy.owner_id)
        problem = rules_error(policy.rules)
        reading.require(place, f"its rules are none: {problem}", right=problem is None)
        reading.require(place, f"its version is not from 1 to {VERSION_MAX}", right=1 <= policy.version <= VERSION_MAX)
        version = (policy.owner_id, policy.version)
        reading.require(place, "another policy of its owner has the same version", right=version not in versions)
        versions.add(version)
        reading.times(place, created_at=policy.created_at, updated_at=policy.updated_at)


def _check_consents(reading: _Reading, state: StateFile) -> None:
    for key, consent in state.consents.items():
        place = f"consents.{key}"
        reading.identity(place, "con", key, consent.id)
        for name, thing in (
            ("machine", state.machines.get(consent.worker_id)),
            ("policy", state.policies.get(consent.policy_id)),
        ):
            reading.require(place, f"no such {name}", right=thing is not None)
            owned = thing is None or thing.owner_id == consent.owner_id
            reading.require(place, f"its {name} is another owner's", right=owned)
        reading.times(place, effective_at=consent.effective_at)
        if consent.revoked_at is not None:
            reading.times(place, revoked_at=consent.revoked_at)


def _check_events(reading: _Reading, events: list[EventRecord]) -> None:
    seen: set[str] = set()
    for event in events:
        place = f"audit_events {event.id}"
        reading.require(place, "aud_ and 16 hex digits expected", right=is_id("aud", event.id))
        reading.require(place, "it is there twice", right=event.id not in seen)
        seen.add(event.id)
        reading.require(
            place,
            "its metadata has a number that is too large, or is nested too deeply",
            right=writable(event.metadata),
        )
        reading.times(place, created_at=event.created_at)
        created_ns = kept_time(event.created_at)
        reading.require(
            place, "created_at is before 1678 or after 2261", right=created_ns is None or created_ns in _EVENT_NS
        )
