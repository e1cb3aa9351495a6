"""The journal on disk: the state file, its segments beside it, and the locks that let one server use them.

A journal of our own rather than SQLite's: every write and sync of it can be seen, counted and made to fail in a test;
what is torn can be told from what was damaged, where SQLite ends its log at the first frame that is not whole, and says
nothing; and a group costs one write and one sync.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from reference_server.adapters.files.disk import SYSTEM_DISK, write_all
from reference_server.adapters.files.private_files import write_new
from reference_server.adapters.files.segment import Header, Segment, SegmentReader, encode_header
from reference_server.limits import JOURNAL_MIN_BYTES, SNAPSHOT_PIECE_BYTES
from reference_server.ports import JournalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from reference_server.adapters.files.disk import Disk, Writing
    from reference_server.adapters.threads import Result
    from reference_server.ports import Entropy

NAME_DIGITS = 16


class StateFiles:
    """The journal in files (`ports.Journal`). Takes the lock at once. Raises JournalError."""

    def __init__(self, path: str, entropy: Entropy, journal_bytes: int, disk: Disk = SYSTEM_DISK) -> None:
        self._disk = disk
        self._path = disk.resolve(Path(path))  # whatever links lead to it, there is one journal beside it
        self._entropy = entropy
        self._journal_bytes = journal_bytes
        self._snapshot_bytes = 0
        self._earlier_bytes = 0
        self._segment: Segment | None = None
        self._child: Writing | None = None
        self._next = ""
        self._ended = False
        self._first = False
        self._readers: list[SegmentReader] = []
        self._lock = self._take_lock()
        self._state_lock: int | None = None
        try:
            self._state_lock = self._lock_what_is_there()
        except BaseException:
            self._disk.close(self._lock)
            raise

    def _take_lock(self) -> int:
        """Take the lock of those that start. Whoever serves has more, which cannot be removed unnoticed."""
        path = self._beside(".lock")
        try:
            lock = self._disk.open(path, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise JournalError(
                f"cannot write beside {self._path} ({error.strerror}): name a file in a folder that this server may use"
            ) from None
        self._hold(lock)
        return lock

    def _lock_what_is_there(self) -> int | None:
        """Lock the state file, wherever else it is linked to, and see that nobody has one of the journal's segments.

        A server has both as long as it serves, so that it is found though its lock file was removed.
        """
        for path in self._segments():
            lock = self._open_if_there(path)
            if lock is not None:
                self._hold(lock)
                self._disk.close(lock)
        lock = self._open_if_there(self._path)
        if lock is not None:
            self._hold(lock)
        return lock

    def _open_if_there(self, path: Path) -> int | None:
        try:
            return self._disk.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise JournalError(f"cannot read {path} ({error.strerror})") from None

    def _hold(self, file: int) -> None:
        """Lock an open file, or close it. Raises JournalError when another server has it."""
        try:
            self._disk.lock(file)
        except OSError:
            self._disk.close(file)
            raise JournalError(
                f"{self._path} is in use by another server: stop that one, or name another file"
            ) from None

    def _beside(self, ending: str) -> Path:
        return self._path.with_name(self._path.name + ending)

    def _segment_path(self, name: str) -> Path:
        return self._beside(f".journal-{name}")

    def _segments(self) -> list[Path]:
        return self._disk.matching(self._path.parent, f"{_glob_escaped(self._path.name)}.journal-*-????????????????")

    async def offload(self, call: Callable[[], Result], *, abandon_on_cancel: bool = False) -> Result:
        """Return what a call returns, from a thread where this blocks."""
        return await self._disk.offload(call, abandon_on_cancel=abandon_on_cancel)

    @property
    def segment(self) -> str:
        """Name the segment that groups go to."""
        return self._open_segment().name

    @property
    def next_segment(self) -> str:
        """Name the segment that `rotate` will begin."""
        return self._next

    @property
    def due(self) -> bool:
        """Return whether the journal has outgrown what it may: by default the snapshot, which pays for that."""
        if self._segment is None:
            return False
        written = self._earlier_bytes + self._segment.mark.end
        return written > (self._journal_bytes or max(JOURNAL_MIN_BYTES, self._snapshot_bytes))

    def read(self) -> bytes | None:
        """Return the snapshot."""
        self._require_private(self._path)
        try:
            content = self._disk.read(self._path)
        except FileNotFoundError:
            self._require_empty(
                map(self._reader, self._segments()),
                f"is the journal of {self._path}, which is missing: bring it back; or, to begin anew and lose what it "
                "held, move the journal away",
            )
            return None
        except OSError as error:
            raise JournalError(f"cannot read {self._path} ({error.strerror})") from None
        self._snapshot_bytes = len(content)
        return content

    def _require_private(self, path: Path) -> None:
        problem = self._disk.exposure(path)
        if problem:
            raise JournalError(f"{problem}; it holds the machines' tokens")

    def _require_empty(self, readers: Iterable[SegmentReader], problem: str) -> None:
        """Pass over what a start left that was cut off before its snapshot was there, but never over a state.

        A segment that comes after another had a state file beside it, though nothing was changed since.
        """
        for reader in readers:
            if reader.header.previous or any(True for _ in reader.groups(None)):
                raise JournalError(f"{self._segment_path(reader.header.name)} {problem}")

    def _reader(self, path: Path) -> SegmentReader:
        self._require_private(path)
        try:
            return SegmentReader(str(path), self._disk.read(path))
        except OSError as error:
            raise JournalError(f"cannot read {path} ({error.strerror})") from None

    def groups(self, segment: str | None) -> Iterator[bytes] | None:
        """Yield every group after the snapshot, from the segment that it names through those that follow."""
        readers = [self._reader(path) for path in self._segments()]
        first = [reader for reader in readers if reader.header.name == segment]
        if first:
            return self._groups(first[0], {reader.header.previous: reader for reader in readers})
        self._require_empty(
            readers,
            f"is the journal of another state file than {self._path}: bring back the two that belong together; or, to "
            "go on from the state file alone, move the journal away",
        )
        return None

    def _groups(self, reader: SegmentReader | None, by_previous: dict[str, SegmentReader]) -> Iterator[bytes]:
        self._readers = []
        while reader is not None:
            self._readers.append(reader)
            following = by_previous.get(reader.header.name)
            until = None if following is None else following.header.first_group - 1
            if self._segment is not None and self._segment.name == reader.header.name:
                until = self._segment.mark.group  # what may be behind it was refused
            yield from reader.groups(until)
            reader = following

    def start(self) -> None:
        """Go on after the last group that was read, or in a first segment."""
        needed = {self._segment_path(reader.header.name) for reader in self._readers}
        try:
            for path in self._segments():
                if path not in needed:
                    self._disk.unlink(path)
            if self._readers:
                last = self._readers[-1]
                name = last.header.name
                self._segment = Segment(str(self._segment_path(name)), name, last.read, self._disk)
                self._segment.trim()
                self._first = not last.header.previous
                self._earlier_bytes = sum(reader.read.end for reader in self._readers[:-1])
            else:
                self._create(Header(self._name_after(""), "", 1))
        except OSError as error:
            raise self._failed(error) from None
        self._readers = []
        self._next = self._name_after(self.segment)

    def _name_after(self, name: str) -> str:
        number = int(name.partition("-")[0] or "0") + 1
        return f"{number:08d}-{self._entropy.hex(NAME_DIGITS)}"

    def _create(self, header: Header) -> None:
        """Make a segment, whole from the moment it is there, and let groups go to it. Raises OSError."""
        path = self._segment_path(header.name)
        unfinished = self._beside(".journal.tmp")
        _write_anew(unfinished, encode_header(header), self._disk)
        self._disk.rename(unfinished, path)
        self._sync_folder()
        segment = Segment(str(path), header.name, SegmentReader(str(path), self._disk.read(path)).read, self._disk)
        if self._segment is not None:
            self._segment.close()
        self._segment = segment
        self._first = not header.previous

    def leave_first_segment(self) -> None:
        """Go on in a segment that comes after another, now that the state file is there. Raises JournalError.

        So a first segment that is found alone is what a start left that was cut off, and any other has lost its state
        file.
        """
        if self._first:
            self.rotate()

    def _sync_folder(self) -> None:
        self._disk.sync_folder(self._path.parent)

    def append(self, group: bytes) -> None:
        """Make one group durable."""
        segment = self._open_segment()
        if self._ended:
            raise JournalError(f"the journal of {self._path} has ended, and its next segment could not be begun")
        try:
            segment.append(group)
        except OSError as error:
            with suppress(OSError):
                segment.trim()  # where not even that can be done, only a new snapshot makes what was written void
            raise self._failed(error) from None

    def rotate(self) -> None:
        """Begin the next segment."""
        segment = self._open_segment()
        end = segment.mark.end
        try:
            self._create(Header(self._next, segment.name, segment.mark.group + 1))
        except OSError as error:
            # If the next segment is there all the same, a start would read nothing that came after it in this one.
            with suppress(OSError):
                self._disk.unlink(self._segment_path(self._next), missing_ok=True)
            self._ended = self._disk.exists(self._segment_path(self._next))
            raise self._failed(error) from None
        self._ended = False
        self._earlier_bytes += end
        self._next = self._name_after(self.segment)

    def _open_segment(self) -> Segment:
        if self._segment is None:
            raise JournalError(f"the journal of {self._path} is not open")
        return self._segment

    def _failed(self, error: OSError) -> JournalError:
        return JournalError(f"cannot write beside {self._path} ({error.strerror or error})")

    def begin_snapshot(self, pieces: Iterable[bytes]) -> Callable[[], None]:
        """Fork: the child has the state as it is now, however long writing it takes, and costs this process nothing."""
        try:
            self._child = child = self._disk.fork(partial(_write_as_child, self._disk, self._beside(".tmp"), pieces))
        except OSError as error:
            advice = "allow its user more processes (LimitNPROC=), or free memory"
            if error.errno in {errno.EMFILE, errno.ENFILE}:
                advice = "allow it more open files (LimitNOFILE=)"
            reason = f"({error.strerror}): {advice}"
            raise JournalError(f"no process can be started to write a snapshot {reason}") from None

        def wait() -> None:
            trouble = child()
            if trouble:
                raise JournalError(f"cannot write a snapshot beside {self._path} ({trouble})")

        return wait

    def end_snapshot(self) -> None:
        """End the child that writes one, if one does."""
        if self._child is not None:
            self._child.end()

    def publish(self) -> None:
        """Rename the snapshot into its place, and drop the segments before the present one."""
        segment = self._open_segment()
        written = self._beside(".tmp")
        lock: int | None = None
        try:
            segment.require_in_place()  # else another server may have begun here
            lock = self._disk.open(written, os.O_RDONLY)
            self._disk.lock(lock)
            size = self._disk.size(lock)
            self._disk.rename(written, self._path)
            lock, self._state_lock = self._state_lock, lock
            self._sync_folder()
        except OSError as error:
            raise self._failed(error) from None
        finally:
            if lock is not None:
                self._disk.close(lock)
        self._snapshot_bytes, self._earlier_bytes = size, 0
        for path in self._segments():
            if path != self._segment_path(segment.name):
                with suppress(OSError):
                    self._disk.unlink(path)  # a later start drops what stays behind

    def close(self) -> None:
        """Close the segment and give the locks back."""
        if self._segment is not None:
            self._segment.close()
            self._segment = None
        if self._state_lock is not None:
            self._disk.close(self._state_lock)
            self._state_lock = None
        self._disk.close(self._lock)


def _glob_escaped(name: str) -> str:
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file anew, so that it is either the old one or the new one. Raises OSError."""
    written = path.with_name(path.name + ".tmp")
    _write_anew(written, content, SYSTEM_DISK)
    written.rename(path)


def _write_anew(path: Path, content: bytes, disk: Disk) -> None:
    disk.unlink(path, missing_ok=True)
    write_new(path, content, disk)


def _write_as_child(disk: Disk, path: Path, pieces: Iterable[bytes], parent_lives: Callable[[], bool]) -> bool:
    """Write a snapshot in a forked child; says whether all of it is there."""
    if not parent_lives():
        return False  # its place may be taken already, by a server that writes a snapshot of its own
    disk.unlink(path, missing_ok=True)
    file = disk.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    offset = 0
    for block in blocks(pieces):
        if not parent_lives():
            return False
        write_all(file, block, offset, disk)
        # Bit by bit: a commit's sync waits, on common file systems, for whatever else is unwritten at that moment.
        disk.sync_data(file)
        offset += len(block)
    disk.sync(file)
    return True


def blocks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Join small pieces, so that each write is worth its call."""
    block = bytearray()
    for piece in pieces:
        block += piece
        if len(block) >= SNAPSHOT_PIECE_BYTES:
            yield bytes(block)
            block.clear()
    yield bytes(block)
