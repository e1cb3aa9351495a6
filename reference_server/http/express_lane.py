"""The express lane: heartbeats answered inline, in front of Hypercorn.

One Trio task waits for one nested selector and then serves every connection that has bytes, straight on its
non-blocking socket: no task, no stream and no wake-up a connection, which is worth a factor of two against a task
each. The first request that is anything but a complete, plain heartbeat hands its connection to Hypercorn, with the
bytes read so far, for good; so does anything malformed. The lane therefore never has to refuse framing itself, and
cannot disagree with what does.

An answer that the API holds back keeps its place among those of its connection; while one is owed, nothing more is read
there, so what a client can have waiting here is bounded by one read.
"""

from __future__ import annotations

import errno
import selectors
import socket as stdlib_socket
from collections import OrderedDict
from email.utils import formatdate
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING

import trio

from reference_server.http.answers import internal_error
from reference_server.http.lane_clients import Connection, may_become_plain
from reference_server.limits import CONNECTIONS_MAX, LANE_BATCH_CONNECTIONS, LANE_HEAD_MAX_BYTES
from reference_server.operations.outcomes import Held

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reference_server.http.hypercorn_front import HypercornFront
    from reference_server.http.lane_clients import PlainHead
    from reference_server.http.settling import Settler
    from reference_server.operations.api import Api
    from reference_server.ports import Clock
    from reference_server.settings import Settings
    from reference_server.wire.values import Instant, Reply

READ_BYTES = 65_536
ACCEPT_BATCH = 64
OUT_OF_FILES_PAUSE_SECONDS = 0.1
SWEEP_SECONDS = 0.25
SECOND_NS = 1_000_000_000


class ExpressLane:
    """Accepts connections, answers heartbeats, and hands everything else to Hypercorn."""

    def __init__(self, api: Api, clock: Clock, settings: Settings, front: HypercornFront, settler: Settler) -> None:
        self._api = api
        self._settler = settler
        self._clock = clock
        self._front = front
        self._selector = selectors.DefaultSelector()
        self._idle_ns = int(settings.idle_timeout_seconds * SECOND_NS)
        self._header_ns = int(settings.header_timeout_seconds * SECOND_NS)
        self._body_ns = int(settings.body_timeout_seconds * SECOND_NS)
        self._send_timeout_seconds = settings.body_timeout_seconds
        self._by_progress: OrderedDict[Connection, None] = OrderedDict()
        self._partial: dict[Connection, int] = {}
        self._connections = 0
        self._draining = False
        self._date_second = -1
        self._date = b""

    @property
    def connections(self) -> int:
        """Count the connections in the lane."""
        return self._connections

    async def run(self, listeners: Sequence[stdlib_socket.socket], handler_nursery: trio.Nursery) -> None:
        """Serve until cancelled. Connections handed over and slow readers live in `handler_nursery`."""
        async with trio.open_nursery() as nursery:
            for listener in listeners:
                nursery.start_soon(self._accept, listener)
            nursery.start_soon(self._sweep)
            await self._react(handler_nursery)

    async def _accept(self, listener: stdlib_socket.socket) -> None:
        while True:
            await trio.lowlevel.wait_readable(listener)
            for _ in range(ACCEPT_BATCH):
                if self._connections >= CONNECTIONS_MAX:
                    await trio.sleep(OUT_OF_FILES_PAUSE_SECONDS)
                    break
                try:
                    socket, address = listener.accept()
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}:
                        # The backlog keeps the client waiting until somebody leaves.
                        await trio.sleep(OUT_OF_FILES_PAUSE_SECONDS)
                    break
                socket.setblocking(False)  # noqa: FBT003 - the socket API's own flag
                socket.setsockopt(stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_NODELAY, 1)
                self._admit(Connection(socket, address[0], self._clock.now().monotonic_ns))

    def _admit(self, connection: Connection) -> None:
        self._selector.register(connection.socket.fileno(), selectors.EVENT_READ, connection)
        self._connections += 1
        self._by_progress[connection] = None

    def _release(self, connection: Connection) -> None:
        """Take a connection out of the lane, its socket still open."""
        if not connection.paused:
            self._selector.unregister(connection.socket.fileno())
        self._partial.pop(connection, None)
        del self._by_progress[connection]
        self._connections -= 1
        connection.open = False

    def _close(self, connection: Connection) -> None:
        self._release(connection)
        connection.socket.close()

    async def _react(self, handler_nursery: trio.Nursery) -> None:
        selector = self._selector
        while True:
            await trio.lowlevel.wait_readable(selector.fileno())
            await self._settler.room()
            for served, (key, _) in enumerate(selector.select(0), 1):
                if key.data.open:
                    self._serve(key.data, handler_nursery)
                if served % LANE_BATCH_CONNECTIONS == 0:
                    await trio.lowlevel.checkpoint()
                    await self._settler.room()

    def _serve(self, connection: Connection, handler_nursery: trio.Nursery) -> None:
        """Read once and answer every complete heartbeat among the bytes."""
        data = self._read(connection)
        if not data:
            return
        partial = bool(connection.unread)
        if partial:
            data = connection.unread + data
            connection.unread = b""
        answers: list[bytes] = []
        held: list[tuple[int, Held]] = []
        start, size = 0, len(data)
        while start < size:
            end = data.find(b"\r\n\r\n", start, start + LANE_HEAD_MAX_BYTES) + 4
            if end > 3:  # noqa: PLR2004 - found
                head_bytes = data[start:end]
                head = connection.head if head_bytes == connection.head_bytes else connection.read_head(head_bytes)
            elif may_become_plain(data[start:]):
                break
            else:
                head = None
            if head is None:
                self._hand_over(connection, data[start:], answers, held, handler_nursery)
                return
            body_end = end + head.body_bytes
            if body_end > size:
                break
            self._answer(connection.client, head, data[end:body_end], answers, held)
            start = body_end
        if start < size or partial:
            self._wait_on(connection, data[start:], progressed=bool(answers) or not partial)
        else:
            self._note_progress(connection)
        if held:
            self._owe(connection, answers, held, handler_nursery)
        elif answers:
            self._send(connection, answers[0] if len(answers) == 1 else b"".join(answers), handler_nursery)

    def _read(self, connection: Connection) -> bytes:
        """Read once; nothing where there is nothing to serve now."""
        if connection.owed:
            self._pause(connection)
            return b""
        try:
            data = connection.socket.recv(READ_BYTES)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if not data:
            self._close(connection)
        return data

    def _owe(
        self,
        connection: Connection,
        answers: list[bytes],
        held: list[tuple[int, Held]],
        handler_nursery: trio.Nursery,
    ) -> None:
        """Send these answers once those that are held back are in their places."""
        connection.owed, connection.held = answers, len(held)
        for at, answer in held:
            self._settler.hold(answer, partial(self._pay, connection, at, handler_nursery))

    def _pay(self, connection: Connection, at: int, handler_nursery: trio.Nursery, reply: Reply) -> None:
        """Put an answer that was held back in its place, and send all when it was the last one."""
        connection.owed[at] = self._render(reply, self._clock.now())
        connection.held -= 1
        if connection.held or not connection.open:
            return
        data, connection.owed = b"".join(connection.owed), []
        if connection.paused:
            connection.paused = False
            self._selector.register(connection.socket.fileno(), selectors.EVENT_READ, connection)
        self._send(connection, data, handler_nursery)

    def _pause(self, connection: Connection) -> None:
        """Read nothing from a connection until what it is owed is out: what waits in here stays bounded."""
        self._selector.unregister(connection.socket.fileno())
        connection.paused = True

    def _note_progress(self, connection: Connection) -> None:
        connection.since_ns = self._clock.now().monotonic_ns
        self._by_progress.move_to_end(connection)

    def _wait_on(self, connection: Connection, unread: bytes, *, progressed: bool) -> None:
        """Note what there is of the next request, and since when its rest is awaited."""
        connection.unread = unread
        if progressed:
            self._note_progress(connection)
        if unread:
            self._partial[connection] = connection.since_ns
        else:
            self._partial.pop(connection, None)

    def _answer(
        self, client: str, head: PlainHead, body: bytes, answers: list[bytes], held: list[tuple[int, Held]]
    ) -> None:
        """Decide one heartbeat, and put its answer behind the others; an empty one, noted, where it is held back."""
        now = self._clock.now()
        try:
            reply = self._api.handle_heartbeat(head.worker_id, head.token, head.certificate_id, body, client, now)
        except Exception:  # noqa: BLE001 - a fault of ours must not cost the caller its answer
            reply = internal_error("a heartbeat")
        if isinstance(reply, Held):
            held.append((len(answers), reply))
            answers.append(b"")
        else:
            answers.append(self._render(reply, now))

    def _render(self, reply: Reply, now: Instant) -> bytes:
        second = now.wall_ns // SECOND_NS
        if second != self._date_second:
            self._date_second = second
            self._date = formatdate(second, usegmt=True).encode()
        more = b"" if len(reply.headers) == 1 else _more_headers(reply)
        body = reply.body
        return (
            b"HTTP/1.1 %d \r\ncontent-type: application/json\r\nx-request-id: %b\r\nvary: Origin\r\n"
            b"%bcontent-length: %d\r\n%bdate: %b\r\n\r\n%b"
        ) % (
            reply.status,
            self._api.state.entropy.hex(16).encode(),
            more,
            len(body),
            b"connection: close\r\n" if self._draining else b"",
            self._date,
            body,
        )

    def _send(self, connection: Connection, data: bytes, handler_nursery: trio.Nursery) -> None:
        try:
            sent = connection.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._close(connection)
            return
        if sent < len(data):
            self._release(connection)
            handler_nursery.start_soon(self._send_slowly, connection, data[sent:])
        elif self._draining:
            self._close(connection)

    async def _send_slowly(self, connection: Connection, data: bytes) -> None:
        """Send the rest to a client that reads slowly, and take it back into the lane; or give up on it in time."""
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(connection.socket))
        sent = False
        try:
            with trio.move_on_after(self._send_timeout_seconds):
                await stream.send_all(data)
                sent = True
        except trio.BrokenResourceError:
            pass
        finally:
            if not sent or self._draining:
                connection.socket.close()
        if not sent or self._draining:
            return
        now_ns = self._clock.now().monotonic_ns
        returned = Connection(connection.socket, connection.client, now_ns)
        returned.unread = connection.unread
        self._admit(returned)
        if returned.unread:
            self._partial[returned] = now_ns

    def _hand_over(
        self,
        connection: Connection,
        unread: bytes,
        answers: list[bytes],
        held: list[tuple[int, Held]],
        handler_nursery: trio.Nursery,
    ) -> None:
        """Give the connection to Hypercorn for good, after what the lane still owes it.

        The deadline of a head that began in the lane goes on: else whoever lets one become unfit for the lane late
        could take the time twice.
        """
        waited_ns = 0
        if not answers and connection in self._partial:
            waited_ns = self._clock.now().monotonic_ns - self._partial[connection]
        self._release(connection)
        handler_nursery.start_soon(
            self._serve_elsewhere, connection.socket, unread, answers, held, waited_ns / SECOND_NS
        )

    async def _serve_elsewhere(
        self,
        socket: stdlib_socket.socket,
        unread: bytes,
        answers: list[bytes],
        held: list[tuple[int, Held]],
        waited_seconds: float,
    ) -> None:
        async with trio.SocketStream(trio.socket.from_stdlib_socket(socket)) as stream:
            for at, answer in held:
                answers[at] = self._render(await self._settler.settled(answer), self._clock.now())
            try:
                with trio.fail_after(self._send_timeout_seconds):
                    await stream.send_all(b"".join(answers))
            except (trio.BrokenResourceError, trio.TooSlowError):
                return
            await self._front.serve_stream(stream, unread, waited_seconds)

    async def _sweep(self) -> None:
        """Close what is late: requests that do not end, and connections at rest for too long."""
        while True:
            await trio.sleep(SWEEP_SECONDS)
            now_ns = self._clock.now().monotonic_ns
            for connection, since_ns in list(self._partial.items()):
                if connection.owed:
                    continue
                in_body = b"\r\n\r\n" in connection.unread
                if now_ns - since_ns > (self._body_ns if in_body else self._header_ns):
                    self._close(connection)
            for connection in self._resting_since(now_ns - self._idle_ns):
                self._close(connection)

    def _resting_since(self, monotonic_ns: int) -> list[Connection]:
        late = takewhile(lambda connection: connection.since_ns < monotonic_ns, self._by_progress)
        return [connection for connection in late if not connection.unread and not connection.owed]

    async def drain(self, handler_nursery: trio.Nursery) -> None:
        """Answer what has arrived, let half-sent requests end, and close the rest. Call once accepting has stopped."""
        self._draining = True
        for key, _ in self._selector.select(0):
            self._serve(key.data, handler_nursery)
        for key in list(self._selector.get_map().values()):
            if not key.data.unread and not key.data.owed:
                self._close(key.data)
        while self._connections:
            with trio.move_on_after(SWEEP_SECONDS):
                await trio.lowlevel.wait_readable(self._selector.fileno())
            for key, _ in self._selector.select(0):
                self._serve(key.data, handler_nursery)

    def close(self) -> None:
        """Close whatever is left, and the selector."""
        for connection in list(self._by_progress):
            self._close(connection)
        self._selector.close()


def _more_headers(reply: Reply) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in reply.headers[1:]).encode()
