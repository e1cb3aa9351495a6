"""Encoding a state as a state file (contract §7): schema 1, unknown sections unchanged, and this server's own."""

from __future__ import annotations

import base64
import struct
from hashlib import sha256
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.wire.own_sections import (
    OWN,
    FailuresSection,
    NoncesSection,
    OwnerSection,
    OwnSection,
    StreamSection,
    trailer,
)
from reference_server.wire.state_file import EVENTS, SCHEMA_VERSION
from reference_server.wire.timestamps import format_timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from reference_server.core.audit import Event, EventStream, RoutineStream
    from reference_server.core.records import Owner
    from reference_server.core.state import State
    from reference_server.wire.values import Instant

RECORDS_AT_ONCE = 500
"""Records encoded in one piece: enough to make the calls cheap, few enough to need little memory."""
_encode = msgspec.json.encode


def snapshot(state: State, at: Instant, segment: str) -> Iterator[bytes]:
    """Yield a state at a moment as pieces of bytes. `segment` is the part of the journal that continues from here."""
    digest = sha256()
    for piece in _pieces(state, at, segment):
        digest.update(piece)
        yield piece
    yield trailer(digest.hexdigest())


def _pieces(state: State, at: Instant, segment: str) -> Iterator[bytes]:
    yield f'{{"schema_version":{SCHEMA_VERSION},"saved_at":"{format_timestamp(at.wall_ns)}"'.encode()
    later = [table for table in state.tables.in_file if not table.section.required]
    for table in state.tables.in_file:
        if table.section.required:
            yield from _map(table.name, table.kept(state))
    places = _Places(state)
    yield from _section(EVENTS, b"[", (_encode(_show_event(event)) for event in places.events), b"]")
    for table in later:
        records = iter(table.kept(state))
        first = next(records, None)
        if first is not None:  # empty tables are left out, so that an earlier version can read the file
            yield from _map(table.name, chain((first,), records))
    for name, raw in state.unknown_sections.items():
        yield b"," + _encode(name) + b":" + raw
    yield f',"{OWN}":'.encode() + _encode(_own_section(state, at, segment, places))


def _map(name: str, records: Iterable[tuple[str, Any]]) -> Iterator[bytes]:
    yield from _section(name, b"{", (_encode(key) + b":" + _encode(record) for key, record in records), b"}")


def _section(name: str, start: bytes, records: Iterator[bytes], end: bytes) -> Iterator[bytes]:
    yield f',"{name}":'.encode() + start
    separator = b""
    while some := list(islice(records, RECORDS_AT_ONCE)):
        yield separator + b",".join(some)
        separator = b","
    yield end


def _show_event(event: Event) -> dict[str, Any]:
    return {
        "id": event.id,
        "type": event.type,
        "actor": event.actor,
        "object_id": event.object_id,
        "metadata": msgspec.Raw(event.metadata.encode()),
        "created_at": format_timestamp(event.created_ns),
    }


class _Places:
    """Every event once, oldest first, although it may be in two streams, with the places of each stream's events."""

    def __init__(self, state: State) -> None:
        streams: list[RoutineStream | EventStream] = [state.unattributed, state.market_of_agents]
        for owner in state.owners.values():
            streams += owner.streams
        kept = {event.id: event for stream in streams for event in stream.kept()}
        self.events = sorted(kept.values(), key=lambda event: event.created_ns)
        self._at = {event.id: at for at, event in enumerate(self.events)}

    def section(self, stream: RoutineStream | EventStream) -> StreamSection:
        """Return the places of a stream's events."""
        sequence, digest = stream.base
        return StreamSection(sequence, digest, stream.hash, [self._at[event.id] for event in stream.kept()])


def _owner_section(owner: Owner, places: _Places) -> OwnerSection:
    market = places.section(owner.market) if owner.market.sequence else None
    return OwnerSection(
        places.section(owner.routine), places.section(owner.notable), places.section(owner.refused), market
    )


def _own_section(state: State, at: Instant, segment: str, places: _Places) -> OwnSection:
    ahead_ns = at.wall_ns - at.monotonic_ns
    failures = state.failures.dump()
    nobody = places.section(state.unattributed)
    has_market = any(
        stream.sequence for stream in (state.market_of_agents, *(owner.market for owner in state.owners.values()))
    )
    return OwnSection(
        segment,
        state.nonce_key.hex(),
        state.nonces_outside,
        state.nonces.horizon_ns,
        [
            NoncesSection(
                generation.since_ns + ahead_ns,
                generation.newest_ns,
                base64.b64encode(struct.pack(f"<{len(generation.nonces)}Q", *generation.nonces)).decode(),
                generation.oldest_ns,
            )
            for generation in state.nonces.dump()
        ],
        FailuresSection(
            failures["by_reason"],
            failures["unattributed"],
            [(since_ns + ahead_ns, count) for since_ns, count in failures["recent"]],
        ),
        unattributed=msgspec.UNSET if has_market else nobody,
        nobody=nobody if has_market else msgspec.UNSET,
        market=places.section(state.market_of_agents) if state.market_of_agents.sequence else msgspec.UNSET,
        streams={owner.id: _owner_section(owner, places) for owner in state.owners.values()},
        forgotten=tuple(state.nonces.forgotten),
        clock_lag_ns=state.nonces.lag_ns(at),
    )
