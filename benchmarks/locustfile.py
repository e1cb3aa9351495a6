"""Locust's fastest user, sending signed heartbeats with fresh nonces as fast as it can."""

from __future__ import annotations

import json
import secrets  # noqa: TID251 - fresh nonces
import sys
import time
from typing import Any

from locust import FastHttpUser, events, task

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


class HeartbeatUser(FastHttpUser):
    """One machine in a closed loop."""

    @task
    def heartbeat(self) -> None:
        """Send one heartbeat."""
        now = format_timestamp(time.time_ns() // 1_000_000 * 1_000_000)  # noqa: TID251 - on the real clock
        nonce = secrets.token_hex(12)
        body = signed_heartbeat(TOKEN.encode(), WORKER_ID, now, nonce, POLICY_ID, METRICS)
        self.client.post(
            f"/api/v1/workers/{WORKER_ID}/heartbeat", data=body.decode(), headers=HEADERS, name="heartbeat"
        )


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def _say_rate(environment: Any, **_: Any) -> None:
    total = environment.stats.total
    seconds = total.last_request_timestamp - total.start_time
    sys.stdout.write(
        json.dumps({"requests": total.num_requests, "failures": total.num_failures, "seconds": seconds}) + "\n"
    )
