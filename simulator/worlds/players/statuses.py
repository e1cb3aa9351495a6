"""Reading owners' statuses and summaries of their machines, after a fault and at the end of a run."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec
import trio

from simulator.client.connection import ControlConnection, LostError
from simulator.client.target import Target, auditor_source
from simulator.client.witness import Witness
from simulator.fleet.requests import owner_headers
from simulator.history.records import StatusReading, StatusShown, SummaryReading
from simulator.limits import STATUSES_READ_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from simulator.history.rows import History

OK = HTTPStatus.OK
PAGE_WORKERS = 500
"""The largest page of a list (contract §1)."""
FIRST_ADDRESS = 1 << 15
"""The first client address, after those for reading audit lists."""
AT_THE_END = FIRST_ADDRESS + (1 << 14)
"""The first client address at the end of a run, after those for reading after faults."""
REQUESTS_PER_ADDRESS = 10
"""Half a burst of the default rate limit (contract §6)."""
PATIENCE_SECONDS = 10.0


class _Status(msgspec.Struct):
    worker_id: str
    age_seconds: float
    stale: bool | None = None
    policy_id: str = ""
    last_heartbeat: str = ""


class _Page(msgspec.Struct):
    workers: list[_Status]
    total: int
    stale_threshold: float = -1.0


class _Envelope(msgspec.Struct):
    data: _Page


class _Summary(msgspec.Struct):
    total: int
    fresh: int
    stale: int
    unknown: int


class _SummaryEnvelope(msgspec.Struct):
    data: _Summary


_decode = msgspec.json.Decoder(_Envelope).decode
_decode_summary = msgspec.json.Decoder(_SummaryEnvelope).decode


class StatusReader:
    """Reads owners' lists of statuses into the history, each completely or not at all, from `first` addresses on."""

    def __init__(
        self,
        target: Target,
        history: History,
        now: Callable[[], int],
        first: int = FIRST_ADDRESS,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._target = target
        self._history = history
        self._now = now
        self._first = first
        self._patience_seconds = patience_seconds
        self._witness = Witness(history, now, reads=True)
        self._requests = 0

    async def read(self, owner_ids: Iterable[str], *, summaries: bool = False) -> None:
        """Read the owners' lists in order, within bounds of time and machines, and with `summaries` the summaries.

        Losses are recorded, never raised.
        """
        left = STATUSES_READ_MAX
        with trio.move_on_after(self._patience_seconds):
            for owner_id in dict.fromkeys(owner_ids):
                asked_ns = self._now()
                try:
                    if summaries:
                        await self._read_summary(owner_id)
                    left -= await self._read_list(owner_id)
                except (LostError, ValueError) as error:
                    self._history.trouble(asked_ns, "status list", str(error))
                if left <= 0:
                    return

    async def _read_list(self, owner_id: str) -> int:
        """Read one list; return its number of machines. Raises LostError, and ValueError for anything but a list."""
        sent_ns = self._now()
        ages: dict[str, float] = {}
        statuses: dict[str, StatusShown] = {}
        while True:
            page = _decode(await self._get(f"/workers/statuses?limit={PAGE_WORKERS}&offset={len(ages)}", owner_id)).data
            known = len(ages)
            ages.update((one.worker_id, one.age_seconds) for one in page.workers)
            for one in page.workers:
                statuses[one.worker_id] = StatusShown(one.stale, one.policy_id, one.last_heartbeat)
            if len(ages) >= page.total or len(ages) == known:
                break
        reading = StatusReading(owner_id, sent_ns, self._now(), ages, statuses, page.stale_threshold)
        self._history.status_readings.append(reading)
        return len(ages)

    async def _read_summary(self, owner_id: str) -> None:
        """Read an owner's fleet summary. Raises LostError, and ValueError for anything but a summary."""
        sent_ns = self._now()
        shown = _decode_summary(await self._get("/workers/summary", owner_id)).data
        numbers = (shown.total, shown.fresh, shown.stale, shown.unknown)
        self._history.summary_readings.append(SummaryReading(owner_id, sent_ns, self._now(), *numbers))

    async def _get(self, path: str, owner_id: str) -> bytes:
        """Return the body of a success. Raises LostError."""
        source = auditor_source(self._target, self._first + self._requests // REQUESTS_PER_ADDRESS)
        self._requests += 1
        async with ControlConnection(self._target, source, self._witness) as connection:
            answer = await connection.request("GET", path, owner_headers(self._target.token, owner_id))
        if answer.status != OK:
            raise LostError(f"answered HTTP {answer.status}")
        return answer.body
