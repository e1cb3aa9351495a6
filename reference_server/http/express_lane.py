"""The express lane: every plain HTTP/1.1 request, answered inline.

One Trio task waits for one nested selector and then serves every connection that has bytes, straight on its
non-blocking socket: no task, no stream and no wake-up a connection, which is worth a factor of two against a task
each. Complete, plain heartbeats are read at a glance; for everything else a connection has a `Conversation` until it
rests again.

An answer that the API holds back keeps its place among those of its connection. While one is owed, or the client has
not taken what was sent, nothing more is read there, so what a client can have waiting here is bounded.
"""

from __future__ import annotations

import selectors
import socket as stdlib_socket
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

import trio

from reference_server.http.accepting import accept
from reference_server.http.answers import Answerer, internal_error
from reference_server.http.conversation import Conversation
from reference_server.http.framing import Waiting
from reference_server.http.lane_clients import Answers, Connection
from reference_server.http.patience import Patience
from reference_server.http.rendering import CONTINUE, Renderer
from reference_server.limits import (
    LANE_ANSWERS_MAX_BYTES,
    LANE_BATCH_CONNECTIONS,
    LANE_CONVERSATION_COST,
    LANE_HEAD_MAX_BYTES,
    LANE_LIMITED_AT_ONCE,
    LINGER_MAX_BYTES,
)
from reference_server.operations.outcomes import Held
from reference_server.wire.values import succeeded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reference_server.http.admission import Admission
    from reference_server.http.lane_clients import Owed, PlainHead
    from reference_server.http.settling import Settler
    from reference_server.operations.api import Api
    from reference_server.ports import Clock
    from reference_server.settings import Settings
    from reference_server.wire.values import Instant, Reply

READ_BYTES = 65_536
SWEEP_SECONDS = 0.25
LIMITED = int(HTTPStatus.TOO_MANY_REQUESTS)
READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class ExpressLane:
    """Accepts connections, and answers what comes on them."""

    def __init__(self, api: Api, clock: Clock, settings: Settings, admission: Admission, settler: Settler) -> None:
        self._api = api
        self._answerer = Answerer(api, clock, settler)
        self._settler = settler
        self._clock = clock
        self._admission = admission
        self._renderer = Renderer(api.state.entropy)
        self._selector = selectors.DefaultSelector()
        self._patience = Patience(settings)

    async def run(self, listeners: Sequence[stdlib_socket.socket]) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            for listener in listeners:
                nursery.start_soon(accept, listener, self._admission, self._welcome)
            nursery.start_soon(self._sweep)
            await self._react()

    def _welcome(self, socket: stdlib_socket.socket, client: str) -> None:
        now = self._clock.now()
        connection = Connection(self, socket, client, now.monotonic_ns)
        connection.limited = self._api.is_exhausted(connection.address, now)
        self._admission.enter(connection)
        self._patience.add(connection)
        self._watch(connection, READ)

    def close_connection(self, connection: Connection) -> None:
        """Close a connection, whatever it waits for."""
        self._watch(connection, 0)
        self._patience.drop(connection)
        connection.open = False
        self._admission.leave(connection)
        connection.conversation = connection.unsent = None
        connection.owed = []
        connection.socket.close()

    def _watch(self, connection: Connection, events: int) -> None:
        """Wait for these events on a connection's socket, and no others."""
        before, connection.events = connection.events, events
        if before == events:
            return
        if not before:
            self._selector.register(connection.socket.fileno(), events, connection)
        elif events:
            self._selector.modify(connection.socket.fileno(), events, connection)
        else:
            self._selector.unregister(connection.socket.fileno())

    async def _react(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._selector.fileno())
            await self._settler.room()
            await self._take_turns()

    async def _take_turns(self) -> None:
        """Let every connection that is ready go on, those over their rate limit last, and only some of them.

        The others are still ready: they come first among their like the next time.
        """
        limited: list[tuple[Connection, int]] = []
        served = 0
        for key, events in self._selector.select(0):
            if key.data.limited:
                limited.append((key.data, events))
                continue
            served += self._turn(key.data, events)
            if served >= LANE_BATCH_CONNECTIONS:
                served = 0
                await trio.lowlevel.checkpoint()
                await self._settler.room()
        for connection, events in limited[:LANE_LIMITED_AT_ONCE]:
            self._turn(connection, events)

    def _turn(self, connection: Connection, events: int) -> int:
        """Let a connection go on. Return what that cost, in plain heartbeats."""
        if not connection.open:
            return 0
        if events & WRITE:
            self._send_more(connection)
            return 1
        data = self._read(connection)
        if not data:
            return 1
        return self._serve(connection, data)

    def _read(self, connection: Connection) -> bytes:
        """Read once; nothing where there is nothing to serve now."""
        if connection.owed:
            self._watch(connection, 0)
            return b""
        try:
            data = connection.socket.recv(READ_BYTES)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if connection.lingering:
            connection.lingering += len(data)
            if data and connection.lingering <= LINGER_MAX_BYTES:
                return b""
            data = b""
        if not data:
            self.close_connection(connection)
        return data

    def _serve(self, connection: Connection, data: bytes) -> int:
        """Answer what is complete now, the bytes just read included. Return what it cost, in plain heartbeats."""
        answers = Answers()
        start = 0
        if connection.conversation is None:
            end = data.find(b"\r\n\r\n", 0, LANE_HEAD_MAX_BYTES) + 4
            head = connection.head
            if head is not None and end + head.body_bytes == len(data) and data[:end] == connection.head_bytes:
                self._serve_one(connection, head, data[end:])
                return 1
            start = self._answer_plain(connection, data, answers)
        if start == len(data):
            self._deliver(connection, answers)
            return 1
        if connection.conversation is None:
            connection.conversation = Conversation(self._answerer, connection.client, "http")
        connection.conversation.receive(data[start:] if start else data)
        self._converse(connection, answers)
        return LANE_CONVERSATION_COST

    def _serve_one(self, connection: Connection, head: PlainHead, body: bytes) -> None:
        """Answer a heartbeat that came alone, after another, as nearly all do: there is nothing else to note."""
        now = self._clock.now()
        reply = self._decide_heartbeat(connection, head, body, now)
        if isinstance(reply, Held):
            answers = Answers()
            answers.hold(reply)
            self._deliver(connection, answers)
            return
        self._learn(connection, reply, proves=True)
        self._patience.rested(connection, now.monotonic_ns)
        self._send(connection, self._renderer.plain(reply, now))

    def _answer_plain(self, connection: Connection, data: bytes, answers: Answers) -> int:
        """Answer the complete, plain heartbeats that the bytes begin with. Return where they end."""
        start, size = 0, len(data)
        while start < size:
            end = data.find(b"\r\n\r\n", start, start + LANE_HEAD_MAX_BYTES) + 4
            if end == 3:  # noqa: PLR2004 - not found
                break
            head_bytes = data[start:end]
            head = connection.head if head_bytes == connection.head_bytes else connection.read_head(head_bytes)
            if head is None or end + head.body_bytes > size:
                break
            body_end = end + head.body_bytes
            now = self._clock.now()
            reply = self._decide_heartbeat(connection, head, data[end:body_end], now)
            if isinstance(reply, Held):
                answers.hold(reply)
            else:
                answers.parts.append(self._renderer.plain(reply, now))
                self._learn(connection, reply, proves=True)
            start = body_end
        return start

    def _decide_heartbeat(self, connection: Connection, head: PlainHead, body: bytes, now: Instant) -> Reply:
        try:
            return self._api.handle_heartbeat(
                head.worker_id, head.token, head.certificate_id, body, connection.client, now
            )
        except Exception:  # noqa: BLE001 - a fault of ours must not cost the caller its answer
            return internal_error("a heartbeat")

    def _converse(self, connection: Connection, answers: Answers) -> None:
        """Answer everything that a conversation has received, as much at a time as may wait unsent."""
        while self._converse_once(connection, answers):
            self._deliver(connection, answers)
            if not connection.open or connection.owed or connection.unsent is not None:
                return
            answers = Answers()
        self._deliver(connection, answers)

    def _converse_once(self, connection: Connection, answers: Answers) -> bool:
        """Put the next answers behind the others. Return whether there may be more after these."""
        conversation = connection.conversation
        if conversation is None:
            return False
        while (answer := conversation.next()) is not None:
            reply, bodiless, closes, proves = answer
            if isinstance(reply, Held):
                answers.hold(reply, plain=False, bodiless=bodiless, closes=closes, proves=proves)
            else:
                self._learn(connection, reply, proves=proves)
                answers.parts.append(self._renderer.full(reply, self._clock.now(), bodiless=bodiless, closes=closes))
                answers.size += len(answers.parts[-1])
            if closes or self._renderer.closing:
                answers.closes = True
                return False
            if answers.size >= LANE_ANSWERS_MAX_BYTES:
                return True
        if conversation.take_continue():
            answers.parts.append(CONTINUE)
        answers.closes = conversation.ended
        return False

    def _learn(self, connection: Connection, reply: Reply, *, proves: bool) -> None:
        """Note what an answer tells of who got it."""
        connection.limited = reply.status == LIMITED
        if proves and not connection.proven and succeeded(reply):
            self._admission.prove(connection)

    def _deliver(self, connection: Connection, answers: Answers) -> None:
        """Send these answers, or note what they wait for; then what the connection waits for next."""
        connection.closing = answers.closes
        if answers.held:
            connection.owed, connection.held = answers.parts, len(answers.held)
            for owed in answers.held:
                self._settler.hold(owed.reply, partial(self._pay, connection, owed))
        elif answers.parts:
            self._send(connection, answers.parts[0] if len(answers.parts) == 1 else b"".join(answers.parts))
        elif answers.closes:
            self._linger(connection)
        self._go_on_waiting(connection, progressed=bool(answers.parts))

    def _pay(self, connection: Connection, owed: Owed, reply: Reply) -> None:
        """Put an answer that was held back in its place, and send all when it was the last one."""
        if not connection.open:
            return
        now = self._clock.now()
        if owed.plain:
            part = self._renderer.plain(reply, now)
        else:
            part = self._renderer.full(reply, now, bodiless=owed.bodiless, closes=owed.closes)
        connection.owed[owed.at] = part
        connection.held -= 1
        self._learn(connection, reply, proves=owed.proves)
        if connection.held:
            return
        data, connection.owed = b"".join(connection.owed), []
        self._watch(connection, READ)
        self._send(connection, data)
        self._after_sending(connection)

    def _send(self, connection: Connection, data: bytes | memoryview) -> None:
        try:
            sent = connection.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close_connection(connection)
            return
        if sent < len(data):
            if connection.unsent is None:
                self._patience.wait_for_reader(connection, self._clock.now().monotonic_ns)
            connection.unsent = memoryview(data)[sent:]
            self._watch(connection, WRITE)
        else:
            connection.unsent = None
            if connection.closing:
                self._linger(connection)
            elif self._renderer.closing:
                self.close_connection(connection)

    def _send_more(self, connection: Connection) -> None:
        """Send on what the client did not take before."""
        if connection.unsent is not None:
            self._send(connection, connection.unsent)
        if connection.open and connection.unsent is None:
            self._watch(connection, READ)
            self._after_sending(connection)
        elif connection.open:
            self._account(connection)

    def _after_sending(self, connection: Connection) -> None:
        """Go on with what has been received already, once everything before is out."""
        if not connection.open or connection.unsent is not None or connection.lingering:
            return
        self._patience.wait_for(connection, Waiting.REQUEST, self._clock.now().monotonic_ns)
        self._converse(connection, Answers())

    def _linger(self, connection: Connection) -> None:
        """End the answers, but read on for a moment: closing on unread bytes would take the last from the client."""
        try:
            connection.socket.shutdown(stdlib_socket.SHUT_WR)
        except OSError:
            self.close_connection(connection)
            return
        connection.conversation = None
        connection.lingering = 1
        self._watch(connection, READ)
        self._patience.linger(connection, self._clock.now().monotonic_ns)
        self._account(connection)

    def _go_on_waiting(self, connection: Connection, *, progressed: bool) -> None:
        """Note what a connection waits for now, since when, and how much waits in it."""
        if not connection.open or connection.lingering:
            return
        conversation = connection.conversation
        waiting = Waiting.REQUEST
        if conversation is not None:
            waiting = conversation.waiting
            if conversation.at_rest:
                connection.conversation = conversation = None
        if connection.unsent is None and (progressed or not self._patience.still_waits_for(connection, waiting)):
            self._patience.wait_for(connection, waiting, self._clock.now().monotonic_ns)
        if progressed and not connection.proven:
            self._admission.progress(connection)
        if conversation is not None or connection.waiting_bytes or connection.unsent is not None or connection.owed:
            self._account(connection)

    def _account(self, connection: Connection) -> None:
        """Note how many bytes wait in a connection. It may have to go for them."""
        size = sum(map(len, connection.owed))
        if connection.conversation is not None:
            size += connection.conversation.waiting_bytes
        if connection.unsent is not None:
            size += len(connection.unsent)
        self._admission.hold(connection, size)

    async def _sweep(self) -> None:
        """Close what is late: requests that do not end, answers not taken, and connections at rest for too long."""
        while True:
            await trio.sleep(SWEEP_SECONDS)
            self._close_late()

    def _close_late(self) -> None:
        for connection in self._patience.late(self._clock.now().monotonic_ns):
            self.close_connection(connection)

    async def drain(self) -> None:
        """Answer what has arrived, let half-sent requests end, and close the rest. Call once accepting has stopped."""
        self._renderer.closing = True
        for key, events in self._selector.select(0):
            self._turn(key.data, events)
        for connection in list(self._patience.connections):
            if self._patience.at_rest(connection):
                self.close_connection(connection)
        while self._patience.connections:
            with trio.move_on_after(SWEEP_SECONDS):
                await trio.lowlevel.wait_readable(self._selector.fileno())
            for key, events in self._selector.select(0):
                self._turn(key.data, events)
            self._close_late()

    def close(self) -> None:
        """Close whatever is left, and the selector."""
        for connection in list(self._patience.connections):
            self.close_connection(connection)
        self._selector.close()
