"""Files that hold secrets: written for their owner only, and not used when others can read them."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from reference_server.adapters.files.segment import write_all

if TYPE_CHECKING:
    from pathlib import Path

MODE = 0o600
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def exposure(path: Path) -> str:
    """Return who else can get at a file, and the way out; nothing where nobody can, or where it is not there.

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


def write_new(path: Path, content: bytes) -> None:
    """Write a file that is not there yet, durably, for its owner only. Raises OSError."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
    try:
        write_all(file, content, 0)
        os.fsync(file)
    finally:
        os.close(file)


def sync_folder(folder: Path) -> None:
    """Make what was renamed in a folder durable. Raises OSError."""
    file = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
