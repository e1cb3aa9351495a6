"""Reading audit lists by `GET /audit/events`: heads during the run, whole lists at its end.

The cost of a list call grows with the length of the streams. So during the run only heads are read, with a filter that
hardly any event passes, using at most a small share of one core, as measured by the answers' times. Whole lists are
read when the fleet is quiet, within bounds of time and of events.
"""

from __future__ import annotations

from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from reference_server.wire.units import SECOND_NS
from simulator.client.connection import ControlConnection, LostError
from simulator.client.target import Target, auditor_source
from simulator.client.witness import Witness
from simulator.contract.reading import retry_after_ns
from simulator.fleet.requests import owner_headers
from simulator.history.packed import Packed
from simulator.history.records import AuditReading
from simulator.limits import (
    AUDIT_BYTES_READ_MAX,
    AUDIT_EVENTS_READ_MAX,
    AUDIT_LOOKS_MAX,
    AUDIT_READING_MAX_SECONDS,
    AUDIT_READING_MIN_SECONDS,
    AUDIT_READING_SHARE,
    AUDIT_WATCHING_SHARE,
    EVENT_DEPTH_MAX,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    import numpy as np

    from simulator.client.answers import HttpAnswer
    from simulator.history.rows import History

OK, TOO_MANY = HTTPStatus.OK, HTTPStatus.TOO_MANY_REQUESTS
PAGE_EVENTS = 500
"""The largest page of a list (contract §1)."""
RARE_TYPE = "owner_access_denied"
"""The filter for reading heads: it keeps the answer small, and the server need not scan heartbeats for it."""
REQUESTS_PER_ADDRESS = 10
"""Half a burst of the default rate limit (contract §6), so that reading is never refused for its speed."""
LOOK_PAUSE_SECONDS = 0.5
"""The pause between looks: they are half of the requests of a short virtual run, and heads change slowly."""
SHARED_PAUSE_SECONDS = 5.0
"""The pause between looks if all clients share one address: a twenty-fifth of the default rate limit."""
PASSES = 3
"""How often a list that changed meanwhile is read again."""
LOST_MAX = 3
"""After this many missing answers in a row a target is not asked any more: each may cost seconds."""


class _Page(msgspec.Struct):
    events: list[dict[str, Any]]
    total: int
    heads: dict[str, Any] = {}


class _Envelope(msgspec.Struct):
    data: _Page


_decode = msgspec.json.Decoder(_Envelope).decode


class Auditor:
    """Reads the audit lists of the history's owners into it. `fleet_owners` are those of the honest fleet."""

    def __init__(
        self,
        target: Target,
        history: History,
        now: Callable[[], int],
        rng: np.random.Generator,
        fleet_owners: Collection[str],
        duration_seconds: float,
        *,
        events_max: int = AUDIT_EVENTS_READ_MAX,
        bytes_max: int = AUDIT_BYTES_READ_MAX,
    ) -> None:
        self.target = target
        self.history = history
        self._now = now
        self._rng = rng
        self._fleet_owners = frozenset(fleet_owners)
        self._duration_seconds = duration_seconds
        self._events_max = events_max
        self._bytes_max = bytes_max
        self._witness = Witness(history, now, reads=True)
        self._instance = 0
        """The instance to ask, in turn: all of them must show the same lists."""
        self._addresses = 0
        self._connections = self._connect()
        self._requests = 0
        self._bytes = 0
        self._asked_ns = 0

    @property
    def _connection(self) -> ControlConnection:
        return self._connections[self._instance % len(self._connections)]

    def _connect(self) -> list[ControlConnection]:
        """Return a connection to each instance, from the next address."""
        source = auditor_source(self.target, self._addresses)
        return [
            ControlConnection(msgspec.structs.replace(self.target, port=port, others=()), source, self._witness)
            for port in (self.target.port, *self.target.others)
        ]

    def _close(self) -> None:
        for connection in self._connections:
            connection.close()

    async def watch(self) -> None:
        """Read the owners' heads one after the other, until cancelled."""
        turn = 0
        least_seconds = max(self._duration_seconds / AUDIT_LOOKS_MAX, LOOK_PAUSE_SECONDS)
        if not self.target.own_addresses:
            least_seconds = max(least_seconds, SHARED_PAUSE_SECONDS)
        while True:
            owners = self.history.owners
            started = trio.current_time()
            if owners:
                turn += 1
                self._instance = turn // len(owners)
                with suppress(LostError):
                    await self._look(owners[turn % len(owners)])
            took_seconds = trio.current_time() - started
            await trio.sleep(max(least_seconds, took_seconds / AUDIT_WATCHING_SHARE))

    async def read(self) -> None:
        """Read whole lists, and only the heads if there is no time for all.

        A server's behaviour never raises an error.
        """
        share_seconds = self._duration_seconds * AUDIT_READING_SHARE
        whole_seconds = min(max(AUDIT_READING_MIN_SECONDS, share_seconds), AUDIT_READING_MAX_SECONDS)
        self._close()  # an abandoned answer may still be on its way
        self._asked_ns = self._now()
        waiting = self._order()
        wanted = len(waiting)
        try:
            with trio.move_on_after(whole_seconds + AUDIT_READING_MIN_SECONDS):
                with trio.move_on_after(whole_seconds) as scope:
                    await self._read_lists(waiting)
                if scope.cancelled_caught:
                    if len(waiting) == wanted:
                        self._trouble(f"no whole list within {whole_seconds:g} s")
                    self._close()
                for owner_id in waiting:
                    await self._look(owner_id)
        except LostError as error:
            self._trouble(str(error))
        self._close()

    def _trouble(self, why: str) -> None:
        self.history.trouble(self._asked_ns, "audit list", why)

    async def _read_lists(self, waiting: list[str]) -> None:
        """Read lists, removing them from `waiting`, until there are enough events. Raises LostError."""
        events = lost = 0
        while waiting and events < self._events_max:
            try:
                events += await self._read_list(waiting[0], self._events_max - events)
                lost = 0
            except LostError as error:
                self._trouble(str(error))
                lost += 1
                if lost == LOST_MAX:
                    raise
            del waiting[0]

    def _order(self) -> list[str]:
        """Return whose lists to read first: in turn an owner of a script, where most happens, and one of the fleet."""
        owners = list(dict.fromkeys(self.history.owners))
        shuffled = [owners[at] for at in self._rng.permutation(len(owners))]
        scripts = [owner_id for owner_id in shuffled if owner_id not in self._fleet_owners]
        fleet = [owner_id for owner_id in shuffled if owner_id in self._fleet_owners]
        both = min(len(scripts), len(fleet))
        taking_turns = [owner_id for pair in zip(scripts, fleet, strict=False) for owner_id in pair]
        return taking_turns + scripts[both:] + fleet[both:]

    async def _look(self, owner_id: str) -> None:
        """Read the heads of one owner's streams. Raises LostError."""
        reading = await self._page(owner_id, 0, 1, RARE_TYPE)
        self.history.audit_readings.append(reading)

    async def _read_list(self, owner_id: str, budget: int) -> int:
        """Read a whole list if it has at most `budget` events, else its heads; return its number of events.

        Raises LostError. A partly read list is discarded, because it is unknown what is missing.
        """
        pages: list[AuditReading] = []
        for _ in self._connections[1:]:  # all instances must show the same list
            await self._look(owner_id)
            self._instance += 1
        for _ in range(PASSES):
            pages = [await self._page(owner_id, 0)]
            first = pages[0]
            if first.total > budget:
                await self._look(owner_id)
                return 0
            known = len(first.events)
            while pages[-1].events and known < pages[-1].total and known <= budget:
                pages.append(await self._page(owner_id, known))
                known += len(pages[-1].events)
            if all(page.heads == first.heads and page.total == first.total for page in pages):
                break
        self.history.audit_readings += pages
        return sum(len(page.events) for page in pages)

    async def _page(self, owner_id: str, offset: int, limit: int = PAGE_EVENTS, kind: str = "") -> AuditReading:
        """Read one page, waiting if the target asks for it (429). Raises LostError."""
        path = f"/audit/events?limit={limit}&offset={offset}" + (f"&type={kind}" if kind else "")
        if self._bytes > self._bytes_max:
            raise LostError(f"its lists are longer than {self._bytes_max >> 20} MiB")
        while True:
            self._take_address()
            sent_ns = self._asked_ns = self._now()
            answer = await self._connection.request("GET", path, owner_headers(self.target.token, owner_id))
            sent_ns = max(sent_ns, self._connection.sent_ns)
            if answer.status != TOO_MANY:
                self._bytes += len(answer.body)
                break
            if not self.target.own_addresses or self._requests == 1:
                await trio.sleep(max(retry_after_ns(answer.head) / SECOND_NS, 1.0))
            self._requests = REQUESTS_PER_ADDRESS
        return _reading(owner_id, sent_ns, self._now(), answer, offset, kind, limit)

    def _take_address(self) -> None:
        """Switch to another address before this one reaches its rate limit."""
        self._requests += 1
        if self._requests > REQUESTS_PER_ADDRESS:
            self._close()
            self._addresses += 1
            self._connections = self._connect()
            self._requests = 1


def _reading(
    owner_id: str, sent_ns: int, answered_ns: int, answer: HttpAnswer, offset: int, kind: str, limit: int
) -> AuditReading:
    """Return the record of an answer."""
    page = None
    if answer.status == OK:
        try:
            page = _decode(answer.body).data
            if len(page.events) > limit or any(_deep(event, EVENT_DEPTH_MAX) for event in page.events):
                page = None
        except (ValueError, RecursionError):
            page = None
    if page is None:
        return AuditReading(owner_id, sent_ns, answered_ns, answer.status, offset, -1, type=kind)
    events = Packed.whole(dict, page.events)
    return AuditReading(owner_id, sent_ns, answered_ns, answer.status, offset, page.total, events, page.heads, kind)


def _deep(value: Any, most: int) -> bool:
    """Return whether a decoded value is nested deeper than `most` levels."""
    if not isinstance(value, dict | list):
        return False
    if not most:
        return True
    # A loop without calls for empty containers: it runs for tens of thousands of events, most of them flat.
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, dict | list) and _deep(inner, most - 1):
            return True
    return False
