"""A network in memory: connections whose bytes take virtual time, in order, and never more than a window of them.

An `End` is what its holder has in place of a socket. How long bytes are on their way says a `Way`; what may become of
them besides, like loss, duplication and partitions, belongs there.
"""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

import trio

from reference_server.limits import SEND_BUFFER_BYTES
from reference_server.wire.units import MICROSECOND_NS
from simulator.limits import UNASKED_SHOWN_MAX_BYTES
from simulator.worlds.virtual.end_stream import READ, RECEIVE_BUFFER_BYTES, WRITE, EndStream

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from simulator.client.target import Target
    from simulator.worlds.virtual.lane import Guest
    from simulator.worlds.virtual.scheduling import JumpingClock

LEAST_NS, JITTER_NS = 100 * MICROSECOND_NS, 400 * MICROSECOND_NS
"""How long bytes take within a data centre."""
DELAYS_AT_ONCE = 8192
SERVER_ADDRESS = "127.0.0.1"
"""From where a client speaks that names no address."""


class Way(Protocol):
    """What happens to bytes between two ends."""

    def delay_ns(self) -> int:
        """Return how long the next bytes are on their way."""


class ShortWay:
    """A way within a data centre: a little time, some of it drawn."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._delays_ns: list[int] = []

    def delay_ns(self) -> int:
        """Draw how long the next bytes take. Many are drawn at once: a call of numpy's costs as much as a heartbeat."""
        if not self._delays_ns:
            drawn: Any = self._rng.integers(LEAST_NS, LEAST_NS + JITTER_NS, DELAYS_AT_ONCE)
            self._delays_ns = drawn.tolist()
        return self._delays_ns.pop()


class End:
    """One end of a connection, with what its holder uses of a socket.

    `look` is called, in an event of its own, when there is something to look at that the holder waits for (`watch`).
    Before, bytes that nothing waits before are offered to `take`, which returns whether the holder has taken them: it
    spares the ends of a fleet two calls in three.
    `guest` is who holds a server's end, where the express lane does.
    """

    __slots__ = (
        "_arrived_ns", "_clock", "_inbox", "_way", "client", "closed", "ended", "events", "guest", "look", "number",
        "peer", "reset", "resets", "shut", "take", "unread", "window",
    )  # fmt: skip

    def __init__(self, clock: JumpingClock, way: Way, number: int, client: str, window: int) -> None:
        self._clock = clock
        self._way = way
        self._arrived_ns = 0
        self._inbox: deque[bytes] = deque()
        self.number = number
        self.client = client
        self.window = window
        """How much of what is sent from here may be unread at once."""
        self.unread = 0
        self.events = 0
        self.look: Callable[[int], object] = lambda _events: None
        self.take: Callable[[bytes], bool] = lambda _data: False
        self.guest: Guest | None = None
        self.peer = self
        self.ended = self.reset = self.closed = self.shut = self.resets = False

    # --- what a socket has

    def fileno(self) -> int:
        """Return the connection's number, as a descriptor would be."""
        return self.number

    def send(self, data: bytes | memoryview) -> int:
        """Send what fits. Raises OSError."""
        if self.closed or self.shut or self.reset:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        room = self.window - self.unread
        if room <= 0:
            raise BlockingIOError
        size = len(data)
        if size > room:
            size = room
            data = data[:size]
        self.unread += size
        # As `_deliver` does, without its calls: twice a heartbeat it is here.
        clock = self._clock
        arrives_ns = clock.now_ns + self._way.delay_ns()
        if arrives_ns < self._arrived_ns:  # noqa: PLR1730 - calling `max` costs far more
            arrives_ns = self._arrived_ns
        self._arrived_ns = arrives_ns
        clock.at(arrives_ns, self.peer.arrive, data if type(data) is bytes else bytes(data))
        return size

    def recv(self, most: int) -> bytes:
        """Return what came; no bytes at its end. Raises OSError, BlockingIOError where there is nothing."""
        inbox = self._inbox
        if not inbox:
            if self.reset or self.closed:
                raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
            if self.ended:
                return b""
            raise BlockingIOError
        data = inbox.popleft() if len(inbox) == 1 else b"".join(inbox)
        inbox.clear()
        if len(data) > most:
            inbox.append(data[most:])
            data = data[:most]
            if self.events & READ:  # as a socket stays ready: nothing more need arrive for it to be read on
                self._clock.at(self._clock.now_ns, self._look_again, READ)
        self._took(len(data))
        return data

    def waiting(self) -> bytes | None:
        """Take what waits at rest: None for nothing, no bytes at the end."""
        try:
            return self.recv(UNASKED_SHOWN_MAX_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def shutdown(self, how: int) -> None:
        """Send no more; or, as SHUT_RD says, have the end be there behind what has come."""
        if how == socket.SHUT_RD:
            self.ended = True
            self.watch(self.events)
        elif not self.shut:
            self.shut = True
            self._deliver(self.peer.end)

    def close(self) -> None:
        """Close it: in order, or by a reset where something is unread here, or it `resets`."""
        if self.closed:
            return
        self.closed, self.events = True, 0
        if self._inbox or self.resets:
            self._deliver(self.peer.be_reset)
        elif not self.shut:
            self._deliver(self.peer.end)
        self._inbox.clear()

    # --- what its holder waits for

    def watch(self, events: int) -> None:
        """Wait for these events, and for no others; what is there already is looked at in a moment."""
        self.events = events
        if ready := self.ready & events:
            self._clock.at(self._clock.now_ns, self._look_again, ready)

    @property
    def ready(self) -> int:
        """Return what it is ready for: for everything, once it was reset."""
        readable = READ if self._inbox or self.ended or self.reset else 0
        return readable | (WRITE if self.unread < self.window or self.reset else 0)

    def _look_again(self, events: int) -> None:
        if events := events & self.events & self.ready:
            self.look(events)

    @property
    def quiet(self) -> bool:
        """Return whether both ends wait for nothing but what the other sends, and nothing is there to be read."""
        peer = self.peer
        return type(self) is End and self.events == READ == peer.events and not (self._inbox or peer._inbox)  # noqa: SLF001

    # --- what is sent by who knows when it arrives (`rounds`)

    def arrival_ns(self) -> int:
        """Draw when bytes arrive that are sent now on a quiet connection."""
        return self._clock.now_ns + self._way.delay_ns()

    def post(self, data: bytes, arrives_ns: int) -> None:
        """Have bytes under way that were sent on a quiet connection."""
        self.unread += len(data)
        self._arrived_ns = arrives_ns
        self._clock.at(arrives_ns, self.peer.arrive, data)

    # --- what arrives here

    def _deliver(self, call: Callable[..., object], *arguments: object) -> None:
        """Have something arrive at the other end, behind all that was sent before."""
        arrives_ns = self._clock.now_ns + self._way.delay_ns()
        self._arrived_ns = arrives_ns = max(arrives_ns, self._arrived_ns)
        self._clock.at(arrives_ns, call, *arguments)

    def arrive(self, data: bytes) -> None:
        """Take bytes of the other end."""
        if self.closed:  # nobody is there: whoever goes on sending is told so
            self._deliver(self.peer.be_reset)
            return
        if self.events & READ:
            if not self._inbox and self.take(data):
                self._took(len(data))
                return
            self._inbox.append(data)
            self.look(READ)
        else:
            self._inbox.append(data)

    def end(self) -> None:
        """Take it that the other end sends no more."""
        self.ended = True
        if self.events & READ:
            self.look(READ)

    def be_reset(self) -> None:
        """Take it that the other end has broken off: what came and was not read is lost."""
        self.reset = True
        self._inbox.clear()
        if self.events:
            self.look(self.events)

    def _took(self, size: int) -> None:
        """Note that so much was read here: the other end may send as much again."""
        peer = self.peer
        full = peer.unread >= peer.window
        peer.unread -= size
        if full and peer.events & WRITE:
            self._deliver(peer._look_again, WRITE)  # noqa: SLF001 - its own other end


class MemoryNetwork:
    """What virtual servers listen in, and connects to them (`simulator.client.network.Network`).

    What clients send goes one `way`, what servers send goes `back`. Each has draws of its own: whose bytes leave first,
    of a client and a server, changes none (`JumpingClock`).
    """

    def __init__(self, clock: JumpingClock, way: Way, back: Way) -> None:
        self._clock = clock
        self._way, self._back = way, back
        self._connections = 0
        self._listeners: dict[int, Callable[[End], object]] = {}
        self.make_ends: dict[int, tuple[Callable[..., End], Callable[..., End]]] = {}
        """By a port whose connections have faults: what makes a client's end, and the server's."""

    def listen(self, port: int, welcome: Callable[[End], object]) -> None:
        """Have connections to a port welcomed, each by the server's end of it."""
        self._listeners[port] = welcome

    def close_port(self, port: int) -> None:
        """Have connections to a port refused from here on."""
        self._listeners.pop(port, None)

    def dial(
        self,
        source: str | None,
        port: int,
        up: Callable[[bool], object],
        receive_bytes: int = 0,
        *,
        apart: bool = False,
    ) -> End:
        """Return a new end, and call `up` with whether somebody took the connection once that is known.

        One `apart` has no part in what goes wrong with others (`make_ends`).
        """
        self._connections += 1
        client = source or SERVER_ADDRESS
        window = SEND_BUFFER_BYTES + (receive_bytes or RECEIVE_BUFFER_BYTES)
        make_client, make_server = (End, End) if apart else self.make_ends.get(port, (End, End))
        ours = make_client(self._clock, self._way, self._connections, client, SEND_BUFFER_BYTES + RECEIVE_BUFFER_BYTES)
        theirs = make_server(self._clock, self._back, self._connections, client, window)
        ours.peer, theirs.peer = theirs, ours

        def arrive() -> None:
            welcome = self._listeners.get(port)
            self._clock.at(self._clock.now_ns + self._back.delay_ns(), up, welcome is not None)
            if welcome is not None:
                welcome(theirs)

        self._clock.at(self._clock.now_ns + self._way.delay_ns(), arrive)
        return ours

    async def connect(
        self, _target: Target, source: str | None, port: int, receive_buffer_bytes: int = 0
    ) -> trio.abc.HalfCloseableStream:
        """Connect. Raises ConnectionRefusedError where nobody listens."""
        known = trio.Event()
        taken: list[bool] = []

        def up(took: bool) -> None:  # noqa: FBT001 - as a callback it has no names
            taken.append(took)
            known.set()

        end = self.dial(source, port, up, receive_buffer_bytes)
        try:
            await known.wait()
        except trio.Cancelled:
            end.close()
            raise
        if not taken[0]:
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        return EndStream(end)

    def waiting(self, stream: trio.abc.HalfCloseableStream) -> bytes | None:
        """Return what waits at rest."""
        return _stream_of(stream).end.waiting()

    def close(self, stream: trio.abc.HalfCloseableStream) -> None:
        """Close its end."""
        _stream_of(stream).close()

    def break_off(self, stream: trio.abc.HalfCloseableStream) -> None:
        """Have closing it reset the connection."""
        _stream_of(stream).end.resets = True


def _stream_of(stream: trio.abc.HalfCloseableStream) -> EndStream:
    if not isinstance(stream, EndStream):
        raise TypeError(f"{type(stream).__name__} is not of this network")
    return stream
