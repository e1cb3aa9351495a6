"""Control-plane calls: short-lived connections for what owners and machines do besides heartbeats."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, Any, Self

import trio

from simulator.client.answers import AnswerReader, GarbageError, HttpAnswer
from simulator.client.connecting import network_of
from simulator.client.target import Target, port_of, source_number
from simulator.contract.answers import Operation
from simulator.fleet.requests import ApiCall
from simulator.history.losses import Loss, loss_of_close

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from simulator.client.witness import Witness


class LostError(Exception):
    """No whole answer came; the message says why, and what may help. `loss` is the cause as the history keeps it."""

    def __init__(self, why: str, loss: Loss = Loss.UNKNOWN) -> None:
        super().__init__(why)
        self.loss = loss


BROKEN = (OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, GarbageError)
"""What an exchange may end in by what a server, or the way to it, does."""


def cause_of(error: BaseException, target: Target, answer_seconds: float | None = None) -> str:
    """Return in words why an exchange ended so."""
    origin = error
    while isinstance(origin, trio.BrokenResourceError | CutError) and origin.__cause__:
        origin = origin.__cause__
    match origin:
        case trio.TooSlowError():
            return f"no whole answer within {answer_seconds or target.patience.answer_seconds:g} s"
        case GarbageError():
            hint = f": write https://{target.authority}{target.base}" if str(origin) == "it speaks TLS" else ""
            return f"no HTTP answer: {origin}{hint}"
        case ssl.SSLCertVerificationError():
            why = origin.verify_message
            return f"its certificate is not trusted ({why}): name its authority's file with --cacert"
        case ssl.SSLError():
            return f"no TLS ({origin.reason or 'the connection was closed'}): is it http://{target.authority}{target.base}?"
        case OSError() if origin.errno is not None and origin.errno > 0:
            return os.strerror(origin.errno)
        case _:
            return f"{type(origin).__name__}: {origin}"


class CutError(GarbageError):
    """The connection was closed before the answer was whole; `nothing_came` before any of it."""

    def __init__(self, *, nothing_came: bool) -> None:
        super().__init__("closed before the answer was whole")
        self.nothing_came = nothing_came


def loss_of(error: BaseException, *, asked: bool, rested_ns: int, waited_ns: int) -> Loss:
    """Return why an exchange has no answer: `asked` says whether all of the request was written.

    `rested_ns` is how long its connection had rested before, negative for a new one.
    """
    if not asked:
        return Loss.UNSENT
    match error:
        case trio.TooSlowError():
            return Loss.TIMED_OUT
        case CutError():
            return loss_of_close(rested_ns, 0, waited_ns, nothing_came=error.nothing_came)
        case GarbageError():
            return Loss.GARBAGE
        case _:
            return loss_of_close(rested_ns, 0, waited_ns, nothing_came=True)


class ControlConnection:
    """One HTTP/1.1 connection from one address; `async with` opens and closes it. Raises LostError throughout.

    Of several instances it stays with one, which its address decides, while that can be reached. A `witness` looks at
    every answer, and at what comes where none is due. A whole answer has `answer_seconds`, or what the
    target's patience says.
    """

    def __init__(
        self,
        target: Target,
        source: str | None,
        witness: Witness | None = None,
        answer_seconds: float | None = None,
    ) -> None:
        self._target = target
        self._source = source
        self._witness = witness
        self._answer_seconds = answer_seconds or target.patience.answer_seconds
        self._network = network_of(target)
        self._plain: trio.abc.HalfCloseableStream | None = None
        self._stream: trio.abc.Stream | None = None
        self._free_since = 0.0
        self._last = b"", 0
        """The last request that was answered on this connection, and when it was sent."""
        self._turn = source_number(source)

    @property
    def sent_ns(self) -> int:
        """Return when the request that was answered last was sent: again, where its first connection was lost.

        By the witness's clock; 0 without one.
        """
        return self._last[1]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, if it is open, without a word; the next request opens another."""
        self._see_rest()
        if self._plain is not None:
            self._network.close(self._plain)
        self._stream = self._plain = None

    def _see_rest(self) -> bool:
        """Look at what came on a connection at rest; returns whether it may be used again.

        What nobody asked for would be taken for the next answer. Under TLS it cannot be told from what TLS itself says.
        """
        if self._plain is None or self._stream is not self._plain or not self._last[0]:
            return True
        data = self._network.waiting(self._plain)
        if data and self._witness is not None:
            self._witness.unasked(self._last[0], data, self._last[1])
        return data is None

    async def _connect(self) -> trio.abc.Stream:
        target = self._target
        try:
            self._plain = await self._network.connect(target, self._source, port_of(target, self._turn))
        except BaseException:
            self._turn += 1  # another instance may be there
            raise
        if target.tls is None:
            return self._plain
        return trio.SSLStream(self._plain, target.tls, server_hostname=target.host, https_compatible=True)

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
                with trio.fail_after(self._answer_seconds):
                    self._stream = await self._connect()
            except BROKEN as error:
                raise LostError(cause_of(error, self._target, self._answer_seconds), Loss.UNSENT) from error

    async def exchange(self, message: bytes) -> HttpAnswer:
        """Send one whole HTTP/1.1 message and read its answer."""
        if not self._see_rest():
            self._last = b"", 0
            self.close()
        rested, front = self._stream is not None, self._target.front
        started, asked = trio.current_time(), False
        sent_ns = 0 if self._witness is None else self._witness.now()
        self._last = b"", 0
        try:
            with trio.fail_after(self._answer_seconds):
                if self._stream is None:
                    self._stream = await self._connect()
                await self._stream.send_all(message if front is None else front.written(message))
                asked = True
                answer = await self._read(self._stream, to_head=message.startswith(b"HEAD "))
        except BROKEN as error:
            loss = loss_of(
                error,
                asked=asked,
                rested_ns=int((started - self._free_since) * 1e9) if rested and self._free_since else -1,
                waited_ns=int((trio.current_time() - started) * 1e9),
            )
            self.close()
            unread = not isinstance(error, trio.TooSlowError) and getattr(error, "nothing_came", True)
            if rested and message.startswith((b"GET ", b"HEAD ")) and unread:
                # Servers close what rests for long, perhaps as we send; to read once more changes nothing. Of what was
                # answered in part it would: a refusal is counted each time.
                return await self.exchange(message)
            raise LostError(cause_of(error, self._target, self._answer_seconds), loss) from error
        self._free_since = trio.current_time()
        self._last = message, sent_ns
        if self._target.secrets is not None:
            self._target.secrets.see(message, answer)
        if self._witness is not None:
            self._witness.saw(message, answer, sent_ns)
        elif answer.surplus:
            self.close()
            raise LostError("no HTTP answer: more than one answer", Loss.GARBAGE)
        if not answer.keep:
            self.close()
        return answer

    @staticmethod
    async def _read(stream: trio.abc.Stream, *, to_head: bool) -> HttpAnswer:
        reader, began = AnswerReader(to_head=to_head), False
        while True:
            try:
                part = await stream.receive_some(65_536)
            except trio.BrokenResourceError as error:
                if began:
                    raise CutError(nothing_came=False) from error
                raise
            answer = reader.feed(bytes(part), ended=not part)
            if answer is not None:
                return answer
            if not part:
                raise CutError(nothing_came=not began)
            began = True
