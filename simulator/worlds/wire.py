"""Raw connections for attacks below HTTP: bytes as the attacker wants them, paced, half-closed or reset."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

import httptools
import trio

from simulator.attacks.script import Wire, WireOutcome
from simulator.limits import ANSWER_MAX_BYTES
from simulator.worlds.target import Target, bound_socket

if TYPE_CHECKING:
    from collections.abc import Callable

READ_BYTES = 65_536
RESET_AT_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER on, zero seconds: closing sends RST instead of FIN."""


class _Answers:
    """Collects whole answers from a byte stream, and what is left when it is no HTTP."""

    def __init__(self) -> None:
        self.whole: list[tuple[int, bytes]] = []
        self.rest = b""
        self._body = b""
        self._parser = httptools.HttpResponseParser(self)
        self._broken = False

    def feed(self, data: bytes) -> None:
        """Take what came."""
        self.rest += data
        if not self._broken:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserError:
                self._broken = True

    def on_message_begin(self) -> None:
        self._body = b""

    def on_body(self, part: bytes) -> None:
        self._body += part

    def on_message_complete(self) -> None:
        self.whole.append((self._parser.get_status_code(), self._body))
        self.rest = b""


async def exchange_raw(target: Target, source: str | None, step: Wire, now: Callable[[], int]) -> WireOutcome:
    """Do one raw exchange. Never raises for what a server does: a refused or reset connection is a closed one."""
    answers = _Answers()
    closed = False
    sent_ns = now()
    with trio.move_on_after(step.patience_seconds):
        try:
            sock = bound_socket(target, source)
            trio_sock = trio.socket.from_stdlib_socket(sock)
        except OSError:
            return WireOutcome((), b"", closed=True, sent_ns=sent_ns, closed_ns=now())
        try:
            await trio_sock.connect((target.address, target.port))
            stream: trio.abc.Stream = trio.SocketStream(trio_sock)
            if target.tls is not None:
                stream = trio.SSLStream(stream, target.tls, server_hostname=target.host, https_compatible=True)
            sent_ns = now()
            closed = await _talk(stream, trio_sock, step, answers)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            closed = True
        finally:
            trio_sock.close()
    return WireOutcome(tuple(answers.whole), answers.rest, closed=closed, sent_ns=sent_ns, closed_ns=now())


async def _talk(stream: trio.abc.Stream, sock: trio.socket.SocketType, step: Wire, answers: _Answers) -> bool:
    """Write and read at once, as a server may answer and close before all is written. Says whether it closed."""
    closed = False

    async def write() -> None:
        nonlocal closed
        try:
            for part, pause_seconds in step.parts:
                await stream.send_all(part)
                if pause_seconds:
                    await trio.sleep(pause_seconds)
            if step.then == "half-close" and isinstance(stream, trio.SocketStream):
                await stream.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            closed = True
        if step.then == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
            nursery.cancel_scope.cancel()

    async def read() -> None:
        nonlocal closed
        received = 0
        most = step.read_bytes_per_second if step.then == "read-slowly" else READ_BYTES
        while received < ANSWER_MAX_BYTES:
            try:
                data = await stream.receive_some(max(1, most))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
            if not data:
                closed = True
                break
            received += len(data)
            answers.feed(bytes(data))
            if step.then == "read-slowly":
                await trio.sleep(1)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        nursery.start_soon(write)
    return closed
