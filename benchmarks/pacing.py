"""A client that sends heartbeats on a schedule, whatever the server does, and times each from its planned start."""

from __future__ import annotations

import math
import selectors
import time
from collections import deque
from contextlib import ExitStack
from typing import TYPE_CHECKING

from benchmarks.blaster import ACCEPTED, ANSWER_TIMEOUT_SECONDS, connect, host_of, signed_heartbeats
from benchmarks.measuring import BenchmarkError
from reference_server.wire.units import MILLISECOND_NS, SECOND_NS

if TYPE_CHECKING:
    import socket

PERCENT_99 = 0.99


def percentile(delays: list[int], share: float) -> float:
    """Return a percentile of delays, in milliseconds: the value at its exact rank."""
    return sorted(delays)[math.ceil(share * len(delays)) - 1] / MILLISECOND_NS


def pace(url: str, machines: list[dict[str, str]], seconds: float, rate: float) -> list[int]:
    """Send `rate` heartbeats a second, each on the connection that was free for longest; return delays in nanoseconds.

    A delay runs from the planned start to the whole answer, so a server that holds up everybody is charged for all that
    could not leave meanwhile. Raises BenchmarkError when an answer is not an acceptance or does not come.
    """
    count = int(rate * seconds)
    requests = signed_heartbeats(host_of(url), machines, count)
    delays: list[int] = []
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        free: deque[socket.socket] = deque()
        for _ in machines:
            sock = stack.enter_context(connect(url))
            selector.register(sock, selectors.EVENT_READ, sock)
            free.append(sock)
        planned_of: dict[socket.socket, int] = {}
        start = last_answer = time.perf_counter_ns()
        sent = 0
        while len(delays) < count:
            now = time.perf_counter_ns()
            while sent < count and free and (planned := start + int(sent * SECOND_NS / rate)) <= now:
                sock = free.popleft()
                planned_of[sock] = planned
                sock.send(requests[sent])
                sent += 1
            wait_seconds = float(ANSWER_TIMEOUT_SECONDS)
            if sent < count and free:
                wait_seconds = (start - time.perf_counter_ns()) / SECOND_NS + sent / rate
            for key, _ in selector.select(max(0.0, wait_seconds)):
                sock = key.data
                data = sock.recv(65_536)
                if not data.endswith(ACCEPTED):
                    if data.startswith(b"HTTP/1.1 200"):
                        continue  # the head came alone; its body follows
                    raise BenchmarkError(f"not accepted: {data[-200:]!r}")
                last_answer = time.perf_counter_ns()
                delays.append(last_answer - planned_of.pop(sock))
                free.append(sock)
            if planned_of and time.perf_counter_ns() - last_answer > ANSWER_TIMEOUT_SECONDS * SECOND_NS:
                raise BenchmarkError("the server stopped answering")
    return delays
