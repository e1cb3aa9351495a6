"""Locust's two kinds of users, its fastest first, sending signed heartbeats with fresh nonces as fast as they can."""

from __future__ import annotations

import json
import os
import secrets  # noqa: TID251 - fresh nonces
import sys
import time
from typing import Any

import gevent
from locust import FastHttpUser, HttpUser, events, task

from reference_server.wire.timestamps import format_timestamp
from simulator.fleet.machine import signed_heartbeat

SECONDS = "BENCHMARK_SECONDS"
"""The environment variable that says for how long to measure."""
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


@events.init.add_listener  # type: ignore[untyped-decorator]
def _measure(environment: Any, **_: Any) -> None:
    """End the test so many seconds after all users are there, and say what they did in that time."""
    cpu_start = 0.0

    def begin(**_: Any) -> None:
        nonlocal cpu_start
        environment.stats.reset_all()
        cpu_start = time.process_time()
        gevent.spawn_later(float(os.environ[SECONDS]), environment.runner.quit)

    def end(**_: Any) -> None:
        total = environment.stats.total
        figures = {
            "requests": total.num_requests,
            "failures": total.num_failures,
            "seconds": (total.last_request_timestamp or total.start_time) - total.start_time,
            "cpu_seconds": time.process_time() - cpu_start,
        }
        sys.stdout.write(json.dumps(figures) + "\n")

    environment.events.spawning_complete.add_listener(begin)
    environment.events.quitting.add_listener(end)
