"""The fastest honest client: heartbeats signed just before the measurement, one in flight on each connection."""

from __future__ import annotations

import secrets  # noqa: TID251 - fresh nonces against a live server
import selectors
import socket
import time
from urllib.parse import urlsplit

from benchmarks.measuring import BenchmarkError
from reference_server.wire.timestamps import format_timestamp
from reference_server.wire.units import MILLISECOND_NS
from simulator.fleet.machine import heartbeat_request, signed_heartbeat

METRICS = '{"cpu_percent":12.5,"memory_percent":30.1,"gpu_percent":0.0}'
ACCEPTED = b'"accepted":true}}'
ANSWER_TIMEOUT_SECONDS = 10


def sign_requests(host: str, machines: list[dict[str, str]], each: int) -> list[list[bytes]]:
    """Make `each` requests for every machine, stamped now; a machine may say what `metrics` it sends."""
    now = format_timestamp(time.time_ns() // MILLISECOND_NS * MILLISECOND_NS)  # noqa: TID251 - a live server judges it
    signed = []
    for machine in machines:
        token, worker_id = machine["token"], machine["worker_id"]
        metrics = machine.get("metrics", METRICS)
        bodies = (
            signed_heartbeat(token.encode(), worker_id, now, secrets.token_hex(12), machine["policy_id"], metrics)
            for _ in range(each)
        )
        signed.append(
            [heartbeat_request(host, worker_id, token, machine["certificate_id"], body) for body in bodies],
        )
    return signed


def blast(
    url: str, machines: list[dict[str, str]], seconds: float, rate_max: float, *, may_wait_too_long: bool = False
) -> float:
    """Send until time is up or requests run out; return accepted heartbeats a second.

    `rate_max` is how fast the server could be at most: that many requests are signed beforehand. Raises BenchmarkError
    when an answer is not an acceptance; a 503 does not count where what the server waits for `may_wait_too_long`.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 0
    signed = sign_requests(f"{host}:{port}", machines, max(2, int(rate_max * seconds / len(machines)) + 1))
    selector = selectors.DefaultSelector()
    for requests in signed:
        sock = socket.create_connection((host, port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)  # noqa: FBT003 - the socket API's own flag
        selector.register(sock, selectors.EVENT_READ, (sock, requests))
    done = open_connections = 0
    start = time.perf_counter()
    for key in selector.get_map().values():
        key.data[0].send(key.data[1].pop())
        open_connections += 1
    end = start + seconds
    while open_connections and time.perf_counter() < end:
        ready = selector.select(ANSWER_TIMEOUT_SECONDS)
        if not ready:
            raise BenchmarkError("the server stopped answering")
        for key, _ in ready:
            sock, requests = key.data
            data = sock.recv(65_536)
            if data.endswith(ACCEPTED):
                done += 1
            elif data.startswith(b"HTTP/1.1 200"):
                continue  # the head came alone; its body follows
            elif not (may_wait_too_long and data.startswith(b"HTTP/1.1 503")):
                raise BenchmarkError(f"not accepted: {data[-200:]!r}")
            if requests:
                sock.send(requests.pop())
            else:
                open_connections -= 1
    rate = done / (time.perf_counter() - start)
    for key in list(selector.get_map().values()):
        key.data[0].close()
    selector.close()
    return rate
