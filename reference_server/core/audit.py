"""Audit streams: bounded, four an owner, each a hash chain (contract §3).

Events are kept packed, because a fleet keeps hundreds of thousands of them; their JSON is made when they are read.
"""

from __future__ import annotations

import struct
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from reference_server.wire.canonical_json import canonical_json, canonical_string
from reference_server.wire.timestamps import format_timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

FIRST_PREVIOUS_HASH = "0" * 64
"""`previous_hash` of a stream's first event."""
ROUTINE, NOTABLE, REFUSED, MARKET = "routine", "notable", "refused", "market"
HEARTBEAT_TYPE = "worker_heartbeat"
REFUSED_TYPES = frozenset({"worker_auth_failed", "machine_certificate_issue_denied", "owner_access_denied"})
"""Types that other clients can cause in an owner's streams: refused requests."""
MARKET_TYPES = frozenset(
    {
        *("agent_registered", "agent_updated", "agent_key_rotated"),
        *("job_created", "job_assigned", "job_started", "job_finished", "job_requeued"),
        *("withdrawal_requested", "withdrawal_settled", "withdrawal_returned"),
        *("login_succeeded", "login_denied", "logout"),
    }
)
"""Types of jobs, payouts and logins. They have a stream of their own, so that jobs of strangers evict nothing else."""
_PACKED = struct.Struct("<q8s32s")
_PACKED_BYTES = _PACKED.size
_DIGEST_BYTES = 32
SEGMENT_EVENTS = 256
"""Heartbeats in one segment of memory, 18 KB. Of an owner's segments, one is being filled and one being emptied."""
SEGMENT_BYTES = 500
"""Bytes of a segment besides its events: the object, the containers of its three parts, its place in the list."""
ROUTINE_EVENT_BYTES = (_PACKED_BYTES + 2 * 8) * 9 // 8
"""Bytes of a packed event and the indices of its worker and policy, with the containers' spare room as they grow."""
EVENT_BYTES = 400
"""Bytes of an event besides the characters of its texts: five strings, two numbers, record, digest, list entry."""
_WIDE_BYTES = 4
"""The most bytes that a character of a non-ASCII text takes."""
_KEPT_IN_16 = 15
"""The share of the room, in sixteenths, that is still used after making room: making room reads all streams, so it
must be rare."""


def stream_of(kind: str) -> str:
    """Return the name of the stream that events of a type belong to (contract §3)."""
    if kind == HEARTBEAT_TYPE:
        return ROUTINE
    if kind in REFUSED_TYPES:
        return REFUSED
    return MARKET if kind in MARKET_TYPES else NOTABLE


def is_granted(kind: str) -> bool:
    """Return whether events of this type record something granted on the market or by a login."""
    return kind in MARKET_TYPES and kind != "login_denied"


class Stream(Protocol):
    """The interface of a stream that shares a `Room`."""

    size: int
    """The bytes that the stream's events take."""

    def cut(self, size: int) -> None:
        """Drop the oldest events until the rest takes no more than so many bytes."""
        ...


class Room:
    """The memory that all streams of one kind have together, in bytes.

    When it is used up, the largest streams drop their oldest events until all are below one level: smaller streams lose
    nothing to the noise of others. What is dropped moves a stream's base, as its own bound does.
    """

    def __init__(self, bytes_max: int, streams: Callable[[], Iterable[Stream]]) -> None:
        self._bytes_max = bytes_max
        self._streams = streams
        self.used = 0

    def take(self, size: int) -> None:
        """Use more of it, or less; make room when it is used up."""
        self.used += size
        if size > 0 and self.used > self._bytes_max:
            streams = [stream for stream in self._streams() if stream.size]
            level = _level([stream.size for stream in streams], self._bytes_max * _KEPT_IN_16 // 16)
            for stream in streams:
                if stream.size > level:
                    stream.cut(level)


def _level(sizes: list[int], total: int) -> int:
    """Return the most that each may have so that all have no more than a total together."""
    sizes.sort()
    for number, size in enumerate(sizes):
        level = total // (len(sizes) - number)
        if size > level:
            return level
        total -= size
    return max(sizes, default=0)


class _Segment:
    """Heartbeats that are dropped from memory together; it grows with them. `first` is the slot of the first in it."""

    __slots__ = ("first", "packed", "policies", "workers")

    def __init__(self) -> None:
        self.first = 0
        self.packed = bytearray()
        self.workers: list[str] = []
        self.policies: list[str] = []

    def trim(self, slot: int) -> None:
        """Free the memory of what is before a slot."""
        count, self.first = slot - self.first, slot
        del self.packed[: count * _PACKED_BYTES], self.workers[:count], self.policies[:count]


class RoutineStream:
    """An owner's accepted heartbeats, newest `events_max`. 72 bytes an event, and 500 for 256 of them."""

    name = ROUTINE

    def __init__(self, events_max: int, room: Room) -> None:
        self._events_max = events_max
        self._room = room
        self._segments: list[_Segment] = []
        self._dropped = 0
        """Of the events in the first segment, how many are kept no more."""
        self._kept = 0
        self._base_digest = bytes(_DIGEST_BYTES)
        """Of the event before the first that is in memory still, kept or not."""
        self.size = 0
        self.sequence = 0
        self._digest = bytes(_DIGEST_BYTES)

    @property
    def hash(self) -> str:
        """Return the hash of its newest event."""
        return self._digest.hex()

    @property
    def base(self) -> tuple[int, str]:
        """Return the sequence and hash of the event before the oldest kept."""
        return self.sequence - self._kept, self._digest_before(0).hex()

    def start_after(self, sequence: int, digest: str) -> None:
        """Begin an empty stream after an event that is not kept any more."""
        self.sequence = sequence
        self._digest = self._base_digest = bytes.fromhex(digest)

    def append(self, event_hex: str, worker_id: str, policy_id: str, created_ns: int) -> None:
        """Add one accepted heartbeat. Both ids are ones this server made, so they need no escaping."""
        self.sequence += 1
        # Digests are written as digits, as `hexdigest` beside `digest` would finish the hash twice.
        digest = sha256(
            (
                f'{{"actor":"worker:{worker_id}","created_at":"{format_timestamp(created_ns)}","id":"aud_{event_hex}",'
                f'"metadata":{{"policy_id":"{policy_id}"}},"object_id":"{worker_id}",'
                f'"previous_hash":"{self._digest.hex()}","sequence":{self.sequence},"stream":"routine",'
                f'"type":"worker_heartbeat"}}'
            ).encode(),
        ).digest()
        self._digest = digest
        more = ROUTINE_EVENT_BYTES
        if (self._dropped + self._kept) % SEGMENT_EVENTS == 0:
            self._segments.append(_Segment())
            more += SEGMENT_BYTES
        segment = self._segments[-1]
        segment.packed += _PACKED.pack(created_ns, bytes.fromhex(event_hex), digest)
        segment.workers.append(worker_id)
        segment.policies.append(policy_id)
        self._kept += 1
        if self._kept > self._events_max:
            more -= self._drop(1)
        self.size += more
        self._room.take(more)

    def _drop(self, count: int) -> int:
        """Keep some of the oldest events no more, at least one. Return how many bytes of memory that gave back."""
        dropped = self._dropped + count
        self._kept -= count
        if dropped < SEGMENT_EVENTS:
            self._dropped = dropped
            return 0
        emptied = dropped // SEGMENT_EVENTS
        self._base_digest = self._digest_before(emptied * SEGMENT_EVENTS - self._dropped)
        self._dropped = dropped % SEGMENT_EVENTS
        gone = self._segments[:emptied]
        del self._segments[:emptied]
        return sum(SEGMENT_BYTES + len(segment.workers) * ROUTINE_EVENT_BYTES for segment in gone)

    def cut(self, size: int) -> None:
        """Drop the oldest events until the rest takes no more than so many bytes."""
        keep = min(self._kept, size // ROUTINE_EVENT_BYTES)
        while keep and (over := self._size_of(keep) - size) > 0:
            keep = max(0, keep + -over // ROUTINE_EVENT_BYTES)
        if keep < self._kept:
            self._drop(self._kept - keep)
        self._base_digest = self._digest_before(0)
        if not keep:
            self._segments.clear()
            self._dropped = 0
        elif self._segments[0].first < self._dropped:
            self._segments[0].trim(self._dropped)
        before, self.size = self.size, self._size_of(keep)
        self._room.take(self.size - before)

    def _size_of(self, keep: int) -> int:
        """Return what so many of the newest events take, without anything before them."""
        last = (self._dropped + self._kept - 1) % SEGMENT_EVENTS + 1
        segments = 1 + max(0, keep - last + SEGMENT_EVENTS - 1) // SEGMENT_EVENTS if keep else 0
        return segments * SEGMENT_BYTES + keep * ROUTINE_EVENT_BYTES

    def __len__(self) -> int:
        return self._kept

    def moments(self) -> Iterator[tuple[int, int]]:
        """Yield (created_ns, position) of each event, oldest first."""
        position, skipped = 0, self._dropped
        for segment in self._segments:
            packed = segment.packed[(skipped - segment.first) * _PACKED_BYTES :]  # a copy: this may be read on
            for created_ns, _, _ in _PACKED.iter_unpack(packed):
                yield created_ns, position
                position += 1
            skipped = 0

    def type_of(self, _position: int) -> str:
        """Return the type of the event at a position."""
        return HEARTBEAT_TYPE

    def event(self, position: int) -> dict[str, Any]:
        """Show the event at a position, 0 the oldest kept."""
        created_ns, event_id, digest, worker_id, policy_id = self._at(position)
        return {
            "id": f"aud_{event_id.hex()}",
            "type": HEARTBEAT_TYPE,
            "actor": f"worker:{worker_id}",
            "object_id": worker_id,
            "metadata": {"policy_id": policy_id},
            "created_at": format_timestamp(created_ns),
            "stream": self.name,
            "sequence": self.sequence - self._kept + position + 1,
            "previous_hash": self._digest_before(position).hex(),
            "hash": digest.hex(),
        }

    def kept(self) -> Iterator[Event]:
        """Yield every event kept, oldest first."""
        for position in range(self._kept):
            created_ns, event_id, _, worker_id, policy_id = self._at(position)
            metadata = f'{{"policy_id":"{policy_id}"}}'
            yield Event(f"aud_{event_id.hex()}", HEARTBEAT_TYPE, f"worker:{worker_id}", worker_id, metadata, created_ns)

    def _digest_before(self, position: int) -> bytes:
        """Return the digest of the event before a position; before the oldest kept it may be in memory no more."""
        if self._segments and self._dropped + position > self._segments[0].first:
            return self._at(position - 1)[2]
        return self._base_digest

    def _at(self, position: int) -> tuple[int, bytes, bytes, str, str]:
        """Return when the event at a position was, its id, its digest, and the ids of its worker and policy."""
        number, slot = divmod(self._dropped + position, SEGMENT_EVENTS)
        segment = self._segments[number]
        index = slot - segment.first
        created_ns, event_id, digest = _PACKED.unpack_from(segment.packed, index * _PACKED_BYTES)
        return created_ns, event_id, digest, segment.workers[index], segment.policies[index]


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event that is no heartbeat, packed: `metadata` is canonical JSON."""

    id: str
    type: str
    actor: str
    object_id: str
    metadata: str
    created_ns: int

    @property
    def size(self) -> int:
        """Return the bytes it takes at most."""
        size = EVENT_BYTES
        for text in (self.actor, self.object_id, self.metadata):
            size += len(text) if text.isascii() else _WIDE_BYTES * len(text)
        return size


class EventStream:
    """Events that are no heartbeats, newest `events_max`, in a ring."""

    def __init__(self, name: str, events_max: int, room: Room) -> None:
        self.name = name
        self._events_max = events_max
        self._room = room
        self._events: list[tuple[Event, bytes]] = []
        self._oldest = 0
        self._base_digest = bytes(_DIGEST_BYTES)
        self.size = 0
        self.sequence = 0
        self.hash = FIRST_PREVIOUS_HASH

    @property
    def base(self) -> tuple[int, str]:
        """Return the sequence and hash of the event before the oldest kept."""
        return self.sequence - len(self), self._base_digest.hex()

    def start_after(self, sequence: int, digest: str) -> None:
        """Drop all that is kept, and go on after an event that is not kept any more."""
        self.cut(0)
        self.sequence = sequence
        self.hash, self._base_digest = digest, bytes.fromhex(digest)

    def kept(self) -> Iterator[Event]:
        """Yield every event kept, oldest first."""
        return (event for event, _ in self._in_order())

    def append(self, event: Event) -> None:
        """Add one event and chain it."""
        self.sequence += 1
        digest = sha256(
            (
                f'{{"actor":{canonical_string(event.actor)},"created_at":"{format_timestamp(event.created_ns)}",'
                f'"id":"{event.id}","metadata":{event.metadata},"object_id":{canonical_string(event.object_id)},'
                f'"previous_hash":"{self.hash}","sequence":{self.sequence},"stream":"{self.name}",'
                f'"type":{canonical_string(event.type)}}}'
            ).encode(),
        ).digest()
        self.hash = digest.hex()
        kept, more = self._events, event.size
        if len(kept) < self._events_max:
            kept.append((event, digest))
        else:
            evicted, self._base_digest = kept[self._oldest]
            more -= evicted.size
            kept[self._oldest] = (event, digest)
            self._oldest = (self._oldest + 1) % len(kept)
        self.size += more
        self._room.take(more)

    def cut(self, size: int) -> None:
        """Drop the oldest events until the rest takes no more than so many bytes."""
        events, left, dropped = self._in_order(), self.size, 0
        while left > size:
            event, self._base_digest = events[dropped]
            left -= event.size
            dropped += 1
        # A list that has grown frees its memory only by being replaced.
        self._events, self._oldest = events[dropped:], 0
        self._room.take(left - self.size)
        self.size = left

    def __len__(self) -> int:
        return len(self._events)

    def moments(self) -> Iterator[tuple[int, int]]:
        """Yield (created_ns, position) of each event, oldest first."""
        for position, (event, _) in enumerate(self._in_order()):
            yield event.created_ns, position

    def type_of(self, position: int) -> str:
        """Return the type of the event at a position."""
        return self._at(position)[0].type

    def event(self, position: int) -> dict[str, Any]:
        """Show the event at a position, 0 the oldest kept."""
        event, digest = self._at(position)
        return {
            "id": event.id,
            "type": event.type,
            "actor": event.actor,
            "object_id": event.object_id,
            "metadata": msgspec.json.decode(event.metadata),
            "created_at": format_timestamp(event.created_ns),
            "stream": self.name,
            "sequence": self.sequence - len(self._events) + position + 1,
            "previous_hash": (self._at(position - 1)[1] if position else self._base_digest).hex(),
            "hash": digest.hex(),
        }

    def _at(self, position: int) -> tuple[Event, bytes]:
        return self._events[(self._oldest + position) % len(self._events)]

    def _in_order(self) -> list[tuple[Event, bytes]]:
        return self._events[self._oldest :] + self._events[: self._oldest]


def event_hash(event: dict[str, Any]) -> str:
    """Compute a shown event's hash again, as any client can: SHA-256 over its canonical JSON without `hash`."""
    return sha256(canonical_json({key: event[key] for key in event if key != "hash"}).encode()).hexdigest()
