"""The fastest honest client: requests written just before the measurement, one in flight on each connection."""

from __future__ import annotations

import re
import secrets  # noqa: TID251 - fresh nonces against a live server
import selectors
import socket
import ssl
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from benchmarks.measuring import BenchmarkError
from reference_server.wire.timestamps import format_timestamp
from reference_server.wire.units import MILLISECOND_NS
from simulator.fleet.machine import heartbeat_request, signed_heartbeat

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

METRICS = '{"cpu_percent":12.5,"memory_percent":30.1,"gpu_percent":0.0}'
ACCEPTED = b'"accepted":true}}'
ANSWER_TIMEOUT_SECONDS = 10
WARM_SECONDS = 0.2
"""Before what is counted: a fresh process is slower at first."""
ANSWERS_MIN = 3
"""That are waited for, however long they take: a rate of none says nothing."""
RATE_MAX = 60_000.0
"""What no server here comes to: so many requests a second are written beforehand, and more would only take time."""
_LENGTH = re.compile(rb"\r\ncontent-length: ([0-9]+)\r\n", re.IGNORECASE)


def made_up_machines(count: int) -> list[dict[str, str]]:
    """Make credentials that no server gave, for those that look at none."""
    return [
        {
            "worker_id": f"wrk_{number:016x}",
            "token": f"{number:048x}",
            "certificate_id": f"mcert_{number:020x}",
            "policy_id": "pol_0123456789abcdef",
        }
        for number in range(count)
    ]


def host_of(url: str) -> str:
    """Return what a request to a server says in `Host`."""
    return urlsplit(url).netloc


def signed_heartbeats(host: str, machines: Sequence[dict[str, str]], count: int) -> list[bytes]:
    """Make so many heartbeats or a few more, as many of each machine in turn, stamped now.

    A machine may say what `metrics` it sends.
    """
    now = format_timestamp(time.time_ns() // MILLISECOND_NS * MILLISECOND_NS)  # noqa: TID251 - a live server judges it
    signed = []
    for _ in range(-(-count // len(machines))):
        for machine in machines:
            token, worker_id = machine["token"], machine["worker_id"]
            nonce, metrics = secrets.token_hex(12), machine.get("metrics", METRICS)
            body = signed_heartbeat(token.encode(), worker_id, now, nonce, machine["policy_id"], metrics)
            signed.append(heartbeat_request(host, worker_id, token, machine["certificate_id"], body))
    return signed


def blast(
    url: str,
    machines: Sequence[dict[str, str]],
    seconds: float,
    *,
    rate_max: float = RATE_MAX,
    connections: int = 0,
    may_wait_too_long: bool = False,
) -> float:
    """Send heartbeats until time is up or they run out; return those accepted, a second.

    Each machine has a connection of its own, or all are mixed on so many `connections`. `rate_max` is how fast the
    server could be at most. Raises BenchmarkError when an answer is not an acceptance; a 503 does not count where what
    the server waits for `may_wait_too_long`.
    """
    requests = signed_heartbeats(host_of(url), machines, int(rate_max * (seconds + WARM_SECONDS)))

    def is_accepted(answer: bytes) -> bool | None:
        if answer.endswith(ACCEPTED):
            return True
        if answer.startswith(b"HTTP/1.1 200"):
            return None  # the head came alone; its body follows
        if may_wait_too_long and answer.startswith(b"HTTP/1.1 503"):
            return False
        raise BenchmarkError(f"not accepted: {answer[-200:]!r}")

    return send_all(url, requests, seconds, connections or len(machines), is_accepted)


def answered_with(status: int) -> Callable[[bytes], bool | None]:
    """Return what tells a whole answer of a status from a part of one. It raises BenchmarkError for any other."""
    begin = b"HTTP/1.1 %d" % status

    def is_whole(answer: bytes) -> bool | None:
        if not answer.startswith(begin):
            raise BenchmarkError(f"not {status}: {answer[:200]!r} … {answer[-200:]!r}")
        head, end, body = answer.partition(b"\r\n\r\n")
        if not end:
            return None
        length = _LENGTH.search(head + b"\r\n")
        if length is None:
            raise BenchmarkError(f"an answer of no length: {head!r}")
        return True if len(body) >= int(length[1]) else None

    return is_whole


def send_all(
    url: str,
    requests: Sequence[bytes],
    seconds: float,
    connections: int,
    is_counted: Callable[[bytes], bool | None],
    warm_seconds: float = WARM_SECONDS,
) -> float:
    """Send requests in turn on so many connections, until time is up or they run out; return answers a second.

    `is_counted` says whether an answer counts; None of a part of one. What comes in the first `warm_seconds` does not.
    """
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        opened = [stack.enter_context(connect(url)) for _ in range(min(connections, len(requests)))]
        for number, sock in enumerate(opened):
            # The last one is sent first; of each connection they are in order among themselves.
            selector.register(sock, selectors.EVENT_READ, [sock, list(requests[number :: len(opened)])[::-1], b""])
        start = time.perf_counter()
        for key in selector.get_map().values():
            key.data[0].send(key.data[1].pop())
        done, waiting, end = 0, len(opened), start + warm_seconds + seconds
        begun, done_before = start, 0
        while waiting and ((now := time.perf_counter()) < end or done < done_before + ANSWERS_MIN):
            if begun == start and now >= start + warm_seconds:
                begun, done_before = now, done
            ready = selector.select(ANSWER_TIMEOUT_SECONDS)
            if not ready:
                raise BenchmarkError("the server stopped answering")
            for key, _ in ready:
                sock, left, part = key.data
                try:
                    data = sock.recv(262_144)
                except ssl.SSLWantReadError:
                    continue
                if not data:
                    raise BenchmarkError("the server closed a connection")
                counted = is_counted(part + data)
                if counted is None:
                    key.data[2] = part + data
                    continue
                if part:
                    key.data[2] = b""
                done += counted
                if left:
                    sock.send(left.pop())
                else:
                    waiting -= 1
        return (done - done_before) / (time.perf_counter() - begun)


def connect(url: str) -> socket.socket:
    """Open a connection that does not block; over TLS where the URL says so, whoever the server is."""
    parts = urlsplit(url)
    sock = socket.create_connection((parts.hostname or "", parts.port or 0))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if parts.scheme == "https":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        sock = context.wrap_socket(sock)
        sock.setblocking(False)  # noqa: FBT003 - the socket API's own flag
        with suppress(ssl.SSLWantReadError):
            sock.recv(0)
        return sock
    sock.setblocking(False)  # noqa: FBT003 - the socket API's own flag
    return sock
