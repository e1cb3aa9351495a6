"""A state file and the legacy worker-status file (contract §7), from bytes to records.

Strict, because a file that is half understood would be a silent wrong state: each record must be exactly what its
section holds, must stand under its own id, and may only name what is there. And total: a file without a problem can be
served, and written again, so that whoever looks into one beforehand learns what a start would say.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.wire.ids import WORKER_ID
from reference_server.wire.schema1 import MACHINES, SCHEMA_1, STATUSES, EventRecord, StatusRecord, check_event
from reference_server.wire.sections import Reading, known_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reference_server.wire.sections import Section

SCHEMA_VERSION = 1
EVENTS = "audit_events"
HEAD_KEYS = frozenset({"schema_version", "saved_at", EVENTS})
"""What stands in every state file beside its sections."""
_WAY_OUT = "give an intact copy of it, or the file that was meant"


class StateFileError(Exception):
    """A file of which no record can be read. The message says why, and the way out; the file's name is the caller's."""


class StateFile(msgspec.Struct):
    """What a state file holds: its readable records, and in `problems` one sentence for each thing that is wrong.

    `sections` holds records by their section's name and their key; a `Section` finds its own in it (`Section.of`).
    `unknown` holds other sections as they are. `remarks` are worth knowing, and no reason to refuse the file.
    """

    saved_at: str
    sections: dict[str, dict[str, Any]]
    audit_events: list[EventRecord]
    unknown: dict[str, Any]
    problems: list[str]
    remarks: list[str]

    @property
    def contents(self) -> dict[str, dict[str, Any] | list[EventRecord]]:
        """Return all that was read, by its name in the file."""
        return {**self.sections, EVENTS: self.audit_events}


class WorkerStatusFile(msgspec.Struct):
    """What a legacy worker-status file holds, read as a state file is."""

    worker_status: dict[str, StatusRecord]
    problems: list[str]

    @property
    def contents(self) -> dict[str, dict[str, StatusRecord]]:
        """Return all that was read, by its name in a state file."""
        return {STATUSES.name: self.worker_status}


def read_state(content: bytes, sections: Sequence[Section[Any]] = SCHEMA_1) -> StateFile | WorkerStatusFile:
    """Read a state file with these sections, or a legacy worker-status file when there is no `schema_version`.

    Raises:
        StateFileError: for what is neither, and for another schema version.
    """
    document = _decode(content)
    if not isinstance(document, dict):
        raise StateFileError(f"it holds no JSON object: {_WAY_OUT}")
    if "schema_version" not in document:
        if not (HEAD_KEYS | known_names(sections)).isdisjoint(document):
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
    return _state(document, sections)


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


def _legacy(document: dict[str, Any]) -> WorkerStatusFile:
    if document and not any(map(WORKER_ID.fits, document)):
        raise StateFileError(
            f"it is neither a state file, which has a schema_version, nor a map of worker statuses: {_WAY_OUT}"
        )
    reading = Reading()
    reading.read({STATUSES.name: document}, STATUSES)
    reading.check(STATUSES)
    return WorkerStatusFile(STATUSES.of(reading.sections), reading.problems)


def _state(document: dict[str, Any], sections: Sequence[Section[Any]]) -> StateFile:
    reading = Reading()
    saved_at = document.get("saved_at")
    saved = saved_at if isinstance(saved_at, str) else ""
    reading.times("saved_at", saved_at=saved)
    known = known_names(sections)
    for section in sections:
        if section.name in known:
            reading.read(document, section)
    events = _events(reading, document)
    for section in sections:
        reading.check(section)
    for event in events:
        check_event(reading, event)
    machines, statuses = MACHINES.of(reading.sections), STATUSES.of(reading.sections)
    return StateFile(
        saved,
        reading.sections,
        events,
        {key: document[key] for key in document if key not in HEAD_KEYS | known},
        reading.problems,
        # A server that took over a legacy file keeps statuses of machines it never knew.
        [f"{STATUSES.name}.{key}: no such machine" for key in statuses if key not in machines],
    )


def _events(reading: Reading, document: dict[str, Any]) -> list[EventRecord]:
    values = reading.value(document, EVENTS, required=True)
    if not isinstance(values, list):
        if values is not None:
            reading.problems.append(f"{EVENTS}: it is no array")
        return []
    read = [reading.record(f"{EVENTS}[{at}]", value, EventRecord) for at, value in enumerate(values)]
    return [event for event in read if event is not None]
