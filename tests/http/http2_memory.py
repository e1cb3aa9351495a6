"""An HTTP/2 client and the server's side of its connection, without a socket, at moments that the test sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamReset
from hpack import Encoder

from reference_server.adapters.memory.clocks import SetClock
from reference_server.http.http2_connection import Http2Connection
from reference_server.limits import HTTP2_FRAME_MAX_BYTES
from reference_server.pipeline.answering import Answerer
from reference_server.pipeline.resolving import Resolver
from tests.http.serving import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from h2.settings import SettingCodes

    from reference_server.operations.api import Api
    from reference_server.operations.outcomes import Deferred
    from reference_server.wire.values import Headers, Reply, Request

CLIENT = "127.0.0.1"
AUTHORITY = b"server"
GET = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", AUTHORITY), (b":path", b"/health")]

Fields = list[tuple[bytes, bytes]]


def fields_of(request: Request) -> Fields:
    """Write a request's head, as a client that does nothing odd."""
    target = request.path + ("?" + request.query if request.query else "")
    pseudo = {"method": request.method, "scheme": "https", "authority": "server", "path": target}
    fields = [(f":{name}".encode(), value.encode("latin-1")) for name, value in pseudo.items()]
    return [*fields, *((name.encode(), value.encode("latin-1")) for name, value in request.headers)]


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Write a frame by hand."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream_id.to_bytes(4, "big") + payload


class Response(NamedTuple):
    """What a stream has got so far."""

    headers: Headers
    body: bytes

    @property
    def answer(self) -> Answer:
        """Return it as the other clients of these tests see answers."""
        named = dict(self.headers)
        assert len(named) == len(self.headers)
        assert len(named.pop("x-request-id")) == 16
        assert named.pop("date")
        return Answer(int(named.pop(":status")), tuple(sorted(named.items())), self.body)


class InMemory:
    """One connection. `now` is when the next bytes come; `raw` sends what the client's own h2 would not."""

    def __init__(self, api: Api, now: float = 0.0, settings: dict[SettingCodes | int, int] | None = None) -> None:
        clock = SetClock()
        self.now = now
        self.deferred: list[Callable[[Reply, float], None]] = []
        answerer = Answerer(api, clock, Resolver(api, clock))
        self.server = Http2Connection(answerer, self._defer, CLIENT, api.settings, now)
        self.client = H2Connection(
            H2Configuration(header_encoding=None, validate_outbound_headers=False, normalize_outbound_headers=False)
        )
        self.client.initiate_connection()
        if settings:
            self.client.update_settings(settings)
        self.responses: dict[int, Response] = {}
        self.reset: dict[int, int] = {}
        self.gone: int | None = None
        """The code of the server's GOAWAY."""
        self.reads = self.widens = True
        self._encoder = Encoder()
        self.flush()

    def _defer(self, _deferred: Deferred, resolved: Callable[[Reply, float], None]) -> None:
        self.deferred.append(resolved)

    def begin(self, fields: Iterable[tuple[bytes, bytes]], *, ended: bool = True) -> int:
        """Open a stream with its head, and return its number."""
        stream_id = self.client.get_next_available_stream_id()
        self.headers(stream_id, fields, ended=ended)
        return stream_id

    def headers(self, stream_id: int, fields: Iterable[tuple[bytes, bytes]], *, ended: bool) -> None:
        """Send fields, also such as no client's h2 would send."""
        for part in self.written(stream_id, fields, ended=ended):
            self.raw(part)

    def written(self, stream_id: int, fields: Iterable[tuple[bytes, bytes]], *, ended: bool) -> list[bytes]:
        """Write fields as frames, and let the client's h2 believe that it sent them."""
        self.flush()
        self.client.send_headers(
            stream_id, GET if stream_id not in self.client.streams else [(b"a", b"b")], end_stream=ended
        )
        self.client.clear_outbound_data_buffer()
        block = self._encoder.encode(list(fields))
        pieces = [block[at : at + HTTP2_FRAME_MAX_BYTES] for at in range(0, len(block), HTTP2_FRAME_MAX_BYTES)] or [b""]
        kinds = [(1, int(ended)), *[(9, 0)] * (len(pieces) - 1)]
        frames = [frame(kind, flags, stream_id, part) for (kind, flags), part in zip(kinds, pieces, strict=True)]
        last = frames[-1]
        return [*frames[:-1], last[:4] + bytes([last[4] | 4]) + last[5:]]

    def data(self, stream_id: int, data: bytes, *, ended: bool = False) -> None:
        """Send a part of a body, as long as its stream is open."""
        if stream_id in self.responses:
            return
        for at in range(0, len(data) or 1, HTTP2_FRAME_MAX_BYTES):
            part = data[at : at + HTTP2_FRAME_MAX_BYTES]
            self.client.send_data(stream_id, part, end_stream=ended and at + len(part) == len(data))
        self.flush()

    def flush(self) -> None:
        """Send what the client has to say, and read what comes of it."""
        self.raw(self.client.data_to_send())

    def raw(self, data: bytes) -> None:
        """Send bytes, and read what comes of them."""
        self.server.receive(data)
        while self.server.step(self.now):
            pass
        self.read()

    def wait(self, seconds: float) -> None:
        """Have time pass."""
        self.now += seconds
        if self.now >= self.server.late_at:
            self.server.expire(self.now)
            self.read()

    def read(self) -> None:
        """Read what the server has to say, unless the client does not read."""
        while self.reads and (data := self.server.output(self.now)):
            for event in self.client.receive_data(data):
                if isinstance(event, ResponseReceived):
                    headers = tuple((bytes(name).decode(), bytes(value).decode()) for name, value in event.headers)
                    self.responses[event.stream_id] = Response(headers, b"")
                elif isinstance(event, DataReceived):
                    headers, body = self.responses[event.stream_id]
                    self.responses[event.stream_id] = Response(headers, body + event.data)
                    if self.widens:
                        self.client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, StreamReset):
                    self.reset[event.stream_id] = int(event.error_code)
                elif isinstance(event, ConnectionTerminated):
                    self.gone = int(event.error_code or 0)
            if self.gone is None and (more := self.client.data_to_send()):
                self.server.receive(more)
                while self.server.step(self.now):
                    pass

    def ask(self, request: Request) -> Answer:
        """Send a request, and return its answer."""
        stream_id = self.begin(fields_of(request), ended=not request.body)
        if request.body:
            self.data(stream_id, request.body, ended=True)
        return self.responses[stream_id].answer

    def status(self, stream_id: int) -> int:
        """Return the status of an answer in the envelope, or of one without a body."""
        found = self.responses[stream_id].answer
        assert found.status < 400 or found.body.startswith(b'{"success":false,"error":"')
        return found.status
