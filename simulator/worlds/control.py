"""Control-plane calls: short-lived connections for what owners and machines do besides heartbeats."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Self

import msgspec
import trio

from simulator.fleet.requests import ApiCall
from simulator.history import Operation
from simulator.limits import ANSWER_TIMEOUT_SECONDS
from simulator.worlds.answers import AnswerReader, GarbageError, HttpAnswer
from simulator.worlds.connecting import connected_socket
from simulator.worlds.target import Target, port_of, source_number

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType


class LostError(Exception):
    """No whole answer came; the message says why, and what may mend it."""


class OddDataError(LostError):
    """A whole answer came, of success perhaps, whose data is not what the contract says."""


BROKEN = (OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, GarbageError)
"""What an exchange may end in by what a server, or the way to it, does."""


def cause_of(error: BaseException, target: Target) -> str:
    """Say in words why an exchange ended so."""
    origin = error.__cause__ if isinstance(error, trio.BrokenResourceError) and error.__cause__ else error
    match origin:
        case trio.TooSlowError():
            return f"no whole answer within {ANSWER_TIMEOUT_SECONDS:g} s"
        case GarbageError():
            hint = f": write https://{target.authority}{target.base}" if str(origin) == "it speaks TLS" else ""
            return f"no HTTP answer: {origin}{hint}"
        case ssl.SSLCertVerificationError():
            why = origin.verify_message
            return f"its certificate is not trusted ({why}): name its authority's file with --cacert"
        case ssl.SSLError():
            return f"no TLS ({origin.reason or 'the connection was closed'}): is it http://{target.authority}{target.base}?"
        case _:
            return f"{type(origin).__name__}: {origin}"


class ControlConnection:
    """One HTTP/1.1 connection from one address; `async with` opens and closes it. Raises LostError throughout.

    Of several instances it stays with one, which its address decides, while that can be reached.
    """

    def __init__(self, target: Target, source: str | None) -> None:
        self._target = target
        self._source = source
        self._stream: trio.abc.Stream | None = None
        self._turn = source_number(source)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection, if it is open; the next request opens another."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await trio.aclose_forcefully(stream)

    async def _connect(self) -> trio.abc.Stream:
        target = self._target
        try:
            sock = await connected_socket(target, self._source, port_of(target, self._turn))
        except BaseException:
            self._turn += 1  # another instance may be there
            raise
        stream: trio.abc.Stream = trio.SocketStream(sock)
        if target.tls is not None:
            stream = trio.SSLStream(stream, target.tls, server_hostname=target.host, https_compatible=True)
        return stream

    async def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: Any = None,
        *,
        rooted: bool = False,
    ) -> HttpAnswer:
        """Send one request and read its answer; `body` is sent as JSON."""
        return await self.call(ApiCall(Operation.OTHER, method, path, headers, body, rooted))

    async def call(self, call: ApiCall) -> HttpAnswer:
        """Send one call of the API and read its answer."""
        return await self.exchange(call.message(self._target.authority))

    async def connect(self) -> None:
        """Open the connection now, so that the next request finds it open. Raises LostError."""
        if self._stream is None:
            try:
                with trio.fail_after(ANSWER_TIMEOUT_SECONDS):
                    self._stream = await self._connect()
            except BROKEN as error:
                raise LostError(cause_of(error, self._target)) from error

    async def exchange(self, message: bytes) -> HttpAnswer:
        """Send one whole HTTP/1.1 message and read its answer."""
        rested, front = self._stream is not None, self._target.front
        try:
            with trio.fail_after(ANSWER_TIMEOUT_SECONDS):
                if self._stream is None:
                    self._stream = await self._connect()
                await self._stream.send_all(message if front is None else front.written(message))
                answer = await self._read(self._stream, to_head=message.startswith(b"HEAD "))
        except BROKEN as error:
            await self.close()
            if rested and message.startswith((b"GET ", b"HEAD ")) and not isinstance(error, trio.TooSlowError):
                # Servers close what rests for long, perhaps as we send; to read once more changes nothing.
                return await self.exchange(message)
            raise LostError(cause_of(error, self._target)) from error
        if not answer.keep:
            await self.close()
        return answer

    @staticmethod
    async def _read(stream: trio.abc.Stream, *, to_head: bool) -> HttpAnswer:
        reader = AnswerReader(to_head=to_head)
        while True:
            part = await stream.receive_some(65_536)
            answer = reader.feed(bytes(part), ended=not part)
            if answer is not None:
                return answer
            if not part:
                raise GarbageError("closed before the answer was whole")


def data_of(answer: HttpAnswer) -> dict[str, Any]:
    """Give an enveloped answer's data. Raises OddDataError when it has none."""
    try:
        data = msgspec.json.decode(answer.body)["data"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise OddDataError(f"HTTP {answer.status} without data") from error
    if not isinstance(data, dict):
        raise OddDataError(f"HTTP {answer.status} with odd data")
    return data
