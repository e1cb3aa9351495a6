"""Writing output files: whole or not at all, where the user says they go, beside whatever else is there."""

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
"""Where names stand for what is open already."""


class OutputError(Exception):
    """Results cannot be written where they shall go; the message says where, why and what to do."""


def see_writable(folder: Path, *, make: bool = True, flag: str = "--out") -> None:
    """Make a folder, and raise OutputError where a command would end without its result.

    Without `make` it is left to be made when there is something to write. `flag` is the one that names another.
    """
    try:
        if make:
            folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=_nearest(folder)):
            pass
    except OSError as error:
        raise OutputError(f"results cannot be written to {folder} ({error.strerror}): give another {flag}") from None


def see_file_writable(path: Path, flag: str) -> None:
    """Raise OutputError where a file could not be written; nothing is changed."""
    try:
        if path.is_dir():
            raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
        if not _is_no_file(path):
            with TemporaryFile(dir=_nearest(Path(os.path.realpath(path)).parent)):
                pass
    except OSError as error:
        raise _unwritable(path, flag, error) from None


def write_output(path: Path, data: bytes, flag: str) -> None:
    """Write a file that a flag names, and make the folder that it is in. Raises OutputError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, [data])
    except OSError as error:
        raise _unwritable(path, flag, error) from None


def write_outputs(files: Iterable[tuple[Path, str, bytes]]) -> None:
    """Write the files that flags name, each of them that can be written; then raise OutputError for the first other."""
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
    """Return the folder, or what is there of those that it is in. Raises OSError."""
    while not folder.exists():
        folder = folder.parent
    return folder


def folder_of(out: Path, name: str, started_at: datetime) -> Path:
    """Name the folder of one run, in order of time among those of its scenario."""
    return out / name / started_at.strftime("%Y-%m-%dT%H-%M-%S.%f")[:-3]


def write_whole(path: Path, parts: Iterable[bytes], *, private: bool = False, follow: bool = True) -> None:
    """Write a file whole or not at all, a private one readable by its owner only. Raises OSError.

    A link is followed, unless what lies there is nobody's wish: in a run's own folder it is replaced. What is no file,
    as a pipe or a device, is written into.
    """
    if follow and _is_no_file(path):
        with path.open("wb") as file:
            file.writelines(parts)
        return
    whole = Path(os.path.realpath(path)) if follow else path
    # A name that nobody else has: what is called like the file, and a bit more, may be somebody's.
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
    """Read what this process takes away from new files' modes; the only way is to set it."""
    umask = os.umask(0o077)
    os.umask(umask)
    return umask
