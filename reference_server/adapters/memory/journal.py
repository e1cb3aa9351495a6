"""The journal of a state file, in memory: the twin of the one in files. It fails when it is told to."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from reference_server.adapters.memory.pauses import Pause, at_once, offloaded
from reference_server.ports import JournalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Result = TypeVar("Result")


class Storage(msgspec.Struct):
    """What outlives a journal: a snapshot, and segments by name, in their order."""

    snapshot: bytes | None = None
    segments: dict[str, list[bytes]] = {}


class MemoryJournal:
    """`ports.Journal` over a `Storage`. `failures` counts how many of the next calls that write fail."""

    def __init__(self, storage: Storage, due_after: int = 1_000_000, pause: Pause = at_once) -> None:
        self.storage = storage
        self._pause = pause
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

    async def offload(self, call: Callable[[], Result], *, abandon_on_cancel: bool = False) -> Result:
        """Make the call here: nothing blocks."""
        return await offloaded(self._pause, call, abandon_on_cancel=abandon_on_cancel)

    @property
    def segment(self) -> str:
        """Name the segment that groups go to."""
        return self._segment

    @property
    def next_segment(self) -> str:
        """Name the segment that `rotate` will begin."""
        return f"{int(self._segment or '0') + 1:08d}"

    @property
    def due(self) -> bool:
        """Return whether as many groups came after the last snapshot as it was told."""
        return self._since >= self._due_after

    def read(self) -> bytes | None:
        """Return the snapshot; None where there is none yet."""
        return self.storage.snapshot

    def groups(self, segment: str | None) -> Iterator[bytes] | None:
        """Return every group after the snapshot that names this segment; None where there is none at all."""
        if segment not in self.storage.segments:
            if any(self.storage.segments.values()):
                raise JournalError("the journal of another state file: move it away")
            return None
        names = [name for name in self.storage.segments if name >= (segment or "")]
        return iter([group for name in names for group in self.storage.segments[name]])

    def start(self) -> None:
        """Go on after the last group."""
        self._segment = max(self.storage.segments, default=self.next_segment)
        self.storage.segments.setdefault(self._segment, [])

    def append(self, group: bytes) -> None:
        """Keep a group. Raises JournalError when told to."""
        self._write()
        self.storage.segments[self._segment].append(group)
        self._since += 1

    def rotate(self) -> None:
        """Begin the next segment. Raises JournalError when told to."""
        self._write()
        self._segment = self.next_segment
        self.storage.segments[self._segment] = []

    def begin_snapshot(self, pieces: Iterable[bytes]) -> Callable[[], None]:
        """Read the state at once; what is returned raises JournalError when told to."""
        self._written = b"".join(pieces)
        return self._write

    def end_snapshot(self) -> None:
        """Do nothing: it is written when it is begun."""

    def publish(self) -> None:
        """Put the snapshot in the place of the last."""
        self.storage.snapshot = self._written
        self.storage.segments = {self._segment: self.storage.segments[self._segment]}
        self._since = 0
        self.snapshots += 1

    def close(self) -> None:
        """Write no more."""
        self._segment = ""
