"""Raw connections for attacks below HTTP: bytes as the attacker wants them, paced, half-closed, reset, read slowly."""

from __future__ import annotations

import re
import socket
import struct
from typing import TYPE_CHECKING

import trio

from simulator.attacks.script import Expect, Wire, WireAnswer, WireOutcome
from simulator.history import Answer
from simulator.limits import ANSWER_MAX_BYTES, ANSWER_TIMEOUT_SECONDS
from simulator.worlds.target import HTTP2, Target, bound_socket

if TYPE_CHECKING:
    from collections.abc import Callable

READ_BYTES = 65_536
SLOW_BUFFER_BYTES = 4_096
"""What the kernel may hold for a slow reader, in place of megabytes that would hide how slowly it reads."""
RESET_AT_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER on, zero seconds: closing sends RST instead of FIN."""
SWITCHING_PROTOCOLS, INTERIM_MAX = 101, 199
BODILESS = frozenset({204, 304})
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

    @property
    def rest(self) -> bytes:
        """Give what is not part of a whole answer."""
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
        head_end = buffer.find(b"\r\n\r\n")
        head = bytes(buffer[: max(0, head_end)])
        line = _STATUS_LINE.fullmatch(head.partition(b"\r\n")[0])
        if head_end < 0 or line is None:
            self._broken = head_end >= 0
            return False
        status = int(line[1])
        if status <= INTERIM_MAX and status != SWITCHING_PROTOCOLS:
            del buffer[: head_end + 4]
            return True
        body = self._body(head, head_end + 4, bodiless=status in BODILESS, ended=ended)
        if body is None:
            return False
        content, end = body
        del buffer[:end]
        self.whole.append(WireAnswer(status, head, content, self._now()))
        return True

    def _body(self, head: bytes, start: int, *, bodiless: bool, ended: bool) -> tuple[bytes, int] | None:
        """Give an answer's body and where it ends, None while it is not whole (RFC 9112 §6.3)."""
        buffer = self._buffer
        if _CHUNKED.search(head):
            return self._chunks(start)
        length = _LENGTH.search(head)
        if length is None:
            end = start if bodiless else len(buffer)
            return (bytes(buffer[start:end]), end) if bodiless or ended else None
        end = start + int(length[1])
        return (bytes(buffer[start:end]), end) if end <= len(buffer) else None

    def _chunks(self, at: int) -> tuple[bytes, int] | None:
        buffer, body = self._buffer, b""
        while (line_end := buffer.find(b"\r\n", at)) >= 0:
            size = _CHUNK_SIZE.fullmatch(buffer[at:line_end])
            if size is None:
                self._broken = True
                return None
            at = line_end + 2
            length = int(size[1], 16)
            if length == 0:
                end = buffer.find(b"\r\n\r\n", at - 2)
                return None if end < 0 else (body, end + 4)
            body += buffer[at : at + length]
            at += length + 2
        return None


class _Exchange:
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

    async def do(self, sock: trio.socket.SocketType) -> None:
        """Connect, write and read. Raises OSError or a resource error of Trio's when the connection breaks."""
        target, step = self._target, self._step
        await sock.connect((target.address, target.port))
        stream: trio.abc.Stream = trio.SocketStream(sock)
        context = target.http2 if step.http2 else target.tls
        if context is not None:
            secure = trio.SSLStream(stream, context, server_hostname=target.host, https_compatible=True)
            await secure.do_handshake()
            if step.http2 and secure.selected_alpn_protocol() != HTTP2:
                return  # its bytes would mean something else
            stream = secure
        self.connected = True
        self.sent_ns = self._now()
        # Both at once: a server may answer and close before all is written.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read, stream, nursery.cancel_scope)
            await self._write(stream)
            if step.then == "reset":
                while self._received < step.reset_after_bytes:
                    await self._arrived.wait()
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
                nursery.cancel_scope.cancel()

    async def _write(self, stream: trio.abc.Stream) -> None:
        step = self._step
        try:
            for part, pause_seconds in step.parts:
                self.parts_ns.append(self._now())
                await stream.send_all(part)
                if pause_seconds:
                    await trio.sleep(pause_seconds)
            if step.then == "half-close" and isinstance(stream, trio.SocketStream):
                await stream.send_eof()
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
                await trio.sleep(min(1, slow_until - trio.current_time()))
        scope.cancel()


async def exchange_raw(target: Target, source: str | None, step: Wire, now: Callable[[], int]) -> WireOutcome:
    """Do one raw exchange. Never raises for what a server does: refused and reset connections are told as outcomes."""
    await trio.sleep(step.after_seconds)
    exchange = _Exchange(target, step, now)
    with trio.move_on_after(step.patience_seconds):
        try:
            sock = bound_socket(target, source)
        except OSError:
            return WireOutcome(sent_ns=exchange.sent_ns, closed_ns=now())
        if step.then == "read-slowly":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BUFFER_BYTES)
        trio_sock = trio.socket.from_stdlib_socket(sock)
        try:
            await exchange.do(trio_sock)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            exchange.closed = exchange.connected
        finally:
            trio_sock.close()
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
