"""One HTTP/2 connection, asked one thing at a time, with h2 as it comes with Hypercorn."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

import trio
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded

from tests.http.serving import PATIENCE_SECONDS, Answer
from tests.support.certificates import AUTHORITY

if TYPE_CHECKING:
    from reference_server.wire.values import Headers, Request


class Http2Client:
    """Speaks HTTP/2 over a TLS stream; what is hostile may be sent as it is."""

    def __init__(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        self.stream = stream
        self.connection = H2Connection(
            H2Configuration(
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            ),
        )
        self.connection.initiate_connection()

    async def begin(self, fields: list[tuple[bytes, bytes]], *, ended: bool) -> int:
        """Open a stream with its headers, and give its number."""
        stream_id = self.connection.get_next_available_stream_id()
        self.connection.send_headers(stream_id, fields, end_stream=ended)
        await self.flush()
        return stream_id

    async def send_body(self, stream_id: int, data: bytes, *, ended: bool) -> None:
        """Send a part of a body."""
        self.connection.send_data(stream_id, data, end_stream=ended)
        await self.flush()

    async def flush(self) -> None:
        """Send what h2 has to say; the server may be gone."""
        with suppress(trio.BrokenResourceError):
            await self.stream.send_all(self.connection.data_to_send())

    async def ask(self, request: Request) -> Answer:
        """Send a request, and read its answer."""
        pseudo = {"method": request.method, "scheme": "https", "path": request.path, "authority": AUTHORITY}
        fields = [(f":{name}".encode(), value.encode()) for name, value in pseudo.items()]
        fields += [(name.encode(), value.encode()) for name, value in request.headers]
        stream_id = await self.begin(fields, ended=not request.body)
        if request.body:
            await self.send_body(stream_id, request.body, ended=True)
        return await self.answer(stream_id)

    async def answer(self, stream_id: int) -> Answer:
        """Read one stream's answer."""
        headers: Headers = ()
        body = b""
        with trio.fail_after(PATIENCE_SECONDS):
            while True:
                data = await self.stream.receive_some(65_536)
                assert data, "the connection ended before the answer"
                for event in self.connection.receive_data(data):
                    if isinstance(event, ResponseReceived) and event.stream_id == stream_id:
                        headers = tuple((bytes(name).decode(), bytes(value).decode()) for name, value in event.headers)
                    elif isinstance(event, DataReceived) and event.stream_id == stream_id:
                        body += event.data
                    elif isinstance(event, StreamEnded) and event.stream_id == stream_id:
                        await self.flush()
                        return self._checked(headers, body)
                await self.flush()

    @staticmethod
    def _checked(headers: Headers, body: bytes) -> Answer:
        named = dict(headers)
        assert len(named) == len(headers), f"a header is there twice: {headers}"
        assert re.fullmatch("[0-9a-f]{16}", named.pop("x-request-id"))
        assert named.pop("date")
        return Answer(int(named.pop(":status")), tuple(sorted(named.items())), body)

    async def closed(self) -> None:
        """Wait until the server closes."""
        with trio.fail_after(PATIENCE_SECONDS), suppress(trio.BrokenResourceError):
            while await self.stream.receive_some(65_536):
                pass
