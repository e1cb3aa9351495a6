"""The express lane: every HTTP/1.1 request, plain or inside TLS, answered inline.

One Trio task waits for one nested selector and then serves every connection in rounds, straight on its
non-blocking socket: no task, no stream and no wake-up a connection, a factor of two against a task each. What comes
whole and alone is answered at a glance, heartbeats also one behind another; for everything else a connection has a
`Conversation` until it rests again. Heartbeats that came alone are read, decided and sent in groups, a step at a time.

An answer that the API defers keeps its place among those of its connection. While one is pending, or the client has
not taken what was sent, nothing more is read there, so what a client can have waiting here is bounded.
"""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

import trio

from reference_server.http.accepting import accept
from reference_server.http.admission import shared_or_own
from reference_server.http.conversation import Answer
from reference_server.http.framing import Waiting
from reference_server.http.glances import answer_heartbeat, answer_heartbeats, answer_whole
from reference_server.http.lane_clients import Answers, Connection, Pending
from reference_server.http.patience import Patience
from reference_server.http.plain_heads import plain_head
from reference_server.http.ready_queue import READ, WRITE, ReadyQueue
from reference_server.http.rendering import CONTINUE, Renderer
from reference_server.limits import (
    LANE_ANSWERS_AT_ONCE,
    LANE_ANSWERS_MAX_BYTES,
    LANE_DECIDED_TOGETHER,
    LINGER_MAX_BYTES,
)
from reference_server.operations.outcomes import LIMITER_UNAVAILABLE, Deferred
from reference_server.pipeline.answering import Answerer
from reference_server.wire.values import succeeded

if TYPE_CHECKING:
    import socket as stdlib_socket
    from collections.abc import Sequence

    from reference_server.http.admission import Admission
    from reference_server.http.plain_heads import PlainHead
    from reference_server.http.tls_socket import TlsSocket
    from reference_server.operations.api import Api
    from reference_server.pipeline.resolving import Resolver
    from reference_server.ports import Clock
    from reference_server.settings import Settings
    from reference_server.wire.values import Reply

READ_BYTES = 65_536
SWEEP_SECONDS = 0.25
LIMITED, UNSURE = int(HTTPStatus.TOO_MANY_REQUESTS), int(HTTPStatus.SERVICE_UNAVAILABLE)


class ExpressLane:
    """Accepts connections, and answers what comes on them."""

    def __init__(self, api: Api, clock: Clock, settings: Settings, admission: Admission, resolver: Resolver) -> None:
        self._api = api
        self._answerer = Answerer(api, clock, resolver)
        self._resolver = resolver
        self._clock = clock
        self._admission = admission
        self._renderer = Renderer(api.state.entropy)
        self._queue = ReadyQueue(resolver)
        self._patience = Patience(settings)
        self._alone: list[tuple[Connection, PlainHead, bytes]] = []
        """Heartbeats, with their bodies, that came alone in this round, and are not decided yet."""

    async def run(self, listeners: Sequence[stdlib_socket.socket]) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            for listener in listeners:
                nursery.start_soon(accept, listener, self._admission, self.welcome)
            nursery.start_soon(self._sweep)
            await self._react()

    def welcome(self, socket: stdlib_socket.socket, client: str, tls: TlsSocket | None = None) -> Connection:
        """Serve a connection from here on: one that has just come, or whose handshake was made elsewhere."""
        now = self._clock.now()
        address = shared_or_own(client, self._api.proxies)
        connection = Connection(self, socket, client, address, now.monotonic_ns, tls)
        connection.limited = bool(connection.address) and self._api.is_exhausted(connection.address, now)
        self._admission.enter(connection)
        self._patience.add(connection)
        self._queue.watch(connection, READ)
        return connection

    def close_connection(self, connection: Connection) -> None:
        """Close a connection, whatever it waits for."""
        self._queue.watch(connection, 0)
        self._patience.drop(connection)
        connection.end()
        self._admission.leave(connection)

    async def _react(self) -> None:
        while True:
            await self._queue.wait_ready()
            await self._resolver.room()
            await self._queue.serve_round(self._go_on, self._resume, self._answer_alone)

    def _go_on(self, connection: Connection, events: int) -> int:
        """Go on with a connection that is ready. Return how many answers it got, one for a look."""
        events &= connection.events  # it may have been closed, or put to waiting for something else, since it was ready
        if not events or connection.postponed:  # whose turn comes, however often it is found ready before
            return 0
        if events & WRITE:
            self._send_more(connection)
            return 1
        if connection.limited and not connection.pending:
            self._queue.postpone(connection)
            return 0
        data = self._read(connection)
        return self._serve(connection, data) if data else 1

    def _resume(self, connection: Connection) -> int:
        """Go on with a connection that was postponed. Return how many answers it got, one for a look."""
        if not connection.open or connection.pending or connection.unsent is not None:
            return 0
        self._queue.watch(connection, READ)
        if connection.more:
            return self._converse(connection, Answers())
        data = self._read(connection)
        return self._serve(connection, data) if data else 1

    def _read(self, connection: Connection) -> bytes:
        """Read once; nothing where there is nothing to serve now."""
        if connection.pending:
            self._queue.watch(connection, 0)
            return b""
        try:
            data = connection.receive(READ_BYTES)
        except BlockingIOError:
            if connection.secure:
                self._go_on_waiting(connection, progressed=False)
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
        elif connection.secure and connection.has_part_of_record:
            connection.begin_conversation(self._answerer)  # so that what is waited for is looked at once it is answered
        return data

    def _serve(self, connection: Connection, data: bytes) -> int:
        """Answer what is complete now, the bytes just read included. Return how many answers, at least one."""
        answers, start = None, 0
        if connection.conversation is None:
            head = plain_head(data)
            if head is not None:
                if head.end + head.body_bytes == len(data):
                    self._alone.append((connection, head, data[head.end :]))
                    if len(self._alone) >= LANE_DECIDED_TOGETHER:
                        self._answer_alone()
                    return 1
                answers = Answers()
                start = self._answer_plain(connection, data, answers)
            elif self._serve_whole(connection, data):
                return 1
        if start < len(data):
            connection.begin_conversation(self._answerer).receive(data[start:] if start else data)
        return self._converse(connection, Answers() if answers is None else answers)

    def _answer_alone(self) -> None:
        """Answer the heartbeats that came alone, as nearly all do: decide all of them, then send all.

        What does one step stays in the core's caches then: all steps for one after another take half as long again.
        Nobody has been closed since: what others hold may send away only connections that hold something themselves.
        """
        if not self._alone:
            return
        alone, self._alone = self._alone, []
        now = self._clock.now()
        answers = []
        for (connection, _, body), reply in zip(alone, answer_heartbeats(self._api, alone, now), strict=True):
            if isinstance(reply, Deferred):
                self._deliver(connection, Answers.of_one(reply, Answer(reply, size=len(body)), plain=True))
                continue
            self._learn(connection, reply, proves=True)
            self._patience.rested(connection, now.monotonic_ns)
            answers.append((connection, self._renderer.plain(reply, now)))
        for connection, answer in answers:
            self._send(connection, answer)

    def _serve_whole(self, connection: Connection, data: bytes) -> bool:
        """Answer any other request that came alone. Return whether it did."""
        answer = None if self._renderer.closing else answer_whole(self._answerer, connection, data)
        if answer is None:
            return False
        reply, now = answer.reply, self._clock.now()
        if isinstance(reply, Deferred):
            self._deliver(connection, Answers.of_one(reply, answer, plain=False))
            return True
        self._learn(connection, reply, proves=answer.proves)
        self._patience.rested(connection, now.monotonic_ns)
        self._send(connection, self._renderer.full(reply, now, bodiless=answer.bodiless, closes=False))
        return True

    def _answer_plain(self, connection: Connection, data: bytes, answers: Answers) -> int:
        """Answer the complete, plain heartbeats that the bytes begin with. Return where they end."""
        start, size = 0, len(data)
        most = 1 if connection.limited else LANE_ANSWERS_AT_ONCE
        while start < size and len(answers.parts) < most:
            head = plain_head(data, start)
            if head is None or head.end + head.body_bytes > size:
                break
            body_end = head.end + head.body_bytes
            now = self._clock.now()
            reply = answer_heartbeat(self._api, connection, head, data[head.end : body_end], now)
            if isinstance(reply, Deferred):
                answers.defer(Pending(len(answers.parts), reply, True, Answer(reply, size=len(data))))  # noqa: FBT003
            else:
                answers.parts.append(self._renderer.plain(reply, now))
                self._learn(connection, reply, proves=True)
            start = body_end
        return start

    def _converse(self, connection: Connection, answers: Answers) -> int:
        """Put a conversation's next answers behind these, and deliver them. Return how many they are, at least one."""
        connection.more = self._answer_on(connection, answers)
        self._deliver(connection, answers)
        if (
            connection.more
            and connection.open
            and connection.unsent is None
            and not (connection.pending or connection.lingering)
        ):
            self._queue.postpone(connection)
        return max(1, len(answers.parts))

    def _answer_on(self, connection: Connection, answers: Answers) -> bool:
        """Put a conversation's next answers behind these. Return whether there may be more, for another round."""
        conversation = connection.conversation
        if conversation is None:
            return False
        while True:
            most = 1 if connection.limited else LANE_ANSWERS_AT_ONCE
            if len(answers.parts) >= most or answers.size >= LANE_ANSWERS_MAX_BYTES:
                return bool(conversation.waiting_bytes)
            answer = conversation.next()
            if answer is None:
                break
            reply = answer.reply
            if isinstance(reply, Deferred):
                answers.defer(Pending(len(answers.parts), reply, False, answer))  # noqa: FBT003 - not a plain one
            else:
                self._learn(connection, reply, proves=answer.proves)
                answers.parts.append(
                    self._renderer.full(reply, self._clock.now(), bodiless=answer.bodiless, closes=answer.closes)
                )
                answers.size += len(answers.parts[-1])
            if answer.closes or self._renderer.closing:
                answers.closes = True
                return False
        if conversation.busy:
            return True
        if conversation.take_continue():
            answers.parts.append(CONTINUE)
        answers.closes = conversation.ended
        return False

    def _learn(self, connection: Connection, reply: Reply, *, proves: bool) -> None:
        """Note what an answer tells of who got it. Whom a limiter that is down may have limited waits as those do."""
        limited = reply.status == LIMITED or (reply.status == UNSURE and reply.body == LIMITER_UNAVAILABLE.body)
        connection.limited = limited and bool(connection.address)
        if not connection.proven:
            self._admission.answered(connection, proves=proves and succeeded(reply))

    def _deliver(self, connection: Connection, answers: Answers) -> None:
        """Send these answers, or note what they wait for; then what the connection waits for next."""
        connection.closing = answers.closes
        if answers.deferred:
            connection.pending, connection.deferred = answers.parts, len(answers.deferred)
            connection.deferred_bytes = sum(pending.answer.size for pending in answers.deferred)
            for pending in answers.deferred:
                self._resolver.defer(pending.reply, partial(self._resolve, connection, pending))
        elif answers.parts:
            self._send(connection, answers.parts[0] if len(answers.parts) == 1 else b"".join(answers.parts))
        elif answers.closes:
            self._linger(connection)
        self._go_on_waiting(connection, progressed=bool(answers.parts))

    def _resolve(self, connection: Connection, pending: Pending, reply: Reply) -> None:
        """Put an answer that was deferred in its place, and send all when it was the last one."""
        if not connection.open:
            return
        now = self._clock.now()
        if pending.plain:
            part = self._renderer.plain(reply, now)
        else:
            part = self._renderer.full(reply, now, bodiless=pending.answer.bodiless, closes=pending.answer.closes)
        connection.pending[pending.at] = part
        connection.deferred -= 1
        self._learn(connection, reply, proves=pending.answer.proves)
        if connection.deferred:
            return
        data, connection.pending, connection.deferred_bytes = b"".join(connection.pending), [], 0
        self._queue.watch(connection, READ)
        self._send(connection, data)
        self._after_sending(connection)

    def _send(self, connection: Connection, data: bytes | memoryview) -> None:
        try:
            sent = connection.transmit(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close_connection(connection)
            return
        if sent < len(data):
            if connection.unsent is None:
                self._patience.wait_for_reader(connection, self._clock.now().monotonic_ns)
            connection.unsent = memoryview(data)[sent:]
            self._queue.watch(connection, WRITE)
            self._admission.note_waiting(connection, connection.held_bytes)
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
            self._queue.watch(connection, READ)
            self._after_sending(connection)

    def _after_sending(self, connection: Connection) -> None:
        """Go on with what has been received already, once everything before is out."""
        if not connection.open or connection.unsent is not None or connection.lingering:
            return
        self._patience.wait_for(connection, Waiting.REQUEST, self._clock.now().monotonic_ns)
        self._converse(connection, Answers())

    def _linger(self, connection: Connection) -> None:
        """End the answers, but read on for a moment: closing on unread bytes would take the last from the client."""
        try:
            connection.begin_lingering()
        except OSError:
            self.close_connection(connection)
            return
        self._queue.watch(connection, READ)
        self._patience.linger(connection, self._clock.now().monotonic_ns)
        self._admission.note_waiting(connection, connection.held_bytes)

    def _go_on_waiting(self, connection: Connection, *, progressed: bool) -> None:
        """Note what a connection waits for now, since when, and how much waits in it."""
        if not connection.open or connection.lingering:
            return
        waiting = connection.rest()
        self._patience.go_on(connection, waiting, self._clock.now().monotonic_ns, progressed=progressed)
        if connection.has_part_of_record:
            connection.begin_conversation(self._answerer)  # so that what is waited for is looked at anew
        if connection.holds_bytes or connection.waiting_bytes:
            self._admission.note_waiting(connection, connection.held_bytes)

    async def _sweep(self) -> None:
        """Close what is late: requests that do not end, answers not taken, and connections at rest for too long."""
        while True:
            await trio.sleep(SWEEP_SECONDS)
            self._close_late()

    def _close_late(self) -> None:
        for connection in self._patience.late(self._clock.now().monotonic_ns):
            self.close_connection(connection)

    async def finish(self, deadline: float) -> None:
        """Answer what has arrived, let half-sent requests end, and close the rest. Call once accepting has stopped.

        What is left at the deadline ends with the process, so that answers deferred until then can still go out.
        """
        self._renderer.closing = True
        with trio.move_on_at(deadline):
            await self._queue.serve_round(self._go_on, self._resume, self._answer_alone)
            for connection in list(self._patience.connections):
                if self._patience.at_rest(connection) and not connection.postponed:
                    self.close_connection(connection)
            while self._patience.connections:
                await self._queue.wait_ready(SWEEP_SECONDS)
                await self._queue.serve_round(self._go_on, self._resume, self._answer_alone)
                self._close_late()
        self.close()

    def close(self) -> None:
        """Close whatever is left."""
        for connection in list(self._patience.connections):
            self.close_connection(connection)
        self._queue.close()
