"""Files that hold secrets: written for their owner only, and not used when others can read them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from reference_server.adapters.files.disk import SYSTEM_DISK, write_all

if TYPE_CHECKING:
    from pathlib import Path

    from reference_server.adapters.files.disk import Disk


def exposure(path: Path, disk: Disk = SYSTEM_DISK) -> str:
    """Return who else can get at a file, and the way out; nothing where nobody can, or where it is not there."""
    return disk.exposure(path)


def write_new(path: Path, content: bytes, disk: Disk = SYSTEM_DISK) -> None:
    """Write a file that is not there yet, durably, for its owner only. Raises OSError."""
    file = disk.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        write_all(file, content, 0, disk)
        disk.sync(file)
    finally:
        disk.close(file)
