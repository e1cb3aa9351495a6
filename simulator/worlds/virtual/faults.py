"""The effects of faults on a virtual world: one row for each kind that it can play."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence  # noqa: TC003 - a Struct resolves its annotations
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from simulator.deployment.server_process import ServerError
from simulator.scenario.values import NETWORK_FAULTS

if TYPE_CHECKING:
    from simulator.deployment.conditions import Recorder
    from simulator.scenario.values import FaultOptions
    from simulator.worlds.virtual.redis import VirtualRedis
    from simulator.worlds.virtual.server import VirtualServer
    from simulator.worlds.virtual.world import VirtualWorld


class Failing(Protocol):
    """The target of most faults: servers, and their Redis if they have one."""

    redis: VirtualRedis | None

    @property
    def instances(self) -> Sequence[VirtualServer]:
        """Return the servers."""


class FaultActions(msgspec.Struct, frozen=True):
    """How a fault begins and how it is undone; both functions take the world and the fault."""

    begin: Callable[[Any, Any], Awaitable[None]]
    undo: Callable[[Any, Any], Awaitable[None]]


def _server(world: Failing, fault: FaultOptions) -> VirtualServer:
    return world.instances[fault.instance]


async def _kill(world: Failing, fault: FaultOptions) -> None:
    await _server(world, fault).kill()


async def _stop(world: Failing, fault: FaultOptions) -> None:
    await _server(world, fault).stop()


async def _start(world: Failing, fault: FaultOptions) -> None:
    await _server(world, fault).start()


async def _trouble_network(world: VirtualWorld, fault: FaultOptions) -> None:
    world.conditions[fault.instance].begin(fault)


async def _calm_network(world: VirtualWorld, fault: FaultOptions) -> None:
    world.conditions[fault.instance].end()


async def _pause(world: Failing, fault: FaultOptions) -> None:
    await _server(world, fault).pause()


async def _resume(world: Failing, fault: FaultOptions) -> None:
    _server(world, fault).resume()


async def _fill_disk(world: Failing, fault: FaultOptions) -> None:
    _server(world, fault).disk.full = True


async def _empty_disk(world: Failing, fault: FaultOptions) -> None:
    _server(world, fault).disk.full = False


async def _set_clock(world: Failing, fault: FaultOptions) -> None:
    _server(world, fault).clock.set_off(fault.by_ns, fault.drift_ppm)


async def _put_clock_right(world: Failing, fault: FaultOptions) -> None:
    _server(world, fault).clock.set_off(0, 0.0)


def _redis(world: Failing) -> VirtualRedis:
    if world.redis is None:
        raise ServerError("there is no Redis")
    return world.redis


async def _end_redis(world: Failing, _fault: FaultOptions) -> None:
    _redis(world).be_down(down=True)


async def _start_redis(world: Failing, _fault: FaultOptions) -> None:
    _redis(world).be_down(down=False)


async def _pause_redis(world: Failing, _fault: FaultOptions) -> None:
    await _redis(world).hang()


async def _resume_redis(world: Failing, _fault: FaultOptions) -> None:
    _redis(world).go_on()


async def _flush_redis(world: Failing, _fault: FaultOptions) -> None:
    await _redis(world).flush()


async def _fail_redis(world: Failing, _fault: FaultOptions) -> None:
    await _redis(world).fail()


async def _nothing(_world: Failing, _fault: FaultOptions) -> None:
    pass


FAULT_ACTIONS: Mapping[str, FaultActions] = {
    "server.kill": FaultActions(_kill, _start),
    "server.restart": FaultActions(_stop, _start),
    **dict.fromkeys(NETWORK_FAULTS, FaultActions(_trouble_network, _calm_network)),
    "server.pause": FaultActions(_pause, _resume),
    "server.clock": FaultActions(_set_clock, _put_clock_right),
    "disk.full": FaultActions(_fill_disk, _empty_disk),
    "redis.down": FaultActions(_end_redis, _start_redis),
    "redis.pause": FaultActions(_pause_redis, _resume_redis),
    "redis.flush": FaultActions(_flush_redis, _nothing),
    "redis.crash": FaultActions(_fail_redis, _start_redis),
}
"""Actions by a scenario's `kind`. Kinds of `scenario.values.FAULTS` without a row here are refused in virtual time."""


class VirtualFaults:
    """Applies faults to a world (`players.fault_player.Faulty`)."""

    def __init__(self, world: VirtualWorld) -> None:
        self._world = world

    def record_copies(self, recorder: Recorder) -> None:
        """Report the copies that the network makes to `recorder`."""
        for conditions in self._world.conditions:
            conditions.recorder = recorder

    async def begin(self, fault: FaultOptions) -> None:
        """Begin a fault. Raises ServerError."""
        await FAULT_ACTIONS[fault.kind].begin(self._world, fault)

    async def undo(self, fault: FaultOptions) -> None:
        """Undo a fault. Raises ServerError."""
        await FAULT_ACTIONS[fault.kind].undo(self._world, fault)
