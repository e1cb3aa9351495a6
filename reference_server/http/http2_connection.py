"""One HTTP/2 connection without its socket: bytes and moments go in, frames come out (RFC 9113, contract §6).

h2 keeps the protocol; what a client may make us keep, do and wait for is bounded. `now` is the deadlines' clock, in s.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import ProtocolError

from reference_server import limits
from reference_server.http.admission import learn_nothing
from reference_server.http.framing import head_cost
from reference_server.http.http2_fields import read_head, size_of
from reference_server.http.http2_frames import Allowance, FrameCutter, Http2Error
from reference_server.http.http2_protocol import BoundedH2
from reference_server.http.http2_stream import Stream
from reference_server.http.rendering import http_date
from reference_server.operations.outcomes import BODY_TOO_LARGE, Admitted, Deferred
from reference_server.wire.replies import INVALID_REQUEST
from reference_server.wire.units import SECOND_NS
from reference_server.wire.values import succeeded

if TYPE_CHECKING:
    from h2.events import Event

    from reference_server.http.http2_frames import Frame
    from reference_server.pipeline.answering import Answerer
    from reference_server.settings import Settings
    from reference_server.wire.values import Reply

Defer = Callable[[Deferred, Callable[["Reply", float], None]], None]
"""Has the second called with the answer that was deferred, and the moment it came."""


class Http2Connection:
    """Reads requests, asks for their answers, and writes these, within the bounds of `limits` and their deadlines.

    Call `receive`, then `step` until it returns False; `expire` once `late_at` has come; and send what `output` returns
    after each of these. `ended` says that nothing follows that output.
    """

    def __init__(
        self,
        answerer: Answerer,
        defer: Defer,
        client: str,
        settings: Settings,
        now: float,
        learn: Callable[[bool], None] = learn_nothing,
    ) -> None:
        self._answerer = answerer
        self._learn = learn
        self._defer = defer
        self._client = client
        self._header_seconds = settings.header_timeout_seconds
        self._body_seconds = settings.body_timeout_seconds
        self._idle_seconds = settings.idle_timeout_seconds
        self._cutter = FrameCutter()
        self._allowance = Allowance()
        self._h2 = BoundedH2()
        self._output = bytearray()
        self._streams: dict[int, Stream] = {}
        self._bodies: dict[int, Stream] = {}
        self._ready: dict[int, Stream] = {}
        self._unsent: dict[int, Stream] = {}
        self._held_bytes = self._kept_bytes = self._unsent_bytes = 0
        self._rest_since = now
        self._head_since = math.inf
        self._stopping = False
        self._pumpable = False
        """Some answer may have come in reach of the client's windows since all were looked at."""
        self.ended = False

    @property
    def waiting_bytes(self) -> int:
        """Return how many bytes wait in it: what is not whole, what is not answered, and answers that are not sent."""
        waiting = len(self._cutter) + self._cutter.block_bytes + self._held_bytes + self._kept_bytes
        return waiting + self._unsent_bytes + len(self._output)

    @property
    def choked(self) -> bool:
        """Return whether nothing more is to be received before what it has to say is sent."""
        return len(self._output) >= limits.HTTP2_OUTPUT_MAX_BYTES

    @property
    def late_at(self) -> float:
        """Return when `expire` has something to do."""
        at = self._head_since + self._header_seconds
        for waiting in (self._bodies, self._unsent):
            for stream in waiting.values():
                at = min(at, stream.since + self._body_seconds)
                break
        return at if self._streams else min(at, self._rest_since + self._idle_seconds)

    def receive(self, data: bytes) -> None:
        """Take bytes from the client."""
        if not self.ended:
            self._cutter.feed(data)

    def step(self, now: float) -> bool:
        """Serve the next frames; return whether there may be more of them."""
        for _ in range(limits.HTTP2_FRAMES_AT_ONCE):
            if self.ended:
                return False
            try:
                frame = self._cutter.next()
                if frame is None:
                    if not self._cutter.midway:
                        self._head_since = math.inf
                    elif self._head_since == math.inf:
                        self._head_since = now
                    return False
                self._take(frame, now)
            except Http2Error as error:
                self._end_by_fault(error.code)
            except ProtocolError:
                self._end_by_fault(None)
        return not self.ended

    def expire(self, now: float) -> None:
        """Answer requests whose bodies are late, and end the connection where anything else is."""
        if self.ended or now < self.late_at:
            return
        for stream in list(self._bodies.values()):
            if stream.since + self._body_seconds > now:
                break
            self._give_up(stream, INVALID_REQUEST, now)
        if now >= self._head_since + self._header_seconds or any(
            stream.since + self._body_seconds <= now for stream in self._unsent.values()
        ):
            self._end(ErrorCodes.ENHANCE_YOUR_CALM)
        elif not self._streams and now >= self._rest_since + self._idle_seconds:
            self._end(ErrorCodes.NO_ERROR)

    def stop(self) -> None:
        """Take no further request, and end once those there are have been answered."""
        self._stopping = True
        if not self._streams and not self.ended:
            self._end(ErrorCodes.NO_ERROR)

    def abandon(self) -> None:
        """Forget everything: nobody is there any more, and nothing is sent. Leaves no circle of references behind."""
        self.ended = True
        self._cutter.clear()
        for waiting in (self._streams, self._bodies, self._ready, self._unsent):
            waiting.clear()
        self._held_bytes = self._kept_bytes = self._unsent_bytes = 0
        self._head_since = math.inf
        self._output.clear()
        self._h2.cut()
        self._defer = _defer_nothing

    def output(self, now: float) -> bytes:
        """Return what is to be sent now, and forget it."""
        if not self.ended:
            self._pump(now)
            self._decide_ready(now)
        data = bytes(self._output)
        self._output.clear()
        return data

    def _take(self, frame: Frame, now: float) -> None:
        if not self._cutter.in_headers:
            self._head_since = math.inf
        self._allowance.count(frame)
        for event in self._h2.receive_data(frame.data):
            self._handle(event, now)
            if self.ended:
                return
        self._pump(now)
        self._decide_ready(now)

    def _handle(self, event: Event, now: float) -> None:
        if isinstance(event, RequestReceived):
            self._begin(event.stream_id, now, whole=event.stream_ended is not None)
        elif isinstance(event, DataReceived):
            self._receive_body(event, now)
        elif isinstance(event, StreamEnded):
            self._receive_end(event.stream_id, now)
        elif isinstance(event, StreamReset):
            self._drop(event.stream_id, now)
        elif isinstance(event, WindowUpdated):
            self._pumpable = True
        elif isinstance(event, RemoteSettingsChanged):
            self._h2.bound_encoder(event)
            self._pumpable = True
        elif isinstance(event, ConnectionTerminated):
            self.abandon()
        elif isinstance(event, TrailersReceived) and self._h2.decoder.oversized:
            raise Http2Error(ErrorCodes.ENHANCE_YOUR_CALM)

    def _begin(self, stream_id: int, now: float, *, whole: bool) -> None:
        fields, oversized = self._h2.decoder.take(), self._h2.decoder.oversized
        if self._stopping:
            self._h2.reset_stream(stream_id, ErrorCodes.REFUSED_STREAM)
            return
        stream = self._streams[stream_id] = Stream(stream_id, now)
        stream.ended = whole
        stream.bare = (b":method", b"HEAD") in fields
        size = size_of(fields)
        if oversized or size > limits.HEAD_MAX_BYTES or len(fields) > limits.HEADER_FIELDS_MAX:
            self._stopping |= oversized
            self._answer(stream, self._answerer.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, self._client), now)
            return
        head = read_head(fields, self._client)
        if head is None:
            self._answer(stream, self._answerer.refuse(HTTPStatus.BAD_REQUEST, self._client), now)
            return
        outcome = self._answerer.admit(head.request)
        if not isinstance(outcome, Admitted):
            self._answer(stream, outcome, now)
            return
        stream.admitted, stream.body_bytes = outcome, head.body_bytes
        self._keep(stream, head_cost(size, len(fields)))
        self._bodies[stream_id] = stream
        if head.expects_continue and not whole:
            self._h2.send_headers(stream_id, [(b":status", b"100")])

    def _keep(self, stream: Stream, size: int) -> None:
        """Count what a request costs until it is answered."""
        stream.kept_bytes += size
        self._kept_bytes += size

    def _receive_body(self, event: DataReceived, now: float) -> None:
        if event.flow_controlled_length:
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        stream = self._bodies.get(event.stream_id)
        if stream is None:
            return
        size = len(stream.body) + len(event.data)
        if stream.body_bytes is not None and size > stream.body_bytes:
            self._give_up(stream, INVALID_REQUEST, now)
        elif size > limits.BODY_MAX_BYTES:
            self._give_up(stream, BODY_TOO_LARGE, now)
        else:
            stream.body += event.data
            self._held_bytes += len(event.data)
            if self._held_bytes > limits.HTTP2_BODIES_MAX_BYTES:
                raise Http2Error(ErrorCodes.ENHANCE_YOUR_CALM)

    def _receive_end(self, stream_id: int, now: float) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        stream.ended = True
        if self._bodies.get(stream_id) is not stream:
            return
        if stream.body_bytes not in (None, len(stream.body)):
            self._give_up(stream, INVALID_REQUEST, now)
            return
        del self._bodies[stream_id]
        self._ready[stream_id] = stream

    def _decide_ready(self, now: float) -> None:
        """Decide requests that are whole, as long as there is room for their answers."""
        while self._ready and self._unsent_bytes < limits.HTTP2_UNSENT_MAX_BYTES and not self.ended:
            stream = self._ready.pop(next(iter(self._ready)))
            admitted, stream.admitted = stream.admitted, None
            body, stream.body = bytes(stream.body), bytearray()
            self._held_bytes -= len(body)
            if admitted is not None:
                stream.proves = admitted.proves
                self._keep(stream, len(body))
                self._answer(stream, self._answerer.complete(admitted, body), now)

    def _give_up(self, stream: Stream, reply: Reply, now: float) -> None:
        """Answer a request whose body is of no use."""
        admitted, stream.admitted = stream.admitted, None
        self._forget_body(stream)
        if admitted is not None:
            self._answer(stream, self._answerer.give_up(admitted, reply), now)

    def _forget_body(self, stream: Stream) -> None:
        self._bodies.pop(stream.id, None)
        self._ready.pop(stream.id, None)
        self._held_bytes -= len(stream.body)
        stream.body = bytearray()

    def _answer(self, stream: Stream, reply: Reply, now: float) -> None:
        if isinstance(reply, Deferred):
            self._defer(reply, partial(self._resolve, stream))
        else:
            self._give(stream, reply, now)

    def _resolve(self, stream: Stream, reply: Reply, now: float) -> None:
        """Send an answer that was deferred, if anybody still waits for it."""
        if self._streams.get(stream.id) is stream:
            self._give(stream, reply, now)

    def _give(self, stream: Stream, reply: Reply, now: float) -> None:
        self._learn(stream.proves and succeeded(reply))
        headers = [(b":status", b"%d" % reply.status)]
        headers += [(name.encode(), value.encode("latin-1")) for name, value in reply.headers]
        headers.append((b"content-length", b"%d" % len(reply.body)))
        headers.append((b"date", http_date(self._answerer.now().wall_ns // SECOND_NS)))
        bare = stream.bare or not reply.body
        self._h2.send_headers(stream.id, headers, end_stream=bare)
        stream.since = now
        if bare:
            self._finish(stream, now)
            return
        stream.unsent = memoryview(reply.body)
        self._unsent[stream.id] = stream
        self._pumpable = True
        self._unsent_bytes += len(reply.body)
        self._pump(now)

    def _pump(self, now: float) -> None:
        """Make as much of the answers ready to be sent as the client's windows and our own bound let through.

        What all windows are closed to is looked at again only once one of them may have opened.
        """
        self._collect()
        if not self._pumpable:
            return
        for stream in list(self._unsent.values()):
            while stream.unsent and not self.choked:
                size = self._h2.window(stream.id)
                if size <= 0:
                    break
                part, stream.unsent = stream.unsent[:size], stream.unsent[size:]
                self._unsent_bytes -= len(part)
                self._h2.send_data(stream.id, bytes(part), end_stream=not stream.unsent)
                self._collect()
            if not stream.unsent:
                del self._unsent[stream.id]
                self._finish(stream, now)
            if self.choked or self.ended:
                return
        self._pumpable = False

    def _collect(self) -> None:
        self._output += self._h2.data_to_send()

    def _finish(self, stream: Stream, now: float) -> None:
        """End a stream whose answer is out; what the client still sends on it is of no use (RFC 9113 §8.1)."""
        if not stream.ended:
            self._h2.reset_stream(stream.id, ErrorCodes.NO_ERROR)
        self._collect()
        self._allowance.answers += 1
        self._leave(stream.id, now)

    def _drop(self, stream_id: int, now: float) -> None:
        """Forget a stream that was reset."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        self._forget_body(stream)
        if self._unsent.pop(stream_id, None) is not None:
            self._unsent_bytes -= len(stream.unsent)
        self._leave(stream_id, now)

    def _leave(self, stream_id: int, now: float) -> None:
        self._kept_bytes -= self._streams.pop(stream_id).kept_bytes
        if not self._streams:
            self._rest_since = now
            if self._stopping:
                self._end(ErrorCodes.NO_ERROR)

    def _end_by_fault(self, code: ErrorCodes | None) -> None:
        """End the connection for the client's fault; h2 has said so already where there is no code. Costs a token."""
        reply = self._answerer.refuse(HTTPStatus.BAD_REQUEST, self._client)
        if isinstance(reply, Deferred):
            self._defer(reply, _answer_nobody)
        self._end(code)

    def _end(self, code: ErrorCodes | None) -> None:
        if self.ended:
            return
        if code is not None:
            self._h2.close_connection(code)
        self._collect()
        output = bytes(self._output)
        self.abandon()
        self._output += output


def _defer_nothing(_deferred: Deferred, _resolved: Callable[[Reply, float], None]) -> None:
    """Stand in for whoever gave answers out, and may refer to the connection, once it has ended."""


def _answer_nobody(_reply: Reply, _now: float) -> None:
    """The refusal was for the rate limit alone."""
