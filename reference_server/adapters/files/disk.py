"""The file system, as far as the server keeps anything there: the machine's own, or one that a virtual world has."""

from __future__ import annotations

import fcntl
import os
import stat
from typing import TYPE_CHECKING, Protocol

from reference_server.adapters.forking import fork
from reference_server.adapters.threads import Result, offload

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from reference_server.adapters.forking import Work

MODE = 0o600
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class Writing(Protocol):
    """What a child writes. Call it to wait for its end, which returns what was wrong; `end` has it ended now."""

    def __call__(self) -> str:
        """Wait, and return what was wrong; nothing when all was done."""

    def end(self) -> None:
        """Have it ended now."""


class Disk(Protocol):
    """What is done with files. Every method may raise OSError, as its namesake of the system does."""

    def resolve(self, path: Path) -> Path:
        """Return the path without any link in it."""

    def open(self, path: Path, flags: int) -> int:
        """Open a file; one that is made is its owner's only."""

    def close(self, file: int) -> None:
        """Close a file, and release its lock."""

    def lock(self, file: int) -> None:
        """Lock an open file. Raises OSError at once where another has it."""

    def write(self, file: int, data: bytes | memoryview, offset: int) -> int:
        """Write bytes at an offset; returns how many."""

    def truncate(self, file: int, size: int) -> None:
        """Cut a file off."""

    def sync(self, file: int) -> None:
        """Make all of a file durable."""

    def sync_data(self, file: int) -> None:
        """Make a file's bytes durable."""

    def sync_folder(self, folder: Path) -> None:
        """Make durable what was made, renamed and removed in a folder."""

    def size(self, file: int) -> int:
        """Return how many bytes an open file has."""

    def is_at(self, file: int, path: Path) -> bool:
        """Return whether it is an open file that is at a path now."""

    def read(self, path: Path) -> bytes:
        """Return a file's bytes."""

    def exists(self, path: Path) -> bool:
        """Return whether a file is there."""

    def matching(self, folder: Path, pattern: str) -> list[Path]:
        """Return the files of a folder whose names go with a pattern, in order."""

    def rename(self, path: Path, to: Path) -> None:
        """Put a file in the place of another."""

    def unlink(self, path: Path, *, missing_ok: bool = False) -> None:
        """Remove a file."""

    def exposure(self, path: Path) -> str:
        """Return who else can get at a file, and the way out; nothing where nobody can, or where it is not there."""

    def fork(self, work: Work) -> Writing:
        """Have a child do it, which has all memory as it is now."""

    async def offload(self, call: Callable[[], Result], *, abandon_on_cancel: bool = False) -> Result:
        """Return what a call returns that uses this, and may block."""
        ...


class SystemDisk:
    """The machine's own file system."""

    def resolve(self, path: Path) -> Path:
        """Return the path without any link in it."""
        return path.resolve()

    def open(self, path: Path, flags: int) -> int:
        """Open a file."""
        return os.open(path, flags | os.O_CLOEXEC, MODE)

    def close(self, file: int) -> None:
        """Close a file."""
        os.close(file)

    def lock(self, file: int) -> None:
        """Lock an open file."""
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def write(self, file: int, data: bytes | memoryview, offset: int) -> int:
        """Write bytes at an offset."""
        return os.pwrite(file, data, offset)

    def truncate(self, file: int, size: int) -> None:
        """Cut a file off."""
        os.ftruncate(file, size)

    def sync(self, file: int) -> None:
        """Make all of a file durable."""
        os.fsync(file)

    def sync_data(self, file: int) -> None:
        """Make a file's bytes durable."""
        os.fdatasync(file)

    def sync_folder(self, folder: Path) -> None:
        """Make durable what was made, renamed and removed in a folder."""
        file = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(file)
        finally:
            os.close(file)

    def size(self, file: int) -> int:
        """Return how many bytes an open file has."""
        return os.fstat(file).st_size

    def is_at(self, file: int, path: Path) -> bool:
        """Return whether it is an open file that is at a path now."""
        try:
            return os.path.samestat(path.stat(), os.fstat(file))
        except FileNotFoundError:
            return False

    def read(self, path: Path) -> bytes:
        """Return a file's bytes."""
        return path.read_bytes()

    def exists(self, path: Path) -> bool:
        """Return whether a file is there."""
        return path.exists()

    def matching(self, folder: Path, pattern: str) -> list[Path]:
        """Return the files of a folder whose names go with a pattern."""
        return sorted(folder.glob(pattern))

    def rename(self, path: Path, to: Path) -> None:
        """Put a file in the place of another."""
        path.rename(to)

    def unlink(self, path: Path, *, missing_ok: bool = False) -> None:
        """Remove a file."""
        path.unlink(missing_ok=missing_ok)

    def exposure(self, path: Path) -> str:
        """Return who else can get at a file.

        A file that root owns may be read by its group: that is how a secret is handed to a service (PostgreSQL's rule).
        """
        try:
            found = path.stat()
        except OSError:  # whoever opens it says what is wrong with it
            return ""
        mode = stat.S_IMODE(found.st_mode) & _OTHERS
        if found.st_uid == 0 and os.geteuid() != 0:
            mode &= ~stat.S_IRGRP
        if not mode:
            return ""
        return f"others can read or change {path} (mode {stat.S_IMODE(found.st_mode):04o}): `chmod 600 {path}`"

    def fork(self, work: Work) -> Writing:
        """Have a child do it."""
        return fork(work)

    async def offload(self, call: Callable[[], Result], *, abandon_on_cancel: bool = False) -> Result:
        """Return what a call returns, from a thread."""
        return await offload(call, abandon_on_cancel=abandon_on_cancel)


SYSTEM_DISK = SystemDisk()


def write_all(file: int, data: bytes, offset: int, disk: Disk = SYSTEM_DISK) -> None:
    """Write bytes at an offset, however many calls that takes. Raises OSError."""
    view = memoryview(data)
    while view:
        written = disk.write(file, view, offset)
        view, offset = view[written:], offset + written
