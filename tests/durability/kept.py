"""An API with a journal in memory, whose appends can be made to wait: for tests of what is made durable, and when."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from reference_server.adapters.memory.journal import MemoryJournal, Storage
from reference_server.adapters.threads import Result, offload
from reference_server.core.recovery import begin, recover
from reference_server.core.snapshots import snapshot
from reference_server.wire.values import Request
from tests.http.twins import OWNER, START, Machine, as_owner, data_of, enrol, make_api

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.operations.api import Api
    from tests.http.serving import Answer, Server

SUMMARY = Request("GET", "/api/v1/workers/summary", headers=OWNER)
AUDIT = Request("GET", "/api/v1/audit/events", headers=OWNER)
REGISTRATION = as_owner("/machines/register", {"owner_id": "ada", "name": "another"})


class GatedJournal(MemoryJournal):
    """A journal whose appends wait for a gate, in their worker thread."""

    def __init__(self, storage: Storage, due_after: int = 1_000_000) -> None:
        super().__init__(storage, due_after)
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Event()
        self.whole = threading.Lock()
        """Held while it is changed: a thread may do that while a test reads it."""
        self.appended: list[int] = []

    async def offload(self, call: Callable[[], Result], *, abandon_on_cancel: bool = False) -> Result:
        """Wait in a thread, as a journal in files does."""
        return await offload(call, abandon_on_cancel=abandon_on_cancel)

    def append(self, group: bytes) -> None:
        """Wait, then append."""
        self.waiting.set()
        assert self.gate.wait(20)
        with self.whole:
            super().append(group)
        self.appended.append(len(msgspec.msgpack.decode(group)))

    def rotate(self) -> None:
        """Begin the next segment."""
        with self.whole:
            super().rotate()

    def publish(self) -> None:
        """Put the snapshot in the place of the last."""
        with self.whole:
            super().publish()


class Kept:
    """An API with a journal, one machine enrolled and durable."""

    def __init__(self, journal: type[GatedJournal] = GatedJournal, due_after: int = 1_000_000) -> None:
        self.api: Api = make_api()
        self.journal = journal(Storage(), due_after)
        begin(self.api.state)
        self.machine: Machine = enrol(self.api)
        self.journal.start()
        self.journal.begin_snapshot(snapshot(self.api.state, START, self.journal.segment))()
        self.journal.publish()
        self.api.state.changes = []
        self.api.journal = self.journal

    def durable(self) -> Any:
        """Recover what is durable, and show its summary and its audit as the API does."""
        again = make_api()
        with self.journal.whole:
            recover(again.state, self.journal, START)
        return [data_of(200, again.handle(question, START).body) for question in (SUMMARY, AUDIT)]


async def ask(server: Server, request: Request) -> Answer:
    async with server.client() as client:
        return await client.ask(request)


async def until_waiting(journal: GatedJournal) -> None:
    with trio.fail_after(60):
        await trio.to_thread.run_sync(journal.waiting.wait, 20)
    journal.waiting.clear()
