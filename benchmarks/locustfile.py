"""Locust's two kinds of users, its fastest first, sending signed heartbeats with fresh nonces as fast as they can."""

from __future__ import annotations

import json
import secrets  # noqa: TID251 - fresh nonces
import sys
import time
from typing import Any

from locust import FastHttpUser, HttpUser, events, task

from reference_server.wire.timestamps import format_timestamp
from simulator.fleet.machine import signed_heartbeat

TOKEN = "0" * 48
WORKER_ID = "wrk_0123456789abcdef"
POLICY_ID = "pol_0123456789abcdef"
METRICS = '{"cpu_percent":12.5,"memory_percent":30.1,"gpu_percent":0.0}'
HEADERS = {
    "Content-Type": "application/json",
    "X-Machine-Token": TOKEN,
    "X-Machine-Certificate-Id": "mcert_01234567890123456789",
}


def send_heartbeat(client: Any) -> None:
    """Sign one heartbeat and send it."""
    now = format_timestamp(time.time_ns() // 1_000_000 * 1_000_000)  # noqa: TID251 - on the real clock
    nonce = secrets.token_hex(12)
    body = signed_heartbeat(TOKEN.encode(), WORKER_ID, now, nonce, POLICY_ID, METRICS)
    client.post(f"/api/v1/workers/{WORKER_ID}/heartbeat", data=body.decode(), headers=HEADERS, name="heartbeat")


class HeartbeatUser(FastHttpUser):
    """One machine in a closed loop."""

    @task
    def heartbeat(self) -> None:
        """Send one heartbeat."""
        send_heartbeat(self.client)


class RequestsUser(HttpUser):
    """The same on the client that most files for Locust use, Requests."""

    @task
    def heartbeat(self) -> None:
        """Send one heartbeat."""
        send_heartbeat(self.client)


class _Cpu:
    """What the process has used before its users start, which is mostly for imports."""

    before = 0.0


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def _begin(**_: Any) -> None:
    _Cpu.before = time.process_time()


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def _say_rate(environment: Any, **_: Any) -> None:
    total = environment.stats.total
    figures = {
        "requests": total.num_requests,
        "failures": total.num_failures,
        "seconds": total.last_request_timestamp - total.start_time,
        "cpu_seconds": time.process_time() - _Cpu.before,
    }
    sys.stdout.write(json.dumps(figures) + "\n")
