"""Replaying a trace: each exchange at its recorded time, from its recorded address, after those it builds on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec
import trio

from reference_server.wire.units import SECOND_NS
from simulator.client.answers import HttpAnswer, classify_heartbeat
from simulator.client.connection import ControlConnection, LostError
from simulator.client.raw import exchange_raw
from simulator.contract.answers import Answer
from simulator.limits import REPLAY_MAX_CONCURRENT, REPLAY_REST_SECONDS, REPLAY_WAIT_SECONDS
from simulator.traces.comparison import Played, differs, is_heartbeat_like, replayed_answer
from simulator.traces.format import ANSWERS, Exchange, RawRequest, Trace
from simulator.traces.order import predecessors
from simulator.traces.resign import MissingPrerequisiteError, Resigner, recorded_bytes
from simulator.traces.rewriting import as_wire

if TYPE_CHECKING:
    from simulator.attacks.script import Wire
    from simulator.client.target import Target

LEAD_NS = SECOND_NS // 20
"""The least time between the start and the first exchange, to prepare the first request."""

NOT_REACHED = Played(0, b"", Answer.LOST, problem="was not reached")


class ReplayProgress(msgspec.Struct):
    """The progress of a replay."""

    total: int
    done: int = 0
    as_recorded: int = 0
    under_way: int = 0


class Player:
    """Plays a trace against a target; without a `resigner`, the same bytes are sent."""

    def __init__(self, trace: Trace, target: Target, resigner: Resigner | None) -> None:
        self._exchanges = trace.exchanges
        self._recorded_start_ns = trace.header.started_unix_ns
        self._target = target
        self._resigner = resigner
        self.progress = ReplayProgress(len(trace.exchanges))
        self.played = [NOT_REACHED] * len(trace.exchanges)
        self._done = [trio.Event() for _ in trace.exchanges]
        self._resting: dict[str, list[tuple[ControlConnection, float]]] = {}
        self._limiter = trio.CapacityLimiter(REPLAY_MAX_CONCURRENT)
        self._start_ns = 0

    def now(self) -> int:
        """Return nanoseconds since the start of the replay, which stands for the start of the recorded run."""
        return time.monotonic_ns() - self._start_ns

    async def play(self) -> None:
        """Play the trace; cancel it to end early. `played` has what is known in both cases."""
        resigner, exchanges = self._resigner, self._exchanges
        gives, needs = (resigner.gives, resigner.needs) if resigner else (_nothing, _nothing)
        waits = predecessors(exchanges, gives, needs)
        self._set_clock()
        try:
            async with trio.open_nursery() as nursery:
                for index, exchange in enumerate(exchanges):
                    await trio.sleep(max(0, exchange.sent_ns - self.now()) / SECOND_NS)
                    await self._limiter.acquire_on_behalf_of(index)
                    nursery.start_soon(self._play_one, index, waits[index])
        finally:
            for resting in self._resting.values():
                for connection, _ in resting:
                    connection.close()

    def _set_clock(self) -> None:
        """Start a whole number of seconds after the recorded start, so that every timestamp keeps its form."""
        first_ns = self._exchanges[0].sent_ns if self._exchanges else 0
        wall_ns = time.time_ns()  # noqa: TID251 - the replay runs on the real clock
        earliest_ns = wall_ns + LEAD_NS - first_ns
        shift_seconds = -(-(earliest_ns - self._recorded_start_ns) // SECOND_NS)
        start_wall_ns = self._recorded_start_ns + shift_seconds * SECOND_NS
        self._start_ns = time.monotonic_ns() + start_wall_ns - wall_ns
        if self._resigner is not None:
            self._resigner.shift_seconds = shift_seconds

    async def _play_one(self, index: int, waits: list[int]) -> None:
        progress = self.progress
        progress.under_way += 1
        try:
            with trio.move_on_after(REPLAY_WAIT_SECONDS):
                for other in waits:
                    await self._done[other].wait()
            played = self.played[index] = await self._exchange(self._exchanges[index])
            progress.done += 1
            progress.as_recorded += not differs(self._exchanges[index], played)
        finally:
            progress.under_way -= 1
            self._done[index].set()
            self._limiter.release_on_behalf_of(index)

    async def _exchange(self, exchange: Exchange) -> Played:
        resigner = self._resigner
        try:
            message = recorded_bytes(exchange) if resigner is None else resigner.rebuild(exchange)
        except MissingPrerequisiteError as error:
            return Played(0, b"", Answer.LOST, problem=f"could not be made: {error}")
        source = exchange.source if exchange.source and self._target.own_addresses else None
        late_ns = max(0, self.now() - exchange.sent_ns)
        request = exchange.request
        wire = as_wire(request, message) if isinstance(request, RawRequest) else None
        if wire is not None:
            status, body = await self._write(wire, source)
            heartbeat = None
        else:
            answer = await self._ask(message, source)
            status, body = (0, b"") if answer is None else (answer.status, answer.body)
            expected = ANSWERS[exchange.expected]
            heartbeat = classify_heartbeat(answer, expected) if answer and is_heartbeat_like(exchange) else None
        if resigner is not None:
            resigner.apply_answer(exchange, status, body)
        got = replayed_answer(exchange, status, body, heartbeat, verbatim=resigner is None)
        return Played(status, body, got, late_ns)

    async def _ask(self, message: bytes, source: str | None) -> HttpAnswer | None:
        """Send a request on a free connection of its address; return its answer, or None if it was lost."""
        resting = self._resting.setdefault(source or "", [])
        connection = None
        while resting and connection is None:
            found, since = resting.pop()
            if trio.current_time() - since < REPLAY_REST_SECONDS:
                connection = found
            else:
                found.close()
        connection = connection or ControlConnection(self._target, source)
        try:
            answer = await connection.exchange(message)
        except LostError:
            return None
        except BaseException:
            connection.close()
            raise
        resting.append((connection, trio.current_time()))
        return answer

    async def _write(self, wire: Wire, source: str | None) -> tuple[int, bytes]:
        """Send a raw request as it was recorded, and return the status and bytes of the first answer."""
        outcome = await exchange_raw(self._target, source, wire, self.now)
        if not outcome.answers:
            return 0, b""
        first = outcome.answers[0]
        return first.status, first.body


def _nothing(_: Exchange) -> set[str]:
    return set()
