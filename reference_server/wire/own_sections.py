"""What this server keeps in a state file beside schema 1 (contract §7), and how it knows the file for its own.

A plain reader of schema 1 finds its sections as they must be, and two more that it may keep or leave:
`reference_server` holds what schema 1 has no place for, and `checksum`, the last, is the SHA-256 of every byte before
it. So not a bit of a file written here can change unseen, whereas a file from elsewhere has none, and is read with all
its records checked.
"""

from __future__ import annotations

import re
from hashlib import sha256
from types import GenericAlias
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.wire.schema1 import SCHEMA_1, EventRecord
from reference_server.wire.sections import known_names
from reference_server.wire.state_file import (
    EVENTS,
    HEAD_KEYS,
    StateFile,
    StateFileError,
    WorkerStatusFile,
    read_state,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reference_server.wire.sections import Section

OWN, CHECKSUM = "reference_server", "checksum"
_TRAILER = re.compile(rb',"checksum":"sha256:([0-9a-f]{64})"\}\n\Z')
_TRAILER_BYTES = 96
_PROBLEMS_SHOWN = 3


class StreamSection(msgspec.Struct, frozen=True):
    """An audit stream: `events` are places in `audit_events`; `sequence` and `hash` are of the event before them."""

    sequence: int
    hash: str
    head: str
    events: list[int]


class OwnerSection(msgspec.Struct, frozen=True, omit_defaults=True):
    """An owner's audit streams. Earlier versions had no `refused`: what is in it now was in `notable`.

    `market` is left out until there is anything in it.
    """

    routine: StreamSection
    notable: StreamSection
    refused: StreamSection | None = None
    market: StreamSection | None = None


class NoncesSection(msgspec.Struct, frozen=True):
    """Nonces that are forgotten together; `names` is base64 of their names, 8 bytes each. Times in Unix ns."""

    since_ns: int
    newest_ns: int
    names: str
    oldest_ns: int = -(1 << 63)


class FailuresSection(msgspec.Struct, frozen=True):
    """Auth failures; `recent` are steps of the window as (Unix ns, count)."""

    by_reason: dict[str, int]
    unattributed: int
    recent: list[tuple[int, int]]


class OwnSection(msgspec.Struct, frozen=True):
    """What schema 1 has no place for. `segment` is the part of the journal that goes on from this snapshot.

    Each owner's streams are in `streams`; what has them in `owners` an earlier version wrote, which had two an owner.
    That version asks for `owners`, so it refuses what has none, rather than lose the third.
    `market` is what was granted to agents, left out until there is anything in it.
    Once any stream `market` has events, `nobody` stands for `unattributed`: versions that know no such stream ask for
    that, so they refuse the file, rather than lose it. Before that they read it.
    `forgotten` are stretches past the horizon (Unix ns), `clock_lag_ns` how far behind the wall clock has been.
    """

    segment: str
    nonce_key: str
    nonces_outside: bool
    horizon_ns: int
    nonces: list[NoncesSection]
    failures: FailuresSection
    unattributed: StreamSection | msgspec.UnsetType = msgspec.UNSET
    streams: dict[str, OwnerSection] | msgspec.UnsetType = msgspec.UNSET
    owners: dict[str, OwnerSection] | msgspec.UnsetType = msgspec.UNSET
    market: StreamSection | msgspec.UnsetType = msgspec.UNSET
    forgotten: tuple[tuple[int, int], ...] = ()
    clock_lag_ns: int = 0
    nobody: StreamSection | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        """Refuse what has the stream of no owner twice, or not at all."""
        if (self.unattributed is msgspec.UNSET) == (self.nobody is msgspec.UNSET):
            raise ValueError("one of `unattributed` and `nobody` has to be there")

    def __repr__(self) -> str:
        """Hide the nonces' key."""
        return f"OwnSection(segment={self.segment})"


class LoadedFile(msgspec.Struct, frozen=True):
    """An intact state file: its records, what this server added, and unknown sections byte for byte."""

    records: StateFile
    own: OwnSection | None
    unknown: dict[str, bytes]


def trailer(digest: str) -> bytes:
    """Return the end of a state file: the SHA-256 of every byte before it."""
    return f',"{CHECKSUM}":"sha256:{digest}"}}\n'.encode()


def load_state_file(content: bytes, sections: Sequence[Section[Any]] = SCHEMA_1) -> LoadedFile:
    """Read a state file with these sections, written here or elsewhere.

    Raises:
        StateFileError: unless every byte of it is known to be right, or every record of a file from elsewhere is.
    """
    parts = _parts(content)
    if not _is_own(content, parts):
        return LoadedFile(_from_elsewhere(content, sections), None, _unknown(parts, sections))
    return _load_own(content, parts, sections)


def check_state_file(content: bytes, sections: Sequence[Section[Any]] = SCHEMA_1) -> StateFile | WorkerStatusFile:
    """Read a state file as `load_state_file` does, or a legacy one; `problems` says all for which it would be refused.

    Raises StateFileError for what is neither.
    """
    state = read_state(content, sections)
    parts = _parts(content)
    if isinstance(state, StateFile) and _is_own(content, parts):
        try:
            _load_own(content, parts, sections)
        except StateFileError as error:
            state.problems.insert(0, str(error))
        else:
            state.problems.clear()  # what it holds was checked when it came to be
    return state


def _trailer_of(content: bytes) -> re.Match[bytes] | None:
    return _TRAILER.search(content, max(0, len(content) - _TRAILER_BYTES))


def _is_own(content: bytes, parts: dict[str, msgspec.Raw]) -> bool:
    return _trailer_of(content) is not None or OWN in parts or CHECKSUM in parts


def _own_file(sections: Sequence[Section[Any]]) -> type[Any]:
    """Return the type of a file that this server wrote: its checksum stands for every check of `read_state`."""
    fields: list[Any] = [("schema_version", int), ("saved_at", str), (EVENTS, list[EventRecord]), (OWN, OwnSection)]
    for section in sections:
        if section.record is not None:
            kind = GenericAlias(dict, (str, section.record))
            field = msgspec.field() if section.required else msgspec.field(default_factory=dict)
            fields.append((section.name, kind, field))
    return msgspec.defstruct("OwnFile", fields, kw_only=True)


def _load_own(content: bytes, parts: dict[str, msgspec.Raw], sections: Sequence[Section[Any]]) -> LoadedFile:
    match = _trailer_of(content)
    if match is None or sha256(memoryview(content)[: match.start()]).hexdigest().encode() != match[1]:
        raise StateFileError(
            "it was damaged, or changed by another program, since this server wrote it: give an intact copy of it; or, "
            f"if another program was meant to change it, take its sections {OWN} and {CHECKSUM} out"
        )
    try:
        file = msgspec.json.decode(content, type=_own_file(sections))
    except (ValueError, RecursionError) as error:
        raise StateFileError(f"another version of this server wrote it ({error}): use that one") from None
    records = {section.name: getattr(file, section.name) for section in sections if section.record is not None}
    state = StateFile(file.saved_at, records, getattr(file, EVENTS), {}, [], [])
    return LoadedFile(state, getattr(file, OWN), _unknown(parts, sections))


def _parts(content: bytes) -> dict[str, msgspec.Raw]:
    try:
        return msgspec.json.decode(content, type=dict[str, msgspec.Raw])
    except (ValueError, RecursionError):
        return {}  # `read_state` says what is wrong


def _unknown(parts: dict[str, msgspec.Raw], sections: Sequence[Section[Any]]) -> dict[str, bytes]:
    known = HEAD_KEYS | known_names(sections) | {OWN, CHECKSUM}
    return {name: bytes(raw) for name, raw in parts.items() if name not in known}


def _from_elsewhere(content: bytes, sections: Sequence[Section[Any]]) -> StateFile:
    state = read_state(content, sections)
    if isinstance(state, WorkerStatusFile):
        raise StateFileError("it is a legacy worker-status file: name it in WORKER_STATUS_STATE_FILE, and another here")
    if state.problems:
        shown = "; ".join(state.problems[:_PROBLEMS_SHOWN])
        raise StateFileError(
            f"it is wrong in {len(state.problems)} places ({shown}): `hatchfarm state check` names them all; "
            "give an intact copy of it, or correct them"
        )
    return state
