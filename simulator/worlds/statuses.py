"""Reading what owners are shown of their machines, after a fault, by `GET /workers/statuses` alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import trio

from simulator.fleet.requests import owner_headers
from simulator.limits import STATUSES_READ_MAX
from simulator.records import StatusReading
from simulator.worlds.control import ControlConnection, LostError
from simulator.worlds.target import Target, auditor_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from simulator.history import History

OK = 200
PAGE_WORKERS = 500
"""The largest page of a list (contract §1)."""
FIRST_ADDRESS = 1 << 15
"""Past the addresses from which audit lists are read."""
REQUESTS_PER_ADDRESS = 10
"""Half a burst of the default rate limit (contract §6)."""
PATIENCE_SECONDS = 10.0


class _Status(msgspec.Struct):
    worker_id: str
    age_seconds: float


class _Page(msgspec.Struct):
    workers: list[_Status]
    total: int


class _Envelope(msgspec.Struct):
    data: _Page


_decode = msgspec.json.Decoder(_Envelope).decode


class StatusReader:
    """Reads owners' lists of statuses into the history, each whole or not at all."""

    def __init__(self, target: Target, history: History, now: Callable[[], int]) -> None:
        self._target = target
        self._history = history
        self._now = now
        self._requests = 0

    async def read(self, owner_ids: Iterable[str]) -> None:
        """Read the lists of owners in order, within bounds of time and machines. What is lost is told, never raised."""
        left = STATUSES_READ_MAX
        with trio.move_on_after(PATIENCE_SECONDS):
            for owner_id in dict.fromkeys(owner_ids):
                asked_ns = self._now()
                try:
                    left -= await self._read_list(owner_id)
                except (LostError, ValueError) as error:
                    self._history.trouble(asked_ns, "status list", str(error))
                if left <= 0:
                    return

    async def _read_list(self, owner_id: str) -> int:
        """Read one list; gives how many machines it had. Raises LostError, and ValueError for what is no list."""
        sent_ns = self._now()
        ages: dict[str, float] = {}
        while True:
            path = f"/workers/statuses?limit={PAGE_WORKERS}&offset={len(ages)}"
            source = auditor_source(self._target, FIRST_ADDRESS + self._requests // REQUESTS_PER_ADDRESS)
            self._requests += 1
            async with ControlConnection(self._target, source) as connection:
                answer = await connection.request("GET", path, owner_headers(self._target.token, owner_id))
            if answer.status != OK:
                raise LostError(f"answered HTTP {answer.status}")
            page = _decode(answer.body).data
            known = len(ages)
            ages.update((one.worker_id, one.age_seconds) for one in page.workers)
            if len(ages) >= page.total or len(ages) == known:
                break
        self._history.status_readings.append(StatusReading(owner_id, sent_ns, self._now(), ages))
        return len(ages)
