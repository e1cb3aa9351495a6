"""A network in memory: connections that carry bytes in order, in virtual time, within a window.

An `End` takes the place of a socket. A `Way` decides how long bytes travel.
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
"""The delay of bytes within a data centre: the least, and a random addition."""
DELAYS_AT_ONCE = 8192
SERVER_ADDRESS = "127.0.0.1"
"""The source address of clients that name none."""


class Way(Protocol):
    """The way of bytes between two ends."""

    def delay_ns(self) -> int:
        """Return the delay of the next bytes in nanoseconds."""


class ShortWay:
    """A way within a data centre: a short, partly random delay."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._delays_ns: list[int] = []

    def delay_ns(self) -> int:
        """Return the next random delay.

        They are drawn in batches, because one numpy call costs as much as a heartbeat.
        """
        if not self._delays_ns:
            drawn: Any = self._rng.integers(LEAST_NS, LEAST_NS + JITTER_NS, DELAYS_AT_ONCE)
            self._delays_ns = drawn.tolist()
        return self._delays_ns.pop()


class End:
    """One end of a connection, with the methods of a socket that its holder uses.

    `look` is called, in an event of its own, when the end is ready for what its holder waits for (`watch`). Before
    that, bytes that arrive while no others wait are offered to `take`, which returns whether the holder has taken them:
    this spares two of three calls for a fleet's ends. `guest` is the holder of a server's end on the express lane.
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
        """How many bytes sent from this end may be unread at once."""
        self.unread = 0
        self.events = 0
        self.look: Callable[[int], object] = lambda _events: None
        self.take: Callable[[bytes], bool] = lambda _data: False
        self.guest: Guest | None = None
        self.peer = self
        self.ended = self.reset = self.closed = self.shut = self.resets = False

    # --- socket methods

    def fileno(self) -> int:
        """Return the connection's number in place of a descriptor."""
        return self.number

    def send(self, data: bytes | memoryview) -> int:
        """Send as many bytes as fit; return their number. Raises OSError."""
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
        # Does what `_deliver` does without its calls: this runs twice for each heartbeat.
        clock = self._clock
        arrives_ns = clock.now_ns + self._way.delay_ns()
        if arrives_ns < self._arrived_ns:  # noqa: PLR1730 - calling `max` costs far more
            arrives_ns = self._arrived_ns
        self._arrived_ns = arrives_ns
        clock.at(arrives_ns, self.peer.arrive, data if type(data) is bytes else bytes(data))
        return size

    def recv(self, most: int) -> bytes:
        """Return received bytes, or no bytes at the end. Raises OSError, and BlockingIOError if there are none yet."""
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
            if self.events & READ:  # like a socket, it stays ready until everything is read
                self._clock.at(self._clock.now_ns, self._look_again, READ)
        self._took(len(data))
        return data

    def waiting(self) -> bytes | None:
        """Return unread bytes of an idle connection, None if there are none, or no bytes at the end."""
        try:
            return self.recv(UNASKED_SHOWN_MAX_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def shutdown(self, how: int) -> None:
        """Send no more, or for SHUT_RD, treat what has arrived as all that comes."""
        if how == socket.SHUT_RD:
            self.ended = True
            self.watch(self.events)
        elif not self.shut:
            self.shut = True
            self._deliver(self.peer.end)

    def close(self) -> None:
        """Close the end: orderly, or by a reset if there are unread bytes or `resets` is set."""
        if self.closed:
            return
        self.closed, self.events = True, 0
        if self._inbox or self.resets:
            self._deliver(self.peer.be_reset)
        elif not self.shut:
            self._deliver(self.peer.end)
        self._inbox.clear()

    # --- readiness

    def watch(self, events: int) -> None:
        """Wait for these events only; events that are already there are reported soon."""
        self.events = events
        if ready := self.ready & events:
            self._clock.at(self._clock.now_ns, self._look_again, ready)

    @property
    def ready(self) -> int:
        """Return the events for which the end is ready: all of them after a reset."""
        readable = READ if self._inbox or self.ended or self.reset else 0
        return readable | (WRITE if self.unread < self.window or self.reset else 0)

    def _look_again(self, events: int) -> None:
        if events := events & self.events & self.ready:
            self.look(events)

    @property
    def quiet(self) -> bool:
        """Whether both ends only wait for the other to send, and nothing is unread."""
        peer = self.peer
        return type(self) is End and self.events == READ == peer.events and not (self._inbox or peer._inbox)  # noqa: SLF001

    # --- for senders that handle arrivals themselves (`rounds`)

    def arrival_ns(self) -> int:
        """Return the random arrival time of bytes sent now on a quiet connection."""
        return self._clock.now_ns + self._way.delay_ns()

    def post(self, data: bytes, arrives_ns: int) -> None:
        """Deliver bytes that were sent on a quiet connection, at their arrival time."""
        self.unread += len(data)
        self._arrived_ns = arrives_ns
        self._clock.at(arrives_ns, self.peer.arrive, data)

    # --- arrivals

    def _deliver(self, call: Callable[..., object], *arguments: object) -> None:
        """Schedule a call at the other end, after all that was sent before."""
        arrives_ns = self._clock.now_ns + self._way.delay_ns()
        self._arrived_ns = arrives_ns = max(arrives_ns, self._arrived_ns)
        self._clock.at(arrives_ns, call, *arguments)

    def arrive(self, data: bytes) -> None:
        """Receive bytes of the other end."""
        if self.closed:  # the end is gone: the sender learns that
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
        """Receive the other end's end of stream."""
        self.ended = True
        if self.events & READ:
            self.look(READ)

    def be_reset(self) -> None:
        """Receive a reset: unread bytes are lost."""
        self.reset = True
        self._inbox.clear()
        if self.events:
            self.look(self.events)

    def _took(self, size: int) -> None:
        """Record that `size` bytes were read: the other end may send as many again."""
        peer = self.peer
        full = peer.unread >= peer.window
        peer.unread -= size
        if full and peer.events & WRITE:
            self._deliver(peer._look_again, WRITE)  # noqa: SLF001 - its own other end


class MemoryNetwork:
    """The network in which virtual servers listen, and clients connect (`simulator.client.network.Network`).

    Clients' bytes travel by `way`, servers' bytes by `back`. Each has random draws of its own, so the order in which a
    client and a server send does not change them (`JumpingClock`).
    """

    def __init__(self, clock: JumpingClock, way: Way, back: Way) -> None:
        self._clock = clock
        self._way, self._back = way, back
        self._connections = 0
        self._listeners: dict[int, Callable[[End], object]] = {}
        self.make_ends: dict[int, tuple[Callable[..., End], Callable[..., End]]] = {}
        """For ports whose connections have faults: functions that make the client's and the server's end."""

    def listen(self, port: int, welcome: Callable[[End], object]) -> None:
        """Accept connections to a port: `welcome` is called with the server's end of each."""
        self._listeners[port] = welcome

    def close_port(self, port: int) -> None:
        """Refuse connections to a port from now on."""
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
        """Return a new end, and later call `up` with whether the connection was accepted.

        A connection `apart` is not affected by faults (`make_ends`).
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
        """Connect. Raises ConnectionRefusedError if nothing listens on the port."""
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
        """Return unread bytes of an idle connection, as `End.waiting` does."""
        return _stream_of(stream).end.waiting()

    def close(self, stream: trio.abc.HalfCloseableStream) -> None:
        """Close the stream's end."""
        _stream_of(stream).close()

    def break_off(self, stream: trio.abc.HalfCloseableStream) -> None:
        """Make the close of the stream reset the connection."""
        _stream_of(stream).end.resets = True


def _stream_of(stream: trio.abc.HalfCloseableStream) -> EndStream:
    if not isinstance(stream, EndStream):
        raise TypeError(f"{type(stream).__name__} is not of this network")
    return stream
