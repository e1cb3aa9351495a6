"""The legacy worker-status file (contract §7): read where there is no state file, and kept for those who still read it.

It tells when each worker was last heard from, and nothing more: who registered is lost with the server.
"""

from __future__ import annotations

import logging
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import trio

from reference_server.adapters.files.state_files import replace_file
from reference_server.adapters.threads import offload
from reference_server.core.statuses import show_status
from reference_server.limits import STATUSES_AT_ONCE
from reference_server.wire.state_file import StateFile, StateFileError, read_state

if TYPE_CHECKING:
    from reference_server.operations.api import Api
    from reference_server.wire.schema1 import StatusRecord

ACCEPTED = HTTPStatus.OK
WRITE_SECONDS = 1.0
SHARE_OF_TIME = 0.05
"""How much of the time writing may take: a large fleet's file is written less often than once a second."""
_log = logging.getLogger("hatchfarm")


def read_worker_status(path: str) -> dict[str, StatusRecord]:
    """Read the file; nothing where there is none. Raises StateFileError for what cannot be read as one."""
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StateFileError(f"cannot read it ({error.strerror})") from None
    file = read_state(content)
    if isinstance(file, StateFile):
        raise StateFileError("it is a state file: name it in HATCHFARM_STATE_FILE, and another here")
    if file.problems:
        raise StateFileError(
            f"{file.problems[0]}: `hatchfarm state check` names all that is wrong; correct it, or move it away"
        )
    return file.worker_status


class WorkerStatusWriter:
    """Writes the file at most once a second while heartbeats are accepted, and when the server stops."""

    def __init__(self, path: str, api: Api) -> None:
        self._path = Path(path).absolute()
        self._api = api
        self._accepted = 0
        self._failed = False

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Write until cancelled, and then once more."""
        task_status.started()
        pause_seconds = WRITE_SECONDS
        try:
            while True:
                await trio.sleep(pause_seconds)
                begun = trio.current_time()
                await self._write()
                pause_seconds = max(WRITE_SECONDS, (trio.current_time() - begun) / SHARE_OF_TIME)
        finally:
            with trio.CancelScope(shield=True):
                await self._write()

    async def _write(self) -> None:
        state = self._api.state
        accepted = state.heartbeat_answers[ACCEPTED]
        if accepted == self._accepted:
            return
        records = [msgspec.json.encode(status) for status in state.orphan_statuses.values()]
        names = [*state.orphan_statuses]
        for at, worker in enumerate(list(state.workers.values())):
            if worker.heard_monotonic_ns is not None:
                names.append(worker.id)
                records.append(msgspec.json.encode(show_status(worker)))
            if at % STATUSES_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
        content = b",".join(b'"%b":%b' % (name.encode(), record) for name, record in zip(names, records, strict=True))
        try:
            await offload(partial(replace_file, self._path, b"{" + content + b"}\n"))
        except OSError as error:
            if not self._failed:
                _log.warning("WORKER_STATUS_STATE_FILE: cannot write %s (%s)", self._path, error.strerror)
            self._failed = True
        else:
            self._accepted, self._failed = accepted, False
