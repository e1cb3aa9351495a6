"""Recovery in this process, as a server's start does it: thousands of damaged files in the time of a few starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_server.adapters.entropy import SystemEntropy
from reference_server.adapters.files.state_files import StateFiles
from reference_server.core.recovery import recover
from reference_server.core.snapshots import snapshot
from reference_server.core.state import State
from reference_server.core.tables import TABLES
from reference_server.ports import JournalError
from reference_server.settings import load_settings
from reference_server.wire.signing import CertificateSigner
from reference_server.wire.state_file import StateFileError
from tests.durability.moments import STATE_FILE
from tests.durability.writing import FREELY

if TYPE_CHECKING:
    from pathlib import Path

    from reference_server.wire.values import Instant

_SETTINGS = load_settings(FREELY)
_SIGNER = CertificateSigner.from_seed(bytes(32))
_ENTROPY = SystemEntropy()
NEVER_BYTES = 1 << 40


class Refusal(str):
    """What a server says that does not start."""

    __slots__ = ()


def place(folder: Path, files: dict[str, bytes]) -> None:
    """Make a folder hold these files, and nothing else."""
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for name, content in files.items():
        (folder / name).touch(0o600)
        (folder / name).write_bytes(content)


def recovered(folder: Path, files: dict[str, bytes], now: Instant) -> bytes | Refusal:
    """Recover from files, and give all of the state as a snapshot of one moment, or a refusal."""
    place(folder, files)
    state = State(_SETTINGS, _ENTROPY, _SIGNER, now, TABLES)
    try:
        journal = StateFiles(str(folder / STATE_FILE), _ENTROPY, NEVER_BYTES)
        try:
            recover(state, journal, now)
        finally:
            journal.close()
    except (JournalError, StateFileError) as error:
        return Refusal(error)
    return b"".join(snapshot(state, now, "of no journal"))
