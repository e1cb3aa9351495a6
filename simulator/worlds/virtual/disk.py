"""A disk in memory. After a power loss, unsynced data may be lost, in any order, or be there in part.

A process is cut off between any two of its calls; how far a running call came is undefined. Writes since the last sync
are kept or lost one by one, and of a kept write perhaps only some sectors are there. Files created, renamed or removed
since the last sync of the folder are kept or lost one by one, too.
"""

from __future__ import annotations

import errno
import os
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

import trio

from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.worlds.virtual.moments import Moments

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np

    from reference_server.adapters.forking import Work
    from reference_server.adapters.threads import Result

SECTOR_BYTES = 512
"""The size of a sector, which a disk writes completely or not at all."""
LEAST_NS, MOST_NS = MILLISECOND_NS // 10, (2 * MILLISECOND_NS, 10 * MILLISECOND_NS, 50 * MILLISECOND_NS)
"""The delay before and after a call that waits for the disk: the least, and the greatest on different disks."""
SLOW_SHARE, SLOW_NS = 0.01, 200 * MILLISECOND_NS
"""The share of calls that take far longer, and the greatest delay of those."""

IN_SYNC_SHARE = 0.8
"""The share of interrupted calls that are in a sync, which takes most of a call's time."""


class _File:
    """A file's content, as processes see it, and as it would be after a power loss."""

    def __init__(self) -> None:
        self.seen = bytearray()
        self.durable = bytearray()
        self.locked_by = 0


class _Done(NamedTuple):
    """An operation on a file, or on a name in the folder. `call` is the call that did it, or 0."""

    call: int
    kind: str
    file: _File | None
    offset: int = 0
    data: bytes = b""
    name: str = ""
    to: str = ""


def _write(content: bytearray, offset: int, data: bytes) -> None:
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def _is_made_durable(one: _Done, sync: _Done) -> bool:
    """Return whether a sync of a file or of the folder makes an earlier operation durable."""
    if sync.file is None:
        return one.kind in {"name", "unlink"}
    return one.file is sync.file and one.kind in {"write", "truncate"}


class VirtualDisk:
    """The storage that outlives a server's processes. `full` says that nothing can be written any more."""

    def __init__(self, rng: np.random.Generator, moments: Moments | None = None) -> None:
        self.moments = moments or Moments()
        self.full = False
        self.rng = rng
        self.most_ns = MOST_NS[int(rng.integers(len(MOST_NS)))]
        self.seen: dict[str, _File] = {}
        """Files by name, as processes see them."""
        self._durable: dict[str, _File] = {}
        self._done: list[_Done] = []
        """Operations that are not durable yet, or are part of a call in progress."""
        self._under_way: set[int] = set()
        self._calls = self.opened = 0

    def put(self, path: str, content: bytes) -> None:
        """Put a durable file on the disk."""
        file = self.seen[path] = self._durable[path] = _File()
        file.seen[:] = file.durable[:] = content

    @property
    def files(self) -> dict[str, bytes]:
        """Return the contents of all files by path, as a copy of the disk would have them."""
        return {path: bytes(file.seen) for path, file in self.seen.items()}

    def note(self, done: _Done) -> None:
        """Record an operation; a sync makes earlier operations durable once its call is over."""
        self._done.append(done)
        if not done.call:
            self._settle()

    def begin_call(self) -> int:
        """Start a call that waits for the disk; return its number."""
        self._calls += 1
        self._under_way.add(self._calls)
        return self._calls

    def end_call(self, call: int) -> None:
        """End a call."""
        self._under_way.discard(call)
        self._settle()

    def _settle(self) -> None:
        """Make durable what calls that are over have synced."""
        at = 0
        while at < len(self._done):
            sync = self._done[at]
            if sync.kind != "sync" or sync.call in self._under_way:
                at += 1
                continue
            left = []
            for one in self._done[:at]:
                if _is_made_durable(one, sync):
                    self._apply(one)
                else:
                    left.append(one)
            self._done[: at + 1] = left
            at = len(left)

    def _apply(self, one: _Done) -> None:
        match one.kind, one.file:
            case "write", _File() as file:
                _write(file.durable, one.offset, one.data)
            case "truncate", _File() as file:
                del file.durable[one.offset :]
            case "name", _File() as file:
                self._durable.pop(one.to, None)
                self._durable[one.name] = file
            case "unlink", _:
                self._durable.pop(one.name, None)

    def fail(self) -> None:
        """Lose power: keep what is durable, and of the rest what the seed selects."""
        for call in sorted(self._under_way):
            places = [at for at, one in enumerate(self._done) if one.call == call]
            syncs = [at for at, one in enumerate(self._done) if one.call == call and one.kind == "sync"]
            if syncs and self.rng.random() < IN_SYNC_SHARE:
                first = syncs[int(self.rng.integers(len(syncs)))]
            else:
                first = [*places, len(self._done)][int(self.rng.integers(len(places) + 1))]
            self._done = [one for at, one in enumerate(self._done) if one.call != call or at < first]
        self._under_way.clear()
        self._settle()
        for one in self._done:
            if self.rng.random() < 0.5:  # noqa: PLR2004 - either way
                self._apply(one._replace(data=self._torn(one)) if one.kind == "write" else one)
        self._done = []
        self.seen = dict(self._durable)
        for file in self.seen.values():
            file.seen[:] = file.durable
            file.locked_by = 0

    def _torn(self, one: _Done) -> bytes:
        """Return a few whole sectors of a write, or all of it."""
        first = SECTOR_BYTES - one.offset % SECTOR_BYTES
        sectors = 1 + max(0, -(-(len(one.data) - first) // SECTOR_BYTES))
        kept = int(self.rng.integers(1, sectors + 1))
        return one.data if kept == sectors else one.data[: first + (kept - 1) * SECTOR_BYTES]


class _Written:
    """A child process that has already finished its work."""

    def __init__(self, trouble: str) -> None:
        self._trouble = trouble

    def __call__(self) -> str:
        return self._trouble

    def end(self) -> None:
        """Do nothing: the child has ended."""


class Mount:
    """A disk as one process uses it (`adapters.files.disk.Disk`), until the process is killed."""

    def __init__(self, disk: VirtualDisk) -> None:
        self._disk = disk
        self._open: dict[int, _File] = {}
        self._call = 0
        self._cut_off = False

    def cut_off(self) -> None:
        """Make every call fail from now on, and release all locks: the process is dead."""
        self._cut_off = True
        for number, file in self._open.items():
            if file.locked_by == number:
                file.locked_by = 0

    def _file(self, file: int) -> _File:
        self._require_alive()
        return self._open[file]

    def _require_alive(self) -> None:
        if self._cut_off:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def _at(self, path: Path) -> _File:
        self._require_alive()
        found = self._disk.seen.get(str(path))
        if found is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return found

    def _note(self, kind: str, file: _File | None, **what: object) -> None:
        self._disk.note(_Done(self._call, kind, file, **what))  # type: ignore[arg-type]  # as its callers name them

    def resolve(self, path: Path) -> Path:
        """Return the path: there are no links."""
        return path

    def open(self, path: Path, flags: int) -> int:
        """Open a file."""
        self._require_alive()
        name, seen = str(path), self._disk.seen
        if name not in seen:
            if not flags & os.O_CREAT:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            seen[name] = _File()
            self._note("name", seen[name], name=name)
        elif flags & os.O_EXCL:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        self._disk.opened += 1
        self._open[self._disk.opened] = seen[name]
        return self._disk.opened

    def close(self, file: int) -> None:
        """Close a file."""
        closed = self._open.pop(file)
        if closed.locked_by == file:
            closed.locked_by = 0

    def lock(self, file: int) -> None:
        """Lock an open file."""
        locked = self._file(file)
        if locked.locked_by not in {0, file}:
            raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK))
        locked.locked_by = file

    def write(self, file: int, data: bytes | memoryview, offset: int) -> int:
        """Write bytes at an offset."""
        written = self._file(file)
        if self._disk.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        content = bytes(data)
        _write(written.seen, offset, content)
        self._note("write", written, offset=offset, data=content)
        return len(content)

    def truncate(self, file: int, size: int) -> None:
        """Truncate a file."""
        cut = self._file(file)
        del cut.seen[size:]
        self._note("truncate", cut, offset=size)

    def sync(self, file: int) -> None:
        """Make a file durable."""
        self._note("sync", self._file(file))

    sync_data = sync

    def sync_folder(self, folder: Path) -> None:
        """Make created, renamed and removed names durable."""
        self._require_alive()
        self._note("sync", None, name=str(folder))

    def size(self, file: int) -> int:
        """Return the size of an open file in bytes."""
        return len(self._file(file).seen)

    def is_at(self, file: int, path: Path) -> bool:
        """Return whether the open file is the one at a path now."""
        return self._disk.seen.get(str(path)) is self._file(file)

    def read(self, path: Path) -> bytes:
        """Return a file's bytes."""
        return bytes(self._at(path).seen)

    def exists(self, path: Path) -> bool:
        """Return whether a file exists."""
        self._require_alive()
        return str(path) in self._disk.seen

    def matching(self, folder: Path, pattern: str) -> list[Path]:
        """Return the files whose names match a pattern."""
        self._require_alive()
        names = sorted(name.rpartition("/")[2] for name in self._disk.seen)
        return [folder / name for name in names if fnmatchcase(name, pattern)]

    def rename(self, path: Path, to: Path) -> None:
        """Rename a file, replacing any file at `to`."""
        file = self._at(path)
        del self._disk.seen[str(path)]
        self._disk.seen[str(to)] = file
        self._note("name", file, name=str(to), to=str(path))

    def unlink(self, path: Path, *, missing_ok: bool = False) -> None:
        """Remove a file."""
        self._require_alive()
        if missing_ok and str(path) not in self._disk.seen:
            return
        file = self._at(path)
        del self._disk.seen[str(path)]
        self._note("unlink", file, name=str(path))

    def exposure(self, _path: Path) -> str:
        """Return an empty text: there are no other users."""
        return ""

    def fork(self, work: Work) -> _Written:
        """Do the work at once, with the current state; the result is read later."""
        self._require_alive()
        call, self._call = self._call, 0
        try:
            return _Written("" if work(lambda: True) else "it did not end")
        except OSError as error:
            return _Written(error.strerror or str(error))
        finally:
            self._call = call

    async def offload(self, call: Callable[[], Result], *, abandon_on_cancel: bool = False) -> Result:
        """Make a call between two pauses. Until the second is over, a power loss may interrupt the call."""
        with trio.CancelScope(shield=not abandon_on_cancel):
            await self._pause()
            number = self._disk.begin_call()
            try:
                self._call = number
                try:
                    result = call()
                finally:
                    self._call = 0
                self._disk.moments.come()
                await self._pause()
            finally:
                self._disk.end_call(number)
            return result
        raise AssertionError("a shielded call was cancelled")

    async def _pause(self) -> None:
        if self._cut_off:
            return
        rng = self._disk.rng
        slow = rng.random() < SLOW_SHARE
        await trio.sleep(int(rng.integers(LEAST_NS, SLOW_NS if slow else self._disk.most_ns)) / SECOND_NS)
