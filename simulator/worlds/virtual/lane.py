"""The express lane in a virtual world: the server's own, told by events who is ready."""

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
    """Readiness of ends (`reference_server.http.ready_queue`): each is looked at in an event of its own.

    What is left to the lane's rounds are connections that were postponed, which are no longer registered then.
    """

    def __init__(self, look: Callable[[Connection, int], object]) -> None:
        self._look = look
        self._ends: dict[int, End] = {}
        self._paused: dict[End, int] = {}
        self._woken = trio.Event()

    def register(self, descriptor: int, events: int, connection: Connection) -> None:
        """Have an end looked at when it is ready."""
        end: End = connection.socket  # type: ignore[assignment]  # what the lane uses of a socket, an end has
        self._ends[descriptor] = end
        end.look = partial(self._look, connection)
        end.watch(events)

    def modify(self, descriptor: int, events: int, _connection: Connection) -> None:
        """Look for other events."""
        self._ends[descriptor].watch(events)

    def unregister(self, descriptor: int) -> None:
        """Look no more, and see whether it was postponed."""
        self._ends.pop(descriptor).watch(0)
        self._woken.set()

    def ready(self) -> Iterable[tuple[Connection, int]]:
        """Return nobody: they were looked at."""
        return ()

    async def wait(self) -> None:
        """Wait until somebody may have been postponed."""
        self._woken = trio.Event()
        await self._woken.wait()

    def close(self) -> None:
        """Do nothing: there is nothing to be closed."""

    def pause(self) -> None:
        """Look at nothing, whatever comes, until told to go on."""
        self._paused = {end: end.events for end in self._ends.values()}
        for end in self._paused:
            end.events = 0

    def resume(self) -> None:
        """Look at what has come meanwhile."""
        for end, events in self._paused.items():
            end.watch(events)


class _WokenQueue(ReadyQueue):
    """The lane's queue, whose rounds go on when somebody was postponed: nobody else is left to them."""

    def postpone(self, connection: Connection) -> None:
        """Go on with a connection in another round, of which `_EventReadiness` is told by this."""
        super().postpone(connection)
        self.watch(connection, 0)


class EventLane(ExpressLane):
    """The express lane, told by events who is ready."""

    def __init__(self, api: Api, events: JumpingClock, clock: Clock, admission: Admission, resolver: Resolver) -> None:
        super().__init__(api, clock, api.settings, admission, resolver)
        self._events = events
        self._ended = self._paused = False
        self._defers = api.state.nonces_outside or any(
            one is not None for one in (api.journal, api.shared, api.limiter)
        )
        """Whether what is outside of memory has a say in its answers."""
        self._queue.close()
        self._readiness = _EventReadiness(self._look_at)
        self._queue = _WokenQueue(resolver, self._readiness)

    def end(self) -> None:
        """Close all connections, and do nothing any more."""
        self._ended = True
        self.close()

    def pause(self, *, paused: bool) -> None:
        """Stand still, or go on."""
        self._paused = paused
        if paused:
            self._readiness.pause()
        else:
            self._readiness.resume()

    def take(self, end: End) -> None:
        """Serve a connection."""
        connection = self.welcome(end, end.client)  # type: ignore[arg-type]  # what the lane uses of a socket, an end has
        end.guest = guest = Guest(self, connection)
        end.take = guest.take

    async def _sweep(self) -> None:
        self._sweep_again()
        await trio.sleep_forever()

    def _sweep_again(self) -> None:
        """Close what is late, as the lane does: as an event, which costs no switch between tasks.

        It looks at the same moments, but for those at which nothing can be late: each look ends a round of heartbeats.
        """
        if self._ended:
            return
        if not self._paused:
            self._close_late()
        now_ns = self._clock.now().monotonic_ns
        looks = max(0, self._patience.calm_until(now_ns) - now_ns) // SWEEP_NS + 1
        self._events.at(self._events.now_ns + looks * SWEEP_NS, self._sweep_again)

    def take_bytes(self, connection: Connection, known: KnownHead, data: bytes) -> bool:
        """Serve what has just come, where the lane would read and serve it now. Return whether it did."""
        if self._resolver.full or connection.limited or connection.pending or connection.lingering:
            return False
        if len(data) > READ_BYTES:
            return False  # the lane goes on to others between two of its reads
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
        """Return whether heartbeats are answered as soon as they come, without anybody being asked."""
        return not (self._defers or self._ended or self._renderer.closing or self._resolver.full)

    def answer(self, connection: Connection, head: PlainHead, body: bytes) -> bytes:
        """Answer a plain heartbeat that has just come alone on a connection at rest. Return the answer, as it is sent.

        No bytes where it is sent later. What it does, `_answer_alone` does for several of one moment.
        """
        now = self._clock.now()
        reply = answer_heartbeat(self._api, connection, head, body, now)
        if isinstance(reply, Deferred):
            self._deliver(connection, Answers.of_one(reply, Answer(reply, size=len(body)), plain=True))
            return b""
        connection.limited = reply.status == LIMITED and bool(connection.address)  # all that is learnt of one proven
        self._patience.rested(connection, now.monotonic_ns)
        return self._renderer.plain(reply, now)

    def _resume(self, connection: Connection) -> int:
        """Go on with a connection that was postponed, also with one of which something is unsent (`_look_at`)."""
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
    """Who holds a server's end: the lane, with the connection and the head that came last on it."""

    __slots__ = ("_connection", "_known", "lane")

    def __init__(self, lane: EventLane, connection: Connection) -> None:
        self.lane = lane
        self._connection = connection
        self._known = KnownHead()

    def take(self, data: bytes) -> bool:
        """Serve what has just come, where it would be served now. Return whether it was."""
        return self.lane.take_bytes(self._connection, self._known, data)

    def expects(self, head: bytes) -> bool:
        """Return whether the connection is at rest, and this is what the last head on it had up to its length."""
        connection = self._connection
        return (
            self._known.before == head
            and connection.proven
            and connection.conversation is None
            and not (connection.limited or connection.pending or connection.lingering)
        )

    def answer(self, request: bytes, body: bytes) -> bytes | None:
        """Answer a heartbeat that comes now, with a head as expected; no bytes where it is answered later.

        None, and nothing is done, where it is no plain one after all.
        """
        head = self._known.head_of(request, body)
        return None if head is None else self.lane.answer(self._connection, head, body)
