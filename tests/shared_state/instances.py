"""Instances of `hatchfarm serve` that share all state through one Redis, as processes of their own."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from tests.http.processes import Running, running
from tests.http.twins import data_of, enrolment
from tests.shared_state.members import AUDIT, make_key
from tests.support.waiting import PATIENCE_SECONDS, POLL_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from reference_server.wire.values import Request
    from tests.http.serving import Answer, Server
    from tests.http.twins import Machine


def shared_settings(redis_port: int, folder: Path) -> dict[str, str]:
    """Return the settings of every instance that shares this Redis."""
    return {
        "REDIS_ADDR": f"127.0.0.1:{redis_port}",
        "HATCHFARM_SHARED_STATE": "redis",
        "MACHINE_CERT_SIGNING_KEY_FILE": str(make_key(folder)),
    }


class Instance:
    """One process."""

    def __init__(self, process: Running, server: Server) -> None:
        self.process = process
        self.server = server

    async def served(self, request: Request) -> Answer:
        """Ask until it is not refused for want of the shared state."""
        with trio.fail_after(PATIENCE_SECONDS):
            async with self.server.client() as client:
                while (answer := await client.ask(request)).status == 503:  # noqa: ASYNC110 - Redis gives no event
                    await trio.sleep(POLL_SECONDS)
        return answer

    async def audit(self) -> Any:
        """Read the audit of owner `ada`."""
        answer = await self.served(AUDIT)
        return data_of(answer.status, answer.body)


@asynccontextmanager
async def instances(settings: dict[str, str], count: int) -> AsyncIterator[list[Instance]]:
    """Start so many at once; they are killed in the end."""
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(running(settings=settings)) for _ in range(count)]
        yield [Instance(process, await process.server()) for process in processes]


async def enrol_over(some: Sequence[Instance], name: str) -> Machine:
    """Enrol a machine, each step at the next instance."""
    steps = enrolment(name)
    request = next(steps)
    turn = 0
    while True:
        answer = await some[turn % len(some)].served(request)
        turn += 1
        try:
            request = steps.send(data_of(answer.status, answer.body))
        except StopIteration as end:
            machine: Machine = end.value
            return machine
