"""Where a scenario's text comes from: a file, one that is shipped, or standard input."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from simulator import limits
from simulator.platform.wording import nearest
from simulator.scenario.shipped import LISTED, read_shipped, shipped_names

if TYPE_CHECKING:
    from pathlib import Path
    from typing import IO

STANDARD_INPUT = "-"


class SourceError(Exception):
    """A scenario that cannot be read; the message says why, and what to do."""


def is_shipped(path: Path) -> bool:
    """Return whether a path is the name of a shipped scenario: a file that is called so is what was meant instead."""
    if len(path.parts) != 1 or path.name not in shipped_names():
        return False  # whether there is such a file cannot be asked of every name: some are too long for the system
    return path.is_dir() or not path.exists()


def is_file(path: Path) -> bool:
    """Return whether a path names a file, rather than a shipped scenario or standard input."""
    return str(path) != STANDARD_INPUT and not is_shipped(path)


def read_source(path: Path) -> bytes:
    """Read a scenario once, since a pipe gives its bytes only once. Raises SourceError."""
    if is_shipped(path):
        return read_shipped(path.name)
    try:
        if str(path) == STANDARD_INPUT:
            raw = _read(sys.stdin.buffer) if sys.stdin is not None else b""
        else:
            with path.open("rb") as file:
                raw = _read(file)
    except OSError as error:
        raise SourceError(_unreadable(path, error)) from None
    if len(raw) > limits.SCENARIO_MAX_BYTES:
        raise SourceError(f"larger than {limits.SCENARIO_MAX_BYTES:,} bytes, which is no scenario")
    return raw


def _read(file: IO[bytes]) -> bytes:
    return file.read(limits.SCENARIO_MAX_BYTES + 1)


def _unreadable(path: Path, error: OSError) -> str:
    if len(path.parts) == 1 and not path.suffix and isinstance(error, FileNotFoundError):
        return f"neither a file nor a scenario that is shipped: {nearest(path.name, shipped_names(), LISTED)}"
    if isinstance(error, IsADirectoryError):
        return f"a folder, and a scenario is a TOML file: give those in it, as {path}/*.toml"
    return f"cannot be read ({error.strerror}); scenarios are TOML files, {LISTED}"
