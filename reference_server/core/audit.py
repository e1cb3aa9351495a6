"""Audit streams: bounded, per owner, each a hash chain (contract §3).

Events are kept packed, because a fleet keeps hundreds of thousands of them; their JSON is made when somebody reads.
"""

from __future__ import annotations

import struct
from collections import deque
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.wire.canonical_json import canonical_json, canonical_string
from reference_server.wire.timestamps import format_timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator

FIRST_PREVIOUS_HASH = "0" * 64
"""`previous_hash` of a stream's first event."""
_PACKED = struct.Struct("<q8s32s")
_PACKED_BYTES = _PACKED.size
_DIGEST_BYTES = 32
SEGMENT_EVENTS = 256
"""A ring grows by segments that never move: one growing buffer an owner would leave holes in the heap as it moves."""


class RoutineStream:
    """An owner's accepted heartbeats, newest `events_max`, in a ring. 64 bytes an event."""

    name = "routine"

    def __init__(self, events_max: int) -> None:
        self._events_max = events_max
        self._segments: list[bytearray] = []
        self._workers: list[str] = []
        self._policies: list[str] = []
        self._base_digest: bytes | bytearray = bytes(_DIGEST_BYTES)
        self._first = 0
        self.sequence = 0
        self.hash = FIRST_PREVIOUS_HASH

    @property
    def base(self) -> tuple[int, str]:
        """Give the sequence and hash of the event before the oldest kept."""
        return self.sequence - len(self), bytes(self._base_digest).hex()

    def start_after(self, sequence: int, digest: str) -> None:
        """Begin an empty stream after an event that is not kept any more."""
        self._first = self.sequence = sequence
        self.hash, self._base_digest = digest, bytes.fromhex(digest)

    def append(self, event_hex: str, worker_id: str, policy_id: str, created_ns: int) -> None:
        """Add one accepted heartbeat. Both ids are ones this server made, so they need no escaping."""
        slot = (self.sequence - self._first) % self._events_max
        self.sequence += 1
        digest = sha256(
            (
                f'{{"actor":"worker:{worker_id}","created_at":"{format_timestamp(created_ns)}","id":"aud_{event_hex}",'
                f'"metadata":{{"policy_id":"{policy_id}"}},"object_id":"{worker_id}","previous_hash":"{self.hash}",'
                f'"sequence":{self.sequence},"stream":"routine","type":"worker_heartbeat"}}'
            ).encode(),
        )
        self.hash = digest.hexdigest()
        if self.sequence - self._first <= self._events_max:
            if slot % SEGMENT_EVENTS == 0:
                self._segments.append(bytearray(SEGMENT_EVENTS * _PACKED_BYTES))
            self._workers.append(worker_id)
            self._policies.append(policy_id)
        else:
            end = (slot % SEGMENT_EVENTS + 1) * _PACKED_BYTES
            self._base_digest = self._segments[slot // SEGMENT_EVENTS][end - _DIGEST_BYTES : end]
            self._workers[slot] = worker_id
            self._policies[slot] = policy_id
        segment, start = self._segments[slot // SEGMENT_EVENTS], slot % SEGMENT_EVENTS * _PACKED_BYTES
        _PACKED.pack_into(segment, start, created_ns, bytes.fromhex(event_hex), digest.digest())

    def __len__(self) -> int:
        return len(self._workers)

    def moments(self) -> Iterator[tuple[int, int]]:
        """Give (created_ns, position) of each event, oldest first."""
        for position in range(len(self)):
            yield self._unpack(self._slot(position))[0], position

    def event(self, position: int) -> dict[str, Any]:
        """Show the event at a position, 0 the oldest kept."""
        slot = self._slot(position)
        created_ns, event_id, digest = self._unpack(slot)
        worker_id = self._workers[slot]
        return {
            "id": f"aud_{event_id.hex()}",
            "type": "worker_heartbeat",
            "actor": f"worker:{worker_id}",
            "object_id": worker_id,
            "metadata": {"policy_id": self._policies[slot]},
            "created_at": format_timestamp(created_ns),
            "stream": self.name,
            "sequence": self.sequence - len(self) + position + 1,
            "previous_hash": (self._unpack(self._slot(position - 1))[2] if position else self._base_digest).hex(),
            "hash": digest.hex(),
        }

    def kept(self) -> Iterator[Event]:
        """Give every event kept, oldest first."""
        for position in range(len(self)):
            slot = self._slot(position)
            created_ns, event_id, _ = self._unpack(slot)
            worker_id, metadata = self._workers[slot], f'{{"policy_id":"{self._policies[slot]}"}}'
            yield Event(
                f"aud_{event_id.hex()}", "worker_heartbeat", f"worker:{worker_id}", worker_id, metadata, created_ns
            )

    def _slot(self, position: int) -> int:
        return (self.sequence - self._first - len(self) + position) % self._events_max

    def _unpack(self, slot: int) -> tuple[int, bytes, bytes]:
        segment, start = self._segments[slot // SEGMENT_EVENTS], slot % SEGMENT_EVENTS * _PACKED_BYTES
        created_ns, event_id, digest = _PACKED.unpack_from(segment, start)
        return created_ns, event_id, digest


class Event(msgspec.Struct, frozen=True, gc=False):
    """One notable event, packed: `metadata` is canonical JSON."""

    id: str
    type: str
    actor: str
    object_id: str
    metadata: str
    created_ns: int


class NotableStream:
    """Everything but accepted heartbeats, newest `events_max`."""

    name = "notable"

    def __init__(self, events_max: int) -> None:
        self._events_max = events_max
        self._events: deque[tuple[Event, str]] = deque()
        self._base_hash = FIRST_PREVIOUS_HASH
        self.sequence = 0
        self.hash = FIRST_PREVIOUS_HASH

    @property
    def base(self) -> tuple[int, str]:
        """Give the sequence and hash of the event before the oldest kept."""
        return self.sequence - len(self), self._base_hash

    def start_after(self, sequence: int, digest: str) -> None:
        """Begin an empty stream after an event that is not kept any more."""
        self.sequence = sequence
        self.hash = self._base_hash = digest

    def kept(self) -> Iterator[Event]:
        """Give every event kept, oldest first."""
        return (event for event, _ in self._events)

    def append(self, event: Event) -> None:
        """Add one event and chain it."""
        self.sequence += 1
        self.hash = sha256(
            (
                f'{{"actor":{canonical_string(event.actor)},"created_at":"{format_timestamp(event.created_ns)}",'
                f'"id":"{event.id}","metadata":{event.metadata},"object_id":{canonical_string(event.object_id)},'
                f'"previous_hash":"{self.hash}","sequence":{self.sequence},"stream":"notable","type":{canonical_string(event.type)}}}'
            ).encode(),
        ).hexdigest()
        self._events.append((event, self.hash))
        if len(self._events) > self._events_max:
            self._base_hash = self._events.popleft()[1]

    def __len__(self) -> int:
        return len(self._events)

    def moments(self, kind: str = "") -> Iterator[tuple[int, int]]:
        """Give (created_ns, position) of each event, or of each of one type, oldest first."""
        for position, (event, _) in enumerate(self._events):
            if not kind or event.type == kind:
                yield event.created_ns, position

    def event(self, position: int) -> dict[str, Any]:
        """Show the event at a position, 0 the oldest kept."""
        event, digest = self._events[position]
        return {
            "id": event.id,
            "type": event.type,
            "actor": event.actor,
            "object_id": event.object_id,
            "metadata": msgspec.json.decode(event.metadata),
            "created_at": format_timestamp(event.created_ns),
            "stream": self.name,
            "sequence": self.sequence - len(self._events) + position + 1,
            "previous_hash": self._events[position - 1][1] if position else self._base_hash,
            "hash": digest,
        }


def event_hash(event: dict[str, Any]) -> str:
    """Compute a shown event's hash again, as any client can: SHA-256 over its canonical JSON without `hash`."""
    return sha256(canonical_json({key: event[key] for key in event if key != "hash"}).encode()).hexdigest()
