"""Instances in the test's own loop that share all state through a real Redis: quick to start, and to lose."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from reference_server import app
from reference_server.adapters.clock import SystemClock
from reference_server.adapters.entropy import SystemEntropy
from reference_server.core.tables import TABLES
from reference_server.operations.routing import ROUTES
from reference_server.pipeline.resolving import Resolver
from reference_server.wire.values import Request
from tests.http.twins import API_TOKEN, OWNER, as_owner, data_of, enrolment
from tests.support.patience import PATIENT
from tests.support.waiting import PATIENCE_SECONDS, POLL_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from reference_server.core.table import Tables
    from reference_server.operations.routing import Routes
    from reference_server.ports import SharedBounds
    from reference_server.wire.values import Reply
    from tests.http.twins import Machine

SUMMARY = Request("GET", "/api/v1/workers/summary", headers=OWNER)
HEALTH = Request("GET", "/health")
AUDIT = Request("GET", "/api/v1/audit/events", "limit=500", headers=OWNER)


def make_key(folder: Path) -> Path:
    """Write a signing key that is the same each time."""
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    path = folder / "key.pem"
    path.touch(0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


class Member:
    """One instance. `leave` ends it as a crash does: nothing of what it had under way is finished."""

    def __init__(
        self, port: int, key: Path, tables: Tables, routes: Routes, bounds: SharedBounds, /, **settings: str
    ) -> None:
        environ = {
            "REDIS_ADDR": f"127.0.0.1:{port}",
            "HATCHFARM_SHARED_STATE": "redis",
            "HATCHFARM_API_TOKEN": API_TOKEN,
            "MACHINE_CERT_SIGNING_KEY_FILE": str(key),
            "RATE_LIMIT_BURST": "1000000",
            **settings,
        }
        self.clock = SystemClock()
        self.api = app.make_api(environ, SystemEntropy(), self.clock, tables, routes, bounds)
        self.resolver = Resolver(self.api, self.clock)
        self._scope = trio.CancelScope()
        self._left = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until it leaves."""
        try:
            with self._scope:
                await self.resolver.run(task_status=task_status)
        finally:
            self._left.set()

    async def leave(self) -> None:
        """End it."""
        self._scope.cancel()
        self.resolver._stopping = True
        self.resolver._wanted.set()
        await self._left.wait()

    async def ask(self, request: Request) -> Reply:
        """Ask it, as a transport does."""
        return await self.resolver.resolved(self.api.handle(request, self.clock.now()))

    async def served(self, request: Request) -> Reply:
        """Ask until it is not refused for want of the shared state."""
        with trio.fail_after(PATIENCE_SECONDS):
            while (reply := await self.ask(request)).status == 503:  # noqa: ASYNC110 - Redis gives no event
                await trio.sleep(POLL_SECONDS)
        return reply

    async def beat(self, machine: Machine, nonce: str) -> int:
        """Send a heartbeat stamped now, and give its answer's status."""
        return (await self.ask(machine.heartbeat(nonce, self.clock.now().wall_ns))).status

    async def audit(self, owner_id: str = "ada") -> Any:
        """Read an owner's audit events and heads."""
        headers = tuple((name, owner_id if name == "x-owner-id" else value) for name, value in OWNER)
        reply = await self.served(msgspec.structs.replace(AUDIT, headers=headers))
        return data_of(reply.status, reply.body)


class Members:
    """Instances that share a Redis; more may join, and any may leave."""

    def __init__(self, nursery: trio.Nursery, port: int, key: Path) -> None:
        self.tables, self.routes, self.bounds = TABLES, ROUTES, PATIENT
        """What those that join from now on are made of."""
        self._nursery = nursery
        self._port = port
        self._key = key
        self.all: list[Member] = []

    async def join(self, port: int | None = None, /, **settings: str) -> Member:
        """Start one more, which reaches Redis at its port, or at another."""
        made_of = self.tables, self.routes, self.bounds
        member = Member(self._port if port is None else port, self._key, *made_of, **settings)
        await self._nursery.start(member.run)
        self.all.append(member)
        return member


@asynccontextmanager
async def members(port: int, folder: Path) -> AsyncIterator[Members]:
    """Have instances share the Redis at a port."""
    async with trio.open_nursery() as nursery:
        group = Members(nursery, port, make_key(folder))
        try:
            yield group
        finally:
            with trio.CancelScope(shield=True):
                for member in group.all:
                    await member.leave()


async def enrol_at(some: Sequence[Member], name: str) -> Machine:
    """Enrol a machine, each step at the next instance."""
    steps = enrolment(name)
    request = next(steps)
    turn = 0
    while True:
        reply = await some[turn % len(some)].served(request)
        turn += 1
        try:
            request = steps.send(data_of(reply.status, reply.body))
        except StopIteration as end:
            machine: Machine = end.value
            return machine


def revocation(machine: Machine) -> Request:
    """Revoke a machine's consent."""
    return as_owner(f"/consents/{machine.consent_id}/revoke")


def rotation(machine: Machine) -> Request:
    """Replace a machine's certificate."""
    headers = (*OWNER, ("x-machine-token", machine.token))
    return Request("POST", f"/api/v1/machines/{machine.worker_id}/certificate", headers=headers)


def registration(name: str) -> Request:
    """Register a machine of owner `ada`."""
    return as_owner("/machines/register", {"owner_id": "ada", "name": name})


async def names_at(one: Member) -> list[str]:
    """Return the names of all machines, as the audit tells of them."""
    events = (await one.audit())["events"]
    return [event["metadata"]["name"] for event in events if event["type"] == "machine_registered"]
