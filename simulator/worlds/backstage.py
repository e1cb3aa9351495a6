"""What an attack has to itself: servers of its own attempt, a Redis perhaps, and hands that let them fail."""

from __future__ import annotations

import os
import shutil
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from simulator.deployment import STATE_FILE, Deployment, begin, mend
from simulator.redis_process import PROGRAM, RedisProcess, own_redis
from simulator.server_process import SERVE, own_server
from simulator.worlds.target import Target, parse_target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from simulator.attacks.script import Staging
    from simulator.server_process import ServerProcess

INHERITED = frozenset({"HOME", "LANG", "LC_ALL", "PATH", "PYTHONPATH", "TMPDIR", "VIRTUAL_ENV"})
"""All that a staged server has of this process's environment: no setting of anybody's, so that all is as staged."""


def obstacle_to(staging: Staging, *, allowed: bool) -> str:
    """Say why it cannot be staged; nothing when it can. It is `allowed` where the run's target is its own server."""
    if not allowed:
        return "it needs servers of the run's own, which it kills, stops or cuts off"
    if staging.redis and shutil.which(PROGRAM) is None:
        return f"it needs {PROGRAM} on the PATH (Debian's package is called redis-server)"
    return ""


class Backstage:
    """The processes behind one attempt. Instances keep their state in folders of their own."""

    def __init__(self, staging: Staging, token: str, folder: Path, stack: AsyncExitStack) -> None:
        self._staging = staging
        self._token = token
        self._settings = dict(staging.settings)
        self._folder = folder
        self._stack = stack
        self._redis: RedisProcess | None = None
        self._servers: list[ServerProcess] = []
        self._targets: list[Target] = []
        self._clock_ns = 0

    async def start(self) -> None:
        """Start Redis and the first instance. Raises ServerError."""
        if self._staging.redis:
            self._redis = await self._stack.enter_async_context(own_redis())
            self._settings["REDIS_ADDR"] = self._redis.address
        await self._start_instance()

    def target(self, instance: int) -> Target:
        """Give an instance as a target."""
        return self._targets[instance]

    def _state(self, instance: int) -> Path:
        return self._folder / f"instance-{instance}"

    async def _start_instance(self) -> None:
        settings = dict(self._settings)
        folder = self._state(len(self._servers))
        if self._staging.durable:
            folder.mkdir(exist_ok=True)
            settings["HATCHFARM_STATE_FILE"] = str(folder / STATE_FILE)
        command: tuple[str, ...] = SERVE
        if self._staging.clock:
            self.step_clock(0)
            command = ("-m", "simulator.stepped_clock", str(self._clock_file), *SERVE[2:])
        hidden = os.environ.keys() - INHERITED
        server = await self._stack.enter_async_context(own_server(settings, self._token, hidden, command))
        self._servers.append(server)
        self._targets.append(parse_target(server.url, self._token))

    async def disturb(self, kind: str, instance: int) -> None:
        """Let a fault begin. Raises ServerError."""
        await begin(kind, Deployment(tuple(self._servers), self._redis), instance)

    async def mend(self, kind: str, instance: int) -> None:
        """Let a fault be over. Raises ServerError."""
        await mend(kind, Deployment(tuple(self._servers), self._redis), instance)

    async def spread(self) -> None:
        """Start the other instances from what the first has kept. Raises ServerError."""
        first = self._servers[0]
        await first.stop()
        for instance in range(1, self._staging.instances):
            shutil.copytree(self._state(0), self._state(instance))
            await self._start_instance()
        await first.start()

    @property
    def _clock_file(self) -> Path:
        return self._folder / "clock"

    def step_clock(self, by_ns: int) -> None:
        """Set the servers' wall clock ahead, or with a minus back."""
        self._clock_ns += by_ns
        whole = self._clock_file.with_suffix(".new")
        whole.write_text(str(self._clock_ns), "ascii")
        whole.replace(self._clock_file)


@asynccontextmanager
async def staged(staging: Staging, token: str) -> AsyncIterator[Backstage]:
    """Stage what an attempt needs, and end it at the end. Raises ServerError."""
    with TemporaryDirectory(prefix="hatchfarm-stage-") as folder:
        async with AsyncExitStack() as stack:
            backstage = Backstage(staging, token, Path(folder), stack)
            await backstage.start()
            yield backstage
