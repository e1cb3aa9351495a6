"""A journal in memory that passes the same tests as the one in files, and fails when it is told to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from reference_server.ports import JournalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


class Storage(msgspec.Struct):
    """What outlives a journal: a snapshot, and segments by name, in their order."""

    snapshot: bytes | None = None
    segments: dict[str, list[bytes]] = {}


class MemoryJournal:
    """`ports.Journal` over a `Storage`. `failures` counts how many of the next calls that write fail."""

    def __init__(self, storage: Storage, due_after: int = 1_000_000) -> None:
        self.storage = storage
        self.failures = 0
        self.snapshots = 0
        self._due_after = due_after
        self._since = 0
        self._written = b""
        self._segment = ""

    def _write(self) -> None:
        if self.failures:
            self.failures -= 1
            raise JournalError("cannot write (told to fail)")

    @property
    def segment(self) -> str:
        return self._segment

    @property
    def next_segment(self) -> str:
        return f"{int(self._segment or '0') + 1:08d}"

    @property
    def due(self) -> bool:
        return self._since >= self._due_after

    def read(self) -> bytes | None:
        return self.storage.snapshot

    def groups(self, segment: str | None) -> Iterator[bytes] | None:
        if segment not in self.storage.segments:
            if any(self.storage.segments.values()):
                raise JournalError("the journal of another state file: move it away")
            return None
        names = [name for name in self.storage.segments if name >= (segment or "")]
        return iter([group for name in names for group in self.storage.segments[name]])

    def start(self) -> None:
        self._segment = max(self.storage.segments, default=self.next_segment)
        self.storage.segments.setdefault(self._segment, [])

    def append(self, group: bytes) -> None:
        self._write()
        self.storage.segments[self._segment].append(group)
        self._since += 1

    def rotate(self) -> None:
        self._write()
        self._segment = self.next_segment
        self.storage.segments[self._segment] = []

    def begin_snapshot(self, pieces: Iterable[bytes]) -> Callable[[], None]:
        self._written = b"".join(pieces)
        return self._write

    def end_snapshot(self) -> None:
        """Nothing of it takes any time here."""

    def publish(self) -> None:
        self.storage.snapshot = self._written
        self.storage.segments = {self._segment: self.storage.segments[self._segment]}
        self._since = 0
        self.snapshots += 1

    def close(self) -> None:
        self._segment = ""
