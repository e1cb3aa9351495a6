"""The server's own express lane in a virtual world, driven by events instead of a selector."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio

from reference_server.http.conversation import Answer
from reference_server.http.express_lane import LIMITED, READ_BYTES, SWEEP_SECONDS, ExpressLane
from reference_server.http.glances import answer_heartbeat
from reference_server.http.lane_clients import Answers
from reference_server.http.ready_queue import WRITE, ReadyQueue
from reference_server.operations.outcomes import Deferred
from reference_server.wire.units import SECOND_NS
from simulator.worlds.virtual.known_heads import KnownHead

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from reference_server.http.admission import Admission
    from reference_server.http.lane_clients import Connection
    from reference_server.http.plain_heads import PlainHead
    from reference_server.operations.api import Api
    from reference_server.pipeline.resolving import Resolver
    from reference_server.ports import Clock
    from simulator.worlds.virtual.network import End
    from simulator.worlds.virtual.scheduling import JumpingClock


SWEEP_NS = int(SWEEP_SECONDS * SECOND_NS)


class _EventReadiness:
    """Readiness of ends (`reference_server.http.ready_queue`): each ready end causes an event of its own.

    Only postponed connections are left to the lane's rounds; they are not registered meanwhile.
    """

    def __init__(self, look: Callable[[Connection, int], object]) -> None:
        self._look = look
        self._ends: dict[int, End] = {}
        self._paused: dict[End, int] = {}
        self._woken = trio.Event()

    def register(self, descriptor: int, events: int, connection: Connection) -> None:
        """Look at an end whenever it is ready."""
        end: End = connection.socket  # type: ignore[assignment]  # an End has all that the lane uses
        self._ends[descriptor] = end
        end.look = partial(self._look, connection)
        end.watch(events)

    def modify(self, descriptor: int, events: int, _connection: Connection) -> None:
        """Look for other events."""
        self._ends[descriptor].watch(events)

    def unregister(self, descriptor: int) -> None:
        """Stop looking at a connection, and check whether it was postponed."""
        self._ends.pop(descriptor).watch(0)
        self._woken.set()

    def ready(self) -> Iterable[tuple[Connection, int]]:
        """Return nothing: events have handled the ready connections."""
        return ()

    async def wait(self) -> None:
        """Wait until a connection may have been postponed."""
        self._woken = trio.Event()
        await self._woken.wait()

    def close(self) -> None:
        """Do nothing: there is no selector to close."""

    def pause(self) -> None:
        """Ignore everything until `resume`."""
        self._paused = {end: end.events for end in self._ends.values()}
        for end in self._paused:
            end.events = 0

    def resume(self) -> None:
        """Look at what has come since `pause`."""
        for end, events in self._paused.items():
            end.watch(events)


class _WokenQueue(ReadyQueue):
    """The lane's queue, whose rounds run only for postponed connections."""

    def postpone(self, connection: Connection) -> None:
        """Continue with a connection in another round, and wake `_EventReadiness` for it."""
        super().postpone(connection)
        self.watch(connection, 0)


class EventLane(ExpressLane):
    """The express lane, driven by events."""

    def __init__(self, api: Api, events: JumpingClock, clock: Clock, admission: Admission, resolver: Resolver) -> None:
        super().__init__(api, clock, api.settings, admission, resolver)
        self._events = events
        self._ended = self._paused = False
        self._defers = api.state.nonces_outside or any(
            one is not None for one in (api.journal, api.shared, api.limiter)
        )
        """Whether answers depend on anything outside of memory (disk, Redis)."""
        self._queue.close()
        self._readiness = _EventReadiness(self._look_at)
        self._queue = _WokenQueue(resolver, self._readiness)

    def end(self) -> None:
        """Close all connections, and stop."""
        self._ended = True
        self.close()

    def pause(self, *, paused: bool) -> None:
        """Pause, or resume."""
        self._paused = paused
        if paused:
            self._readiness.pause()
        else:
            self._readiness.resume()

    def take(self, end: End) -> None:
        """Serve a new connection."""
        connection = self.welcome(end, end.client)  # type: ignore[arg-type]  # an End has all that the lane uses
        end.guest = guest = Guest(self, connection)
        end.take = guest.take

    async def _sweep(self) -> None:
        self._sweep_again()
        await trio.sleep_forever()

    def _sweep_again(self) -> None:
        """Close late connections as the lane does, but as an event, which costs no switch between tasks.

        It runs at the same times, except those at which nothing can be late, because each run ends a round of
        heartbeats.
        """
        if self._ended:
            return
        if not self._paused:
            self._close_late()
        now_ns = self._clock.now().monotonic_ns
        looks = max(0, self._patience.calm_until(now_ns) - now_ns) // SWEEP_NS + 1
        self._events.at(self._events.now_ns + looks * SWEEP_NS, self._sweep_again)

    def take_bytes(self, connection: Connection, known: KnownHead, data: bytes) -> bool:
        """Serve bytes that have just come, if the lane would read and serve them now; return whether it did."""
        if self._resolver.full or connection.limited or connection.pending or connection.lingering:
            return False
        if len(data) > READ_BYTES:
            return False  # the lane serves other connections between two reads
        if connection.conversation is None:
            head = known.read(data)
            if head is not None and head.end + head.body_bytes == len(data):
                self._alone.append((connection, head, data[head.end :]))
                self._answer_alone()
                return True
        self._serve(connection, data)
        self._answer_alone()
        return True

    @property
    def answers_at_once(self) -> bool:
        """Whether heartbeats are answered at once, without asking disk or Redis."""
        return not (self._defers or self._ended or self._renderer.closing or self._resolver.full)

    def answer(self, connection: Connection, head: PlainHead, body: bytes) -> bytes:
        """Answer a plain heartbeat that has just arrived alone on an idle connection; return the answer's bytes.

        No bytes mean that the answer is sent later. `_answer_alone` does the same for several heartbeats of one moment.
        """
        now = self._clock.now()
        reply = answer_heartbeat(self._api, connection, head, body, now)
        if isinstance(reply, Deferred):
            self._deliver(connection, Answers.of_one(reply, Answer(reply, size=len(body)), plain=True))
            return b""
        connection.limited = reply.status == LIMITED and bool(connection.address)  # all there is to update here
        self._patience.rested(connection, now.monotonic_ns)
        return self._renderer.plain(reply, now)

    def _resume(self, connection: Connection) -> int:
        """Continue with a postponed connection, which may have unsent bytes (`_look_at`)."""
        if connection.unsent is None:
            return super()._resume(connection)
        self._queue.watch(connection, WRITE)
        return 1

    def _look_at(self, connection: Connection, events: int) -> None:
        if self._resolver.full:
            self._queue.postpone(connection)
        else:
            self._go_on(connection, events)
            self._answer_alone()


class Guest:
    """The holder of a server's end: the lane, with the connection and the last head on it."""

    __slots__ = ("_connection", "_known", "lane")

    def __init__(self, lane: EventLane, connection: Connection) -> None:
        self.lane = lane
        self._connection = connection
        self._known = KnownHead()

    def take(self, data: bytes) -> bool:
        """Serve bytes that have just come, if they would be served now; return whether they were."""
        return self.lane.take_bytes(self._connection, self._known, data)

    def expects(self, head: bytes) -> bool:
        """Return whether the connection is idle and its last head was the same up to the length."""
        connection = self._connection
        return (
            self._known.before == head
            and connection.proven
            and connection.conversation is None
            and not (connection.limited or connection.pending or connection.lingering)
        )

    def answer(self, request: bytes, body: bytes) -> bytes | None:
        """Answer a heartbeat with the expected head; return no bytes if it is answered later.

        Return None, and do nothing, if it is no plain heartbeat after all.
        """
        head = self._known.head_of(request, body)
        return None if head is None else self.lane.answer(self._connection, head, body)
