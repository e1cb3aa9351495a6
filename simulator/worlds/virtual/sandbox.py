"""Sandboxes of a virtual world: servers for a single attempt of an attack, and faults for them."""

from __future__ import annotations

import os
import traceback
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from reference_server.settings import SettingsError
from simulator.deployment.server_process import ServerError, environ_of
from simulator.scenario.kinds import Duration
from simulator.scenario.values import FaultOptions
from simulator.worlds.harness_failure import leaf_errors
from simulator.worlds.virtual.faults import FAULT_ACTIONS
from simulator.worlds.virtual.redis import ADDRESS
from simulator.worlds.virtual.server import STATE_FILE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from simulator.attacks.script import SandboxOptions
    from simulator.client.target import Target
    from simulator.deployment.server_watch import ServerWatch
    from simulator.platform.ending import Ending
    from simulator.scenario.values import ServerOptions
    from simulator.worlds.virtual.redis import VirtualRedis
    from simulator.worlds.virtual.server import VirtualServer
    from simulator.worlds.virtual.world import VirtualWorld


FAILED = 1
"""The exit code of a Python process that failed."""


class _Watched:
    """A server for the server watch (`server_watch.Watchable`): an exception ends it like a process."""

    def __init__(self, server: VirtualServer) -> None:
        self._server = server
        self.exit_code: int | None = None
        self.words = ""
        self.memory_peak_bytes = None

    @property
    def ended_by_itself(self) -> bool:
        """Whether the server has ended by itself; a requested end never raises."""
        return self.exit_code is not None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; an exception ends this server and nothing else."""
        try:
            await self._server.run(task_status=task_status)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the server's, and would be its last words
            self.words = "".join(traceback.format_exception(next(leaf_errors(error)))).strip()
            self.exit_code = FAILED
            self._server.end()
            await trio.sleep_forever()


class VirtualSandbox:
    """The servers of one attempt (`worlds.world.Sandbox`), with the same faults as a world's."""

    def __init__(
        self, world: VirtualWorld, wanted: SandboxOptions, token: str, nursery: trio.Nursery, watch: ServerWatch
    ) -> None:
        self._world = world
        self._wanted = wanted
        self._nursery = nursery
        self._watch = watch
        # As in a live sandbox: without settings of this process's environment or of the scenario.
        self._environ = environ_of(wanted.settings, token, os.environ.keys())
        self.redis: VirtualRedis | None = None
        if wanted.durable:
            self._environ["HATCHFARM_STATE_FILE"] = STATE_FILE
        self.instances: list[VirtualServer] = []
        self._clock_ns = 0

    async def start(self) -> None:
        """Start the first instance."""
        if self._wanted.redis:
            self.redis = self._world.make_redis(self._world.clock.now_ns)
            self._environ["REDIS_ADDR"] = ADDRESS
        await self._start_instance({})

    async def _start_instance(self, files: Mapping[str, bytes]) -> None:
        try:
            server = self._world.make_server(self._environ, redis=self.redis, files=files)
        except SettingsError as error:
            raise ServerError(f"the server did not start: {error}") from None
        server.clock.set_off(self._clock_ns, 0.0)
        self.instances.append(server)
        watched = _Watched(server)
        self._watch.add_watchable(watched)
        await self._nursery.start(watched.run)

    def end(self) -> None:
        """End all servers."""
        for server in self.instances:
            server.end()
        self._nursery.cancel_scope.cancel()

    def target(self, instance: int) -> Target:
        """Return an instance as a target."""
        return self._world.target_at(self.instances[instance].port)

    async def begin_fault(self, kind: str, instance: int) -> None:
        """Begin a fault. Raises ServerError."""
        await FAULT_ACTIONS[kind].begin(self, FaultOptions(kind=kind, at_ns=Duration(0), instance=instance))

    async def end_fault(self, kind: str, instance: int) -> None:
        """End a fault. Raises ServerError."""
        await FAULT_ACTIONS[kind].undo(self, FaultOptions(kind=kind, at_ns=Duration(0), instance=instance))

    async def start_other_instances(self) -> None:
        """Start the other instances from the first one's stored state. Raises ServerError."""
        first = self.instances[0]
        await first.stop()
        for _ in range(1, self._wanted.instances):
            await self._start_instance(first.disk.files)
        await first.start()

    def step_clock(self, by_ns: int) -> None:
        """Set the servers' wall clock ahead by `by_ns`, or back if it is negative."""
        self._clock_ns += by_ns
        for server in self.instances:
            server.clock.set_off(self._clock_ns, 0.0)


class VirtualSandboxes:
    """The sandboxes of a world (`worlds.world.Sandboxes`); everything they need is always available."""

    def __init__(self, world: VirtualWorld) -> None:
        self._world = world

    def obstacle(self, _wanted: SandboxOptions, _options: ServerOptions, *, allowed: bool) -> str:
        """Return why a sandbox cannot be made: only if it is not `allowed`."""
        return "" if allowed else "it needs servers of the run's own"

    @asynccontextmanager
    async def open(
        self, wanted: SandboxOptions, _options: ServerOptions, token: str, watch: ServerWatch, _ending: Ending
    ) -> AsyncIterator[VirtualSandbox]:
        """Start an attempt's servers, and stop them at the end. `watch` watches them for the player."""
        async with trio.open_nursery() as nursery:
            sandbox = VirtualSandbox(self._world, wanted, token, nursery, watch)
            try:
                await sandbox.start()
                yield sandbox
            finally:
                sandbox.end()
