"""A closed loop of any requests over connections that they share: each sends its next once it is answered."""

from __future__ import annotations

import re
import selectors
import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from benchmarks.blaster import ANSWER_TIMEOUT_SECONDS
from benchmarks.measuring import BenchmarkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

WARM_SECONDS = 0.3
"""Not counted: a fresh server answers its first requests more slowly."""
RECEIVED_MAX = 262_144
OK = b"HTTP/1.1 200"
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)


class Rates(NamedTuple):
    """Answers a second, and a second of the CPU time that the server has had: a busy neighbour takes none of that."""

    by_clock: float
    by_cpu: float


def ask(
    url: str, requests: Sequence[bytes], seconds: float, connections: int, cpu_seconds: Callable[[], float]
) -> Rates:
    """Send requests in turn, each once, on so many connections; return how fast they are answered.

    Of one connection they are every n-th request, so with a request of each machine in turn, and as many connections
    as machines, each machine has its own. Raises BenchmarkError for an answer that is not 200, or does not come, and
    where there are no more requests before time is up.
    """
    parts = urlsplit(url)
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for number in range(connections):
            sock = stack.enter_context(socket.create_connection((parts.hostname or "", parts.port or 0)))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)  # noqa: FBT003 - the socket API's own flag
            loop = _Loop(sock, iter(requests[number::connections]))
            selector.register(sock, selectors.EVENT_READ, loop)
        for key in selector.get_map().values():
            key.data.send_next()
        _answer_until(selector, time.perf_counter() + WARM_SECONDS)
        start, cpu_start = time.perf_counter(), cpu_seconds()
        done = _answer_until(selector, start + seconds)
        took, cpu_took = time.perf_counter() - start, cpu_seconds() - cpu_start
        if cpu_took <= 0:
            raise BenchmarkError("the server did nothing in the time of a measurement")
        return Rates(done / took, done / cpu_took)


def _answer_until(selector: selectors.BaseSelector, end: float) -> int:
    """Send the next request for every answer, until the clock is there; return how many were answered."""
    done = 0
    while time.perf_counter() < end:
        ready = selector.select(ANSWER_TIMEOUT_SECONDS)
        if not ready:
            raise BenchmarkError("the server stopped answering")
        for key, _ in ready:
            if key.data.is_answered():
                done += 1
                key.data.send_next()
    return done


class _Loop:
    """One connection: what it sends, and what came of its answer so far."""

    __slots__ = ("_left", "_part", "_size", "_sock")

    def __init__(self, sock: socket.socket, left: Iterator[bytes]) -> None:
        self._sock = sock
        self._left = left
        self._part = b""
        self._size = 0
        """Of a whole answer, the last time: of most requests all are as long, and then nothing is read of it."""

    def send_next(self) -> None:
        """Send the next request."""
        request = next(self._left, None)
        if request is None:
            raise BenchmarkError("there were too few requests for a server this fast")
        self._sock.send(request)

    def is_answered(self) -> bool:
        """Read what came, and return whether the answer is whole now."""
        data = self._part + self._sock.recv(RECEIVED_MAX)
        if len(data) == self._size and data.startswith(OK):
            self._part = b""
            return True
        self._part = data
        head, end, body = data.partition(b"\r\n\r\n")
        if not data or (end and not head.startswith(OK)):
            raise BenchmarkError(f"not answered with 200: {data[:300]!r}")
        length = _LENGTH.search(head)
        if not end or length is None or len(body) < int(length[1]):
            return False
        self._size, self._part = len(data), b""
        return True
