"""What a run starts for itself: a server, the folder its state is kept in, and the Redis it shares things through."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import msgspec

from simulator.redis_process import RedisError, RedisProcess, own_redis
from simulator.server_process import ServerProcess, own_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from simulator.scenario.values import ServerOptions

STATE_FILE = "state.json"


class Deployment(msgspec.Struct, frozen=True):
    """The processes of a run's own."""

    server: ServerProcess
    redis: RedisProcess | None = None


async def begin(kind: str, deployment: Deployment) -> None:
    """Let a scenario's fault begin. Raises ServerError."""
    server = deployment.server
    match kind:
        case "server.kill":
            await server.kill()
        case "server.restart":
            await server.stop()
        case "server.pause":
            await server.pause()
        case "disk.full":
            server.fill_disk(full=True)
        case "redis.down":
            await _redis_of(deployment).kill()
        case "redis.pause":
            _redis_of(deployment).pause()
        case "redis.flush":
            await _redis_of(deployment).flush()


async def mend(kind: str, deployment: Deployment) -> None:
    """Let a scenario's fault be over. Raises ServerError."""
    server = deployment.server
    match kind:
        case "server.kill" | "server.restart":
            await server.start()
        case "server.pause":
            await server.resume()
        case "disk.full":
            server.fill_disk(full=False)
        case "redis.down":
            await _redis_of(deployment).start()
        case "redis.pause":
            _redis_of(deployment).resume()


def _redis_of(deployment: Deployment) -> RedisProcess:
    if deployment.redis is None:
        raise RedisError("there is no Redis")
    return deployment.redis


@asynccontextmanager
async def own_deployment(
    options: ServerOptions, token: str, not_inherited: Collection[str]
) -> AsyncIterator[Deployment]:
    """Start what a scenario's `[server]` asks for, and end it at the end. Raises ServerError.

    `not_inherited` are variables of this process's environment that are kept from the server.
    """
    async with AsyncExitStack() as stack:
        settings = options.environ()
        redis = None
        if options.redis:
            redis = await stack.enter_async_context(own_redis())
            settings["REDIS_ADDR"] = redis.address
        if options.durable:
            folder = stack.enter_context(TemporaryDirectory(prefix="hatchfarm-state-"))
            settings["HATCHFARM_STATE_FILE"] = str(Path(folder) / STATE_FILE)
        server = await stack.enter_async_context(own_server(settings, token, not_inherited))
        yield Deployment(server, redis)
