"""Writing output files where the user wants them: each completely or not at all."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from errno import EISDIR
from pathlib import Path
from tempfile import TemporaryFile, mkstemp
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

PRIVATE_MODE, PUBLIC_MODE = 0o600, 0o666
_DESCRIPTORS = ("/dev/", "/proc/")
"""Folders in which names stand for open files."""


class OutputError(Exception):
    """Raised when results cannot be written to their place; the message says where, why and what to do."""


def see_writable(folder: Path, *, make: bool = True, flag: str = "--out") -> None:
    """Make a folder. Raise OutputError if a command could not write its result there.

    Without `make`, only check whether it could be made. `flag` is the flag by which the user can choose another.
    """
    try:
        if make:
            folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=_nearest(folder)):
            pass
    except OSError as error:
        raise OutputError(f"results cannot be written to {folder} ({error.strerror}): give another {flag}") from None


def see_file_writable(path: Path, flag: str) -> None:
    """Raise OutputError if a file could not be written, without changing anything."""
    try:
        if path.is_dir():
            raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
        if not _is_no_file(path):
            with TemporaryFile(dir=_nearest(Path(os.path.realpath(path)).parent)):
                pass
    except OSError as error:
        raise _unwritable(path, flag, error) from None


def write_output(path: Path, data: bytes, flag: str) -> None:
    """Write the file that the user named by `flag`, and make its folder. Raises OutputError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, [data])
    except OSError as error:
        raise _unwritable(path, flag, error) from None


def write_outputs(files: Iterable[tuple[Path, str, bytes]]) -> None:
    """Write every file that can be written, each with its flag; then raise OutputError for the first that could not."""
    problems = []
    for path, flag, data in files:
        try:
            write_output(path, data, flag)
        except OutputError as error:
            problems.append(error)
    if problems:
        raise problems[0]


def _unwritable(path: Path, flag: str, error: OSError) -> OutputError:
    return OutputError(f"{path} cannot be written ({error.strerror}): give another {flag}")


def _nearest(folder: Path) -> Path:
    """Return the folder, or its nearest parent that exists. Raises OSError."""
    while not folder.exists():
        folder = folder.parent
    return folder


def folder_of(out: Path, name: str, started_at: datetime) -> Path:
    """Return the folder of one run; the names of a scenario's folders sort by time."""
    return out / name / started_at.strftime("%Y-%m-%dT%H-%M-%S.%f")[:-3]


def write_whole(path: Path, parts: Iterable[bytes], *, private: bool = False, follow: bool = True) -> None:
    """Write a file completely or not at all; a `private` one is readable by its owner only. Raises OSError.

    With `follow`, a symbolic link's target is written; without it, as in a run's own folder, the link is replaced. A
    pipe or device is written into.
    """
    if follow and _is_no_file(path):
        with path.open("wb") as file:
            file.writelines(parts)
        return
    whole = Path(os.path.realpath(path)) if follow else path
    # A unique name: a file named like this one with a suffix may be another program's.
    descriptor, name = mkstemp(prefix=".hatchfarm-", suffix=".part", dir=whole.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(parts)
        if not private:
            Path(name).chmod(PUBLIC_MODE & ~_umask())
        Path(name).replace(whole)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def _is_no_file(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    return not stat.S_ISREG(mode) or str(path.absolute()).startswith(_DESCRIPTORS)


def _umask() -> int:
    """Return this process's umask; it can only be read by setting it."""
    umask = os.umask(0o077)
    os.umask(umask)
    return umask
