"""One segment of the journal: a file of groups, each with its number and a hash over all that makes it this one.

    0     header  magic, number of the first group, this segment's name, the name of the one before, hash
    512   mark    the last group that was made known as durable, where it ends, hash
    1024  groups  length, number, hash, content; one after the other

A group is written and synced before its mark is. So what is wrong up to the mark was durable once and was damaged
since, which must not be passed over; whereas behind it a group that is torn was never confirmed to anybody. The mark is
not synced on its own: `kill -9` cannot take it back, and after a power failure the group behind it is whole all the
same.
"""

from __future__ import annotations

import errno
import os
import struct
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from reference_server.adapters.files.disk import SYSTEM_DISK, write_all
from reference_server.ports import JournalError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reference_server.adapters.files.disk import Disk

MAGIC = b"HATCHFJ1"
MARK_AT, GROUPS_AT = 512, 1024
NAME_BYTES = 48
DIGEST_BYTES = 16
_HEADER = struct.Struct(f"<8sQ{NAME_BYTES}s{NAME_BYTES}s")
_MARK = struct.Struct("<QQ")
_GROUP = struct.Struct(f"<IQ{DIGEST_BYTES}s")


class Header(NamedTuple):
    """What a segment says of itself: `previous` is empty for a first one."""

    name: str
    previous: str
    first_group: int


class Mark(NamedTuple):
    """The last group that is known to be durable, and the offset at which it ends."""

    group: int
    end: int


def _digest(*parts: bytes) -> bytes:
    hashed = blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        hashed.update(part)
    return hashed.digest()


def encode_header(header: Header) -> bytes:
    """Write what a new segment begins with, its mark included."""
    packed = _HEADER.pack(MAGIC, header.first_group, header.name.encode(), header.previous.encode())
    start = (packed + _digest(packed)).ljust(MARK_AT, b"\0")
    return (start + encode_mark(header.name, Mark(header.first_group - 1, GROUPS_AT))).ljust(GROUPS_AT, b"\0")


def encode_mark(name: str, mark: Mark) -> bytes:
    """Write a segment's mark."""
    packed = _MARK.pack(*mark)
    return packed + _digest(name.encode(), packed)


def encode_group(name: str, number: int, content: bytes) -> bytes:
    """Write one group."""
    return _GROUP.pack(len(content), number, _digest(name.encode(), number.to_bytes(8), content)) + content


class SegmentReader:
    """Reads a segment strictly. Raises JournalError at once for a header or mark that is not whole."""

    def __init__(self, path: str, content: bytes) -> None:
        self._path = path
        self._content = content
        size = _HEADER.size
        packed = content[:size]
        if len(content) < GROUPS_AT or content[size : size + DIGEST_BYTES] != _digest(packed):
            raise self._damaged("its beginning")
        magic, first_group, name, previous = _HEADER.unpack(packed)
        if magic != MAGIC:
            raise JournalError(f"{path} was written by another version of this server: use that one")
        self.header = Header(name.rstrip(b"\0").decode(), previous.rstrip(b"\0").decode(), first_group)
        packed = content[MARK_AT : MARK_AT + _MARK.size]
        if content[MARK_AT + _MARK.size :][:DIGEST_BYTES] != _digest(self.header.name.encode(), packed):
            raise self._damaged("its mark")
        self.mark = Mark(*_MARK.unpack(packed))
        self.read = Mark(first_group - 1, GROUPS_AT)
        """The last group that was read so far."""

    def groups(self, until: int | None) -> Iterator[bytes]:
        """Yield the groups in turn, all of which must be whole up to a number; without one, up to the mark."""
        must = self.mark.group if until is None else until
        while until is None or self.read.group < until:
            group = self._next()
            if group is None:
                break
            yield group
        if self.read.group < must:
            raise self._damaged(f"group {self.read.group + 1} of {must}, at byte {self.read.end}")

    def _next(self) -> bytes | None:
        number, start = self.read.group + 1, self.read.end
        head = self._content[start : start + _GROUP.size]
        if len(head) < _GROUP.size:
            return None
        length, found, digest = _GROUP.unpack(head)
        content = self._content[start + _GROUP.size : start + _GROUP.size + length]
        if found != number or digest != _digest(self.header.name.encode(), number.to_bytes(8), content):
            return None
        self.read = Mark(number, start + _GROUP.size + length)
        return content

    def _damaged(self, where: str) -> JournalError:
        return JournalError(
            f"{self._path} is damaged ({where}), and changes that were confirmed are in it: bring back a whole copy of "
            "the state file and its journal; or, to go on from the state file alone and lose what came after it, move "
            "the journal away"
        )


class Segment:
    """A segment that is open for more, and locked. Every method may raise OSError."""

    def __init__(self, path: str, name: str, mark: Mark, disk: Disk = SYSTEM_DISK) -> None:
        self._disk = disk
        self.path = path
        self.name = name
        self.mark = mark
        self._file = disk.open(Path(path), os.O_RDWR)
        try:
            disk.lock(self._file)
        except OSError:
            disk.close(self._file)
            raise

    def require_in_place(self) -> None:
        """Raise OSError unless it is still the file at its path: what was removed or replaced survives nothing."""
        if not self._disk.is_at(self._file, Path(self.path)):
            raise FileNotFoundError(errno.ENOENT, "its journal was removed, or another file put in its place")

    def trim(self) -> None:
        """Cut off what is behind the last group, durably."""
        self._disk.truncate(self._file, self.mark.end)
        write_all(self._file, encode_mark(self.name, self.mark), MARK_AT, self._disk)
        self._disk.sync(self._file)

    def append(self, content: bytes) -> None:
        """Write a group, sync it, then mark it. After an OSError it is not among the segment's groups: `trim` next."""
        number = self.mark.group + 1
        written = encode_group(self.name, number, content)
        mark = Mark(number, self.mark.end + len(written))
        self.require_in_place()
        write_all(self._file, written, self.mark.end, self._disk)
        self._disk.sync_data(self._file)
        write_all(self._file, encode_mark(self.name, mark), MARK_AT, self._disk)
        self.mark = mark

    def close(self) -> None:
        """Close the file."""
        self._disk.close(self._file)
