"""Fleets for benchmarks that have been heard, and a full market: capacity, jobs, and a long queue without room."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

from benchmarks.blaster import METRICS
from benchmarks.processes import TOKEN
from benchmarks.registering import CREDENTIALS_SHOWN, register_machines
from reference_server.adapters.clock import SystemClock
from reference_server.adapters.entropy import SystemEntropy
from reference_server.wire.timestamps import format_timestamp
from reference_server.wire.units import MILLISECOND_NS
from reference_server.wire.values import Request
from simulator.fleet.machine import signed_heartbeat

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reference_server.operations.api import Api
    from reference_server.wire.values import Instant, Reply

Machine = TypeVar("Machine")

ACCOUNTS = 200
"""Who post jobs, in turn: no account may have more than a thousand unfinished ones."""
RULES = '{"max_cpu_percent":100,"max_gpu_percent":100,"max_memory_percent":100}'
SETTINGS = {"WALLET_DEV_CREDIT_USDT": "1000000", "WORKER_STATUS_STALE_SECONDS": "86400"}
"""For jobs to be paid, and for machines to stay fresh while others are measured."""
MODELS = 4
JOB_MINUTES = 10_080


def spread(number: int, most: int) -> int:
    """Return a number from 1 to `most` that looks like chance, and is the same each time."""
    return 1 + (number * 2_654_435_761 >> 7) % most


def capacity_of(number: int) -> str:
    """Return what a machine says in each heartbeat, as JSON: no two are much alike, and one in three has a GPU."""
    gpus = [{"model": f"GPU {number % MODELS}", "count": 1}] if number % 3 == 0 else []
    return json.dumps({"cpu_cores": 2 + spread(number, 60) / 10, "memory_gb": 16, "gpus": gpus}, separators=(",", ":"))


def metrics_of(number: int) -> str:
    """Return a machine's metrics with its capacity, as JSON."""
    return f'{METRICS[:-1]},"capacity":{capacity_of(number)}}}'


class HeardFleet:
    """Machines that have been heard twice each, as those of a full market have been at least.

    What a server keeps of heartbeats (nonces, events, moments) makes the next ones dearer, with a market or without.
    """

    def __init__(self, api: Api, machines: int) -> None:
        self.api = api
        self._clock = SystemClock()
        self._entropy = SystemEntropy()
        self.machines = register_machines(api, machines, rules=RULES, shown_max=machines)
        self.fill()

    def fill(self) -> None:
        """Have each machine heard, and again."""
        self.beat_twice(self.machines)

    def beat_twice(self, machines: Sequence[Mapping[str, str]]) -> None:
        """Send a heartbeat of each machine that says nothing to the market, and another."""
        for machine in (*machines, *machines):
            self.beat(machine, METRICS)

    def shown(self) -> list[dict[str, str]]:
        """Return credentials for a client, spread evenly over all machines."""
        return _spread_evenly(self.machines)

    def now(self) -> Instant:
        """Return the moment it is."""
        return self._clock.now()

    def beat(self, machine: Mapping[str, str], metrics: str) -> None:
        """Send a heartbeat, which is accepted."""
        now = self.now()
        worker_id, token = machine["worker_id"], machine["token"]
        at = format_timestamp(now.wall_ns // MILLISECOND_NS * MILLISECOND_NS)
        nonce = self._entropy.hex(24)
        body = signed_heartbeat(token.encode(), worker_id, at, nonce, machine["policy_id"], metrics)
        headers = (("x-machine-token", token), ("x-machine-certificate-id", machine["certificate_id"]))
        self._ask(Request("POST", f"/api/v1/workers/{worker_id}/heartbeat", "", headers, body), 200)

    def _ask(self, request: Request, status: int) -> Reply:
        reply = self.api.handle(request, self.now())
        if reply.status != status:
            raise AssertionError(f"{request.method} {request.path}: {reply.status} {reply.body!r}")
        return reply


class FullMarket(HeardFleet):
    """Fills an API's market as requests would, and asks it more."""

    def __init__(self, api: Api, machines: int, queued: int) -> None:
        self.posted = 0
        self._queued = queued
        super().__init__(api, machines)

    def fill(self) -> None:
        """Have each machine say what it has, post jobs, and have each machine say that it runs its own."""
        for number, machine in enumerate(self.machines):
            self.beat(machine, metrics_of(number))
        while len(self.api.state.market.waiting) < self._queued:
            self.post_job()
        # What is assigned and not reported stands in every answer: a machine reports it at once, so these do too.
        for number, machine in enumerate(self.machines):
            self.beat(machine, self.metrics_of(number))
        self._idle = register_machines(self.api, CREDENTIALS_SHOWN, rules=RULES)
        self.beat_twice(self._idle)

    def shown(self) -> list[dict[str, str]]:
        """Return credentials for a client: of machines that say what they have, each with its metrics; of idle ones."""
        offering = _spread_evenly(list(enumerate(self.machines)))
        return [{**machine, "metrics": self.metrics_of(number)} for number, machine in offering] + self._idle

    def metrics_of(self, number: int) -> str:
        """Return what a machine says each time it is heard, as JSON: its capacity, and that its jobs run."""
        jobs = self.api.state.market.pool.offers[self.machines[number]["worker_id"]].jobs
        reports = json.dumps([{"job_id": job_id, "state": "running", "progress": 0.5} for job_id in jobs])
        return f'{metrics_of(number)[:-1]},"jobs":{reports}}}'

    def post_job(self) -> None:
        """Post the next job: no two ask for the same."""
        self.posted += 1
        number = self.posted
        resources = {"cpu_cores": 1 + spread(number, 300) / 100, "memory_gb": spread(number, 80) / 10}
        job = {
            "type": "render",
            "resources": resources,
            "duration_minutes": JOB_MINUTES,
            "max_price_usdt": f"{168 * spread(number, 1_000_000) / 1_000_000:.6f}",
        }
        request = Request("POST", "/api/v1/jobs", "", _headers(number % ACCOUNTS), json.dumps(job).encode())
        self._ask(request, 201)

    def cancel_job(self, job_id: str, account: str) -> None:
        """Cancel a job."""
        headers = _headers(int(account.rpartition("-")[2]))
        self._ask(Request("DELETE", f"/api/v1/jobs/{job_id}", "", headers), 200)

    def list_resources(self, query: str = "") -> Any:
        """Ask for a page of resources."""
        return self._ask(Request("GET", "/api/v1/resources", query, _headers(0)), 200).body


def _spread_evenly(machines: list[Machine]) -> list[Machine]:
    return machines[:: max(1, len(machines) // CREDENTIALS_SHOWN)][:CREDENTIALS_SHOWN]


def _headers(account: int) -> tuple[tuple[str, str], ...]:
    return ("authorization", f"Bearer {TOKEN}"), ("x-owner-id", f"customer-{account}")
