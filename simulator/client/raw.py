"""Raw connections for attacks below HTTP: bytes as the attacker wants them, paced, half-closed, reset, read slowly."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING

import trio

from simulator.attacks.script import Expect, Wire, WireAnswer, WireOutcome
from simulator.client.connecting import network_of
from simulator.client.target import HTTP2, Target
from simulator.contract.answers import Answer
from simulator.limits import ANSWER_MAX_BYTES, ANSWER_TIMEOUT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

READ_BYTES = 65_536
SLOW_BUFFER_BYTES = 4_096
"""What the kernel may hold for a slow reader, in place of megabytes that would hide how slowly it reads."""
SWITCHING_PROTOCOLS, INTERIM_MAX = HTTPStatus.SWITCHING_PROTOCOLS, 199
BODILESS = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: [^\r\n]*)?")
_LENGTH = re.compile(rb"(?im)^content-length:[ \t]*([0-9]{1,9})[ \t]*\r?$")
_CHUNKED = re.compile(rb"(?im)^transfer-encoding:[ \t]*chunked[ \t]*\r?$")
_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]*)?")


class Answers:
    """Cuts whole answers out of a byte stream, however many; what is no HTTP answer is left over for good.

    Unlike a client's parser it reads on behind an answer that closes the connection, where none may follow.
    """

    def __init__(self, now: Callable[[], int]) -> None:
        self.whole: list[WireAnswer] = []
        self._buffer = bytearray()
        self._now = now
        self._broken = False
        self._searched = 0  # of the buffer: there is no end of a head, or of a line, in it
        self._head: _Head | None = None

    @property
    def rest(self) -> bytes:
        """Return what is not part of a whole answer."""
        return bytes(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take what came."""
        self._buffer += data
        while not self._broken and self._cut(ended=False):
            pass

    def end(self) -> None:
        """Take the close of the connection, which may be the end of an answer that says no length."""
        if not self._broken:
            self._cut(ended=True)

    def _cut(self, *, ended: bool) -> bool:
        """Take one answer, interim ones left out. False when it is not whole."""
        buffer = self._buffer
        head = self._head or self._take_head()
        if head is None:
            return False
        if head.interim:
            del buffer[: head.end]
        else:
            body = self._body(head, ended=ended)
            if body is None:
                return False
            content, end = body
            del buffer[:end]
            self.whole.append(WireAnswer(head.status, head.text, content, self._now()))
        self._head, self._searched = None, 0
        return True

    def _take_head(self) -> _Head | None:
        """Read the head of the next answer, once it is whole."""
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n", self._searched)
        if end < 0:
            self._searched = max(0, len(buffer) - 3)
            return None
        text = bytes(buffer[:end])
        line = _STATUS_LINE.fullmatch(text.partition(b"\r\n")[0])
        if line is None:
            self._broken = True
            return None
        self._head = _Head(int(line[1]), text)
        self._searched = end + 4
        return self._head

    def _body(self, head: _Head, *, ended: bool) -> tuple[bytes, int] | None:
        """Return an answer's body and where it ends, None while it is not whole (RFC 9112 §6.3)."""
        buffer, start = self._buffer, head.end
        if head.chunked:
            return self._chunks(head)
        if head.length is None:
            end = start if head.status in BODILESS else len(buffer)
            return (bytes(buffer[start:end]), end) if head.status in BODILESS or ended else None
        end = start + head.length
        return (bytes(buffer[start:end]), end) if end <= len(buffer) else None

    def _chunks(self, head: _Head) -> tuple[bytes, int] | None:
        """Go on from the last whole chunk."""
        buffer = self._buffer
        while True:
            if head.last_chunk:
                end = buffer.find(b"\r\n\r\n", max(head.at - 2, self._searched - 3))
                self._searched = len(buffer)
                return None if end < 0 else (b"".join(head.chunks), end + 4)
            if head.chunk_bytes is None:
                line_end = buffer.find(b"\r\n", max(head.at, self._searched - 1))
                if line_end < 0:
                    self._searched = len(buffer)
                    return None
                size = _CHUNK_SIZE.fullmatch(buffer[head.at : line_end])
                if size is None:
                    self._broken = True
                    return None
                head.at = self._searched = line_end + 2
                head.chunk_bytes = int(size[1], 16)
                head.last_chunk = head.chunk_bytes == 0
                continue
            if len(buffer) < head.at + head.chunk_bytes + 2:
                return None
            head.chunks.append(bytes(buffer[head.at : head.at + head.chunk_bytes]))
            head.at += head.chunk_bytes + 2
            head.chunk_bytes = None
            self._searched = head.at


class _Head:
    """The head of an answer that is being read, and how far its chunks were read."""

    def __init__(self, status: int, text: bytes) -> None:
        self.status = status
        self.text = text
        self.end = self.at = len(text) + 4
        self.interim = status <= INTERIM_MAX and status != SWITCHING_PROTOCOLS
        self.chunked = _CHUNKED.search(text) is not None
        length = _LENGTH.search(text)
        self.length = None if length is None else int(length[1])
        self.chunks: list[bytes] = []
        self.chunk_bytes: int | None = None
        self.last_chunk = False


class _RawExchange:
    """One raw exchange on its way."""

    def __init__(self, target: Target, step: Wire, now: Callable[[], int]) -> None:
        self._target = target
        self._step = step
        self._now = now
        self._received = 0
        self._arrived = trio.Event()
        self.answers = Answers(now)
        self.connected = False
        self.closed = False
        self.sent_ns = now()
        self.parts_ns: list[int] = []

    async def do(self, plain: trio.abc.HalfCloseableStream) -> None:
        """Write and read. Raises OSError or a resource error of Trio's when the connection breaks."""
        target, step = self._target, self._step
        stream: trio.abc.Stream = plain
        context = target.http2 if step.http2 else target.tls
        if context is not None:
            secure = trio.SSLStream(plain, context, server_hostname=target.host, https_compatible=True)
            await secure.do_handshake()
            if step.http2 and secure.selected_alpn_protocol() != HTTP2:
                return  # its bytes would mean something else
            stream = secure
        self.connected = True
        self.sent_ns = self._now()
        # Both at once: a server may answer and close before all is written.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read, stream, nursery.cancel_scope)
            await self._write(stream, plain)
            if step.then == "reset":
                while self._received < step.reset_after_bytes:
                    await self._arrived.wait()
                network_of(target).break_off(plain)
                nursery.cancel_scope.cancel()

    def _parts(self) -> list[bytes]:
        """Return what is written, with what the way there wants; HTTP/2 has no text to write it in."""
        parts, front = tuple(part for part, _ in self._step.parts), self._target.front
        return list(parts) if front is None or self._step.http2 else front.written_parts(parts)

    async def _write(self, stream: trio.abc.Stream, plain: trio.abc.HalfCloseableStream) -> None:
        step = self._step
        try:
            for part, (_, pause_seconds) in zip(self._parts(), step.parts, strict=True):
                self.parts_ns.append(self._now())
                await stream.send_all(part)
                if pause_seconds:
                    await trio.sleep(pause_seconds)
            if step.then == "half-close":
                await plain.send_eof()  # TLS is not told: it is closed incompletely (RFC 9112 §9.8)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.closed = True  # what it has said before can still be read

    async def _read(self, stream: trio.abc.Stream, scope: trio.CancelScope) -> None:
        step = self._step
        slow_until = trio.current_time() + (step.slow_seconds if step.then == "read-slowly" else 0)
        while self._received < ANSWER_MAX_BYTES:
            slow = trio.current_time() < slow_until
            try:
                data = await stream.receive_some(max(1, step.read_bytes_per_second) if slow else READ_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
            if not data:
                self.closed = True
                self.answers.end()
                break
            self._received += len(data)
            self.answers.feed(bytes(data))
            self._arrived.set()
            self._arrived = trio.Event()
            if slow:
                await trio.sleep(max(0, min(1, slow_until - trio.current_time())))
        scope.cancel()


async def exchange_raw(target: Target, source: str | None, step: Wire, now: Callable[[], int]) -> WireOutcome:
    """Do one raw exchange. Never raises for what a server does: refused and reset connections are told as outcomes."""
    await trio.sleep(step.after_seconds)
    exchange = _RawExchange(target, step, now)
    with trio.move_on_after(step.patience_seconds):
        try:
            buffer_bytes = SLOW_BUFFER_BYTES if step.then == "read-slowly" else 0
            plain = await network_of(target).connect(target, source, target.port, buffer_bytes)
        except OSError:
            return WireOutcome(sent_ns=exchange.sent_ns, closed_ns=now())
        try:
            await exchange.do(plain)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            exchange.closed = exchange.connected
        finally:
            await trio.aclose_forcefully(plain)
    if target.secrets is not None:
        # Of several requests it is not known which one was believed.
        asked = b"".join(part for part, _ in step.parts) if len(exchange.answers.whole) == 1 else b""
        for answer in exchange.answers.whole:
            target.secrets.see(asked, answer)
    return WireOutcome(
        tuple(exchange.answers.whole),
        exchange.answers.rest,
        connected=exchange.connected,
        closed=exchange.closed,
        sent_ns=exchange.sent_ns,
        closed_ns=now(),
        parts_ns=tuple(exchange.parts_ns),
    )


async def speaks_http2(target: Target) -> bool:
    """Return whether a target agrees on HTTP/2 when nothing else is offered."""
    expect = Expect(Answer.REFUSED, (0,))
    offer = Wire(((b"", 0.0),), expect, "reset", ANSWER_TIMEOUT_SECONDS, http2=True)
    return target.http2 is not None and (await exchange_raw(target, None, offer, lambda: 0)).connected
