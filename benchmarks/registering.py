"""Machines for benchmarks, registered with policies and consents."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from benchmarks.processes import TOKEN
from reference_server.adapters.clock import SystemClock
from reference_server.wire.signing import sign_text
from reference_server.wire.values import Request

if TYPE_CHECKING:
    from reference_server.operations.api import Api
    from reference_server.ports import Clock

OWNERS = 20
SYSTEM = SystemClock()
CREDENTIALS_SHOWN = 1000
"""Machines whose credentials a client is given, spread evenly over all of them."""


def register_machines(
    api: Api,
    machines: int,
    rules: str = '{"max_cpu_percent":50}',
    shown_max: int = CREDENTIALS_SHOWN,
    clock: Clock = SYSTEM,
) -> list[dict[str, str]]:
    """Register machines with policies and consents through the operation table, as requests would.

    `rules` are those of every policy, canonical JSON. Returns credentials of up to `shown_max` of the machines.
    """

    def post(path: str, owner_id: str, body: dict[str, Any]) -> Any:
        headers = (("authorization", f"Bearer {TOKEN}"), ("x-owner-id", owner_id))
        reply = api.handle(Request("POST", f"/api/v1{path}", "", headers, json.dumps(body).encode()), clock.now())
        return json.loads(reply.body)["data"]

    policies = {}
    for number in range(OWNERS):
        owner_id = f"owner-{number}"
        signature = sign_text(TOKEN.encode(), f"{owner_id}|{rules}").decode()
        body = {"owner_id": owner_id, "rules": json.loads(rules), "signature": signature}
        policy = post("/policies", owner_id, body)
        post(f"/policies/{policy['id']}/activate", owner_id, {})
        policies[owner_id] = policy["id"]
    shown: list[dict[str, str]] = []
    step = max(1, machines // shown_max)
    for index in range(machines):
        owner_id = f"owner-{index * OWNERS // machines}"
        data = post("/machines/register", owner_id, {"owner_id": owner_id, "name": f"machine {index}"})
        worker_id, policy_id = data["machine"]["id"], policies[owner_id]
        signature = sign_text(TOKEN.encode(), f"{owner_id}|{worker_id}|{policy_id}").decode()
        consent = {"owner_id": owner_id, "worker_id": worker_id, "policy_id": policy_id, "signature": signature}
        post("/consents", owner_id, consent)
        if index % step == 0 and len(shown) < shown_max:
            certificate_id = data["machine_certificate"]["certificate_id"]
            shown.append(
                {
                    "worker_id": worker_id,
                    "token": data["machine_token"],
                    "certificate_id": certificate_id,
                    "policy_id": policy_id,
                    "owner_id": owner_id,
                },
            )
    return shown
