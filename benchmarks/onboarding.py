"""`hatchfarm bench onboarding`: registering machines over the wire, with policies and consents, as owners do."""

from __future__ import annotations

import json
import time
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.blaster import answered_with, host_of, send_all
from benchmarks.measuring import Benchmark, Figure, Subject
from benchmarks.processes import TOKEN, benchmark_server, measuring
from benchmarks.registering import OWNERS
from reference_server.wire.signing import sign_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.processes import Server

MACHINES = 1000
CONNECTIONS = 32
"""As many as the simulator registers at once."""
SECONDS_MAX = 600.0
"""All is answered long before."""
RULES = '{"max_cpu_percent":50}'


def owner_request(host: str, method: str, path: str, owner_id: str, body: object = None) -> bytes:
    """Write a request of an owner, with the owners' token."""
    written = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
    head = (
        f"{method} /api/v1{path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"X-Owner-Id: {owner_id}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(written)}\r\n\r\n"
    )
    return head.encode() + written


def _answers(url: str, requests: Sequence[bytes], status: int) -> list[Any]:
    """Send requests; return the data of their answers, in the order in which they came."""
    data: list[Any] = []
    is_whole = answered_with(status)

    def keep(answer: bytes) -> bool | None:
        whole = is_whole(answer)
        if whole:
            data.append(json.loads(answer.partition(b"\r\n\r\n")[2])["data"])
        return whole

    send_all(url, requests, SECONDS_MAX, CONNECTIONS, keep, warm_seconds=0)
    return data


def register_over_wire(url: str, machines: int) -> list[dict[str, str]]:
    """Register machines, with a policy for each owner and a consent for each machine; return their credentials."""
    host, owners = host_of(url), [f"owner-{number}" for number in range(OWNERS)]
    ask = partial(owner_request, host, "POST")
    policies = {
        policy["owner_id"]: policy["id"]
        for policy in _answers(
            url,
            [
                ask(
                    "/policies",
                    owner,
                    {"owner_id": owner, "rules": json.loads(RULES), "signature": _sign(owner, RULES)},
                )
                for owner in owners
            ],
            201,
        )
    }
    _answers(url, [ask(f"/policies/{policies[owner]}/activate", owner, {}) for owner in owners], 200)
    bodies = [{"owner_id": owners[number % OWNERS], "name": f"machine {number}"} for number in range(machines)]
    registered = _answers(url, [ask("/machines/register", body["owner_id"], body) for body in bodies], 201)
    consents = []
    for one in registered:
        owner_id, worker_id = one["machine"]["owner_id"], one["machine"]["id"]
        policy_id = policies[owner_id]
        signature = _sign(owner_id, worker_id, policy_id)
        consent = {"owner_id": owner_id, "worker_id": worker_id, "policy_id": policy_id, "signature": signature}
        consents.append(ask("/consents", owner_id, consent))
    _answers(url, consents, 201)
    return [
        {
            "worker_id": one["machine"]["id"],
            "token": one["machine_token"],
            "certificate_id": one["machine_certificate"]["certificate_id"],
            "policy_id": policies[one["machine"]["owner_id"]],
        }
        for one in registered
    ]


def _sign(*parts: str) -> str:
    return sign_text(TOKEN.encode(), "|".join(parts)).decode()


def _measure(server: Server, machines: int) -> tuple[float]:
    begun = time.perf_counter()
    register_over_wire(server.url, machines)
    return (time.perf_counter() - begun,)


def benchmark(_seconds: float) -> Benchmark:
    """Return the benchmark. It takes what it takes."""
    figure = Figure("onboarded", f"{MACHINES:,} machines registered and consented to", " s")
    subject = Subject((figure,), measuring(partial(benchmark_server, "lane"), partial(_measure, machines=MACHINES)))
    return Benchmark("onboarding", lambda: nullcontext((subject,)))
