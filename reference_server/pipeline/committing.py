"""Making changes durable before anything shows them, and what happens when that fails (contract §7).

Fail-stop: after the first write or sync that fails nothing is believed of the storage any more. All that waits is
refused, the state is read anew from what is durable, and nothing may be changed until a whole new snapshot is there.
"""

from __future__ import annotations

import logging
import math
from functools import partial
from typing import TYPE_CHECKING

import trio

from reference_server.core.changes import encode_changes
from reference_server.core.recovery import recover
from reference_server.core.snapshots import snapshot
from reference_server.limits import (
    COMMIT_RETRY_SECONDS_MAX,
    SNAPSHOT_LOOK_SECONDS,
    SNAPSHOT_RETRY_SECONDS,
    SNAPSHOT_RETRY_SECONDS_MAX,
    STOP_SNAPSHOT_SECONDS,
)
from reference_server.pipeline.snapshotting import until_written
from reference_server.ports import JournalError
from reference_server.wire.exposition import Figure
from reference_server.wire.state_file import StateFileError
from reference_server.wire.units import SECOND_NS

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.operations.api import Api
    from reference_server.ports import Clock, Journal

RETRY_SECONDS = 0.1
_log = logging.getLogger("hatchfarm")


class Committer:
    """Commits what an API's state has changed, in groups, and snapshots it when the journal has grown enough.

    `run` is its background task: it waits for snapshots to be written, and recovers from what failed. `call_for_commit`
    is called when `commit` has something to do though nothing was changed: to try a snapshot that failed again.
    """

    def __init__(self, api: Api, clock: Clock, journal: Journal, call_for_commit: Callable[[], None]) -> None:
        self._api = api
        self._call_for_commit = call_for_commit
        self._clock = clock
        self._journal = journal
        self._written: Callable[[], None] | None = None
        self._failed = self._ended = False
        self._wanted = trio.Event()
        self._rest = trio.Event()
        self._rest.set()
        self._no_snapshot_before_ns = -(1 << 63)
        self._retry_seconds = SNAPSHOT_RETRY_SECONDS
        self._to_retry = self._late = False
        self._commits = self._snapshots = 0
        api.state.extra_metrics.append(self._figures)

    def _figures(self) -> list[Figure]:
        return [
            Figure("hatchfarm_state_durable", "1 while changes can be made durable.", not self._failed),
            Figure("hatchfarm_state_commits_total", "Groups of changes made durable.", self._commits, counts=True),
            Figure("hatchfarm_state_snapshots_total", "Snapshots put in place.", self._snapshots, counts=True),
        ]

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Do what a commit leaves to be done, one thing after the other, until cancelled."""
        task_status.started()
        try:
            while True:
                with trio.move_on_after(SNAPSHOT_LOOK_SECONDS if self._to_retry else math.inf):
                    await self._wanted.wait()
                if not self._wanted.is_set():
                    if self._may_snapshot():
                        self._call_for_commit()
                    continue
                self._wanted = trio.Event()
                await self._finish_snapshot(publish=True)
                if self._failed:
                    await self._recover()
                self._rest.set()
        finally:
            self._ended = True
            self._rest.set()

    def _want(self) -> None:
        """Have `run` go on with what is begun; once that has ended, what is begun is left to `close`."""
        if not self._ended:
            self._rest = trio.Event()
            self._wanted.set()

    async def commit(self) -> bool:
        """Make all changes up to now durable. False when they are not, and nothing of them is left to be seen."""
        state = self._api.state
        changes = state.changes
        if not (changes or self._to_retry):
            return True
        # Forked before anything waits: the snapshot holds exactly the changes that this group is the last of.
        begun = self._begin_snapshot() if self._journal.due and self._may_snapshot() else False
        if not changes:
            if begun:
                await self._rotate()
            return True
        state.changes = []
        self._api.committing = True
        try:
            await self._journal.offload(partial(self._journal.append, encode_changes(changes)))
        except Exception as error:  # noqa: BLE001 - what was not written must not be seen, whosever fault it is
            _log.error("Nothing is changed until it can be made durable: %s", error)
            state.frozen = self._api.unusable = self._failed = True
            state.changes = []  # made meanwhile, on what is undone now: never to be committed with what comes after
            if begun:
                await self._finish_snapshot(publish=False)
            self._want()
            return False
        finally:
            self._api.committing = False
        self._commits += 1
        if begun:
            await self._rotate()
        return True

    def _may_snapshot(self) -> bool:
        """Return whether another one may be begun: after one, and not at every commit while none can be written.

        Once `run` has ended, `close` alone begins one, behind what was begun before.
        """
        if self._late or self._failed or self._ended or not self._rest.is_set():
            return False
        return self._clock.now().monotonic_ns >= self._no_snapshot_before_ns

    def _wait_after_failure(self) -> None:
        self._to_retry = True
        self._no_snapshot_before_ns = self._clock.now().monotonic_ns + int(self._retry_seconds * SECOND_NS)
        self._retry_seconds = min(2 * self._retry_seconds, SNAPSHOT_RETRY_SECONDS_MAX)

    def _begin_snapshot(self) -> bool:
        """Begin to write a snapshot of the state; it names the segment that comes after the present one."""
        self._to_retry = False
        try:
            pieces = snapshot(self._api.state, self._clock.now(), self._journal.next_segment)
            self._written = self._journal.begin_snapshot(pieces)
        except JournalError as error:
            _log.warning("No snapshot could be begun: %s", error)
            self._wait_after_failure()
            return False
        return True

    async def _rotate(self) -> None:
        """Begin the segment that the snapshot names, and let the snapshot take its place once it is written."""
        try:
            await self._journal.offload(self._journal.rotate)
        except JournalError as error:
            _log.warning("The snapshot is of no use: %s", error)
            self._wait_after_failure()
            await self._finish_snapshot(publish=False)
        else:
            self._want()

    async def _finish_snapshot(self, *, publish: bool) -> bool:
        written, self._written = self._written, None
        if written is None:
            return False
        if not publish:
            self._journal.end_snapshot()  # it is of no use
        try:
            await until_written(self._journal, written)
            if publish:
                await self._journal.offload(self._journal.publish)
                self._retry_seconds = SNAPSHOT_RETRY_SECONDS
        except JournalError as error:
            _log.warning("The journal goes on without a new snapshot: %s", error)
            self._wait_after_failure()
            self._api.state.compacting = False
            return False
        self._snapshots += publish
        self._api.state.compacting = self._api.state.compacting or publish
        return publish

    async def _recover(self) -> None:
        """Show what is durable as soon as that can be read, and let it be changed once a new snapshot is there."""
        state = self._api.empty_state()
        while True:
            try:
                recovered = await self._journal.offload(partial(recover, state, self._journal, self._clock.now()))
                if not recovered.fresh:
                    break
                _log.error("What is durable is not there any more: bring the state file and its journal back")
            except (JournalError, StateFileError) as error:
                _log.error("What is durable cannot be read: %s", error)
            await trio.sleep(COMMIT_RETRY_SECONDS_MAX)
            state = self._api.empty_state()
        state.changes, state.frozen = [], True
        self._api.state, self._api.unusable = state, False
        pause_seconds = RETRY_SECONDS
        while not (self._begin_snapshot() and await self._rotate_and_publish()):
            await trio.sleep(pause_seconds)
            pause_seconds = min(2 * pause_seconds, COMMIT_RETRY_SECONDS_MAX)
        self._failed = state.frozen = False
        _log.warning("What is changed is durable again")

    async def _rotate_and_publish(self) -> bool:
        try:
            await self._journal.offload(self._journal.rotate)
        except JournalError as error:
            _log.warning("Still nothing can be made durable: %s", error)
            await self._finish_snapshot(publish=False)
            return False
        return await self._finish_snapshot(publish=True)

    async def close(self) -> None:
        """Leave a snapshot of all there is, where that is possible in time; the journal holds what it would lack."""
        if self._failed:
            self._journal.end_snapshot()
        else:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._end_late_snapshots)
                await self._rest.wait()
                await self._finish_snapshot(publish=True)  # of a commit after `run` was cancelled
                # Where the last one failed this one may hang as long, and whoever stops the server waits.
                if self._api.state.compacting and not self._late and self._begin_snapshot():
                    await self._rotate_and_publish()
                nursery.cancel_scope.cancel()
        self._journal.close()

    async def _end_late_snapshots(self) -> None:
        await trio.sleep(STOP_SNAPSHOT_SECONDS)
        self._late = True
        self._journal.end_snapshot()
