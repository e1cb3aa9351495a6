"""The virtual world: a scenario's fleet against a server in memory, on one clock, by one seed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import trio

from reference_server.adapters.memory.entropy import SeededEntropy
from reference_server.settings import SettingsError
from simulator.client.target import Target, TargetError
from simulator.deployment.conditions import Conditions
from simulator.worlds.virtual.network import SERVER_ADDRESS, MemoryNetwork, ShortWay
from simulator.worlds.virtual.network_faults import TroubledEnd
from simulator.worlds.virtual.scheduling import JumpingClock
from simulator.worlds.virtual.server import VirtualServer
from simulator.worlds.virtual.shard import VirtualShard
from simulator.worlds.world import World

if TYPE_CHECKING:
    from collections.abc import Mapping

PORT = 8080
WAY, TROUBLE = 7, 8
"""Which children of the seed's sequence the network and its faults draw from; the others are the fleet's."""


def seeded_token(seed: int) -> str:
    """Return the owner token of a run: it is part of what is signed and sent, so it is the same for the same seed."""
    return SeededEntropy(f"token-{seed}").hex(48)


async def watch_nothing(*_what: Any, **_how: Any) -> None:
    """Stand in for watching how the harness does: in virtual time it is never late."""
    await trio.sleep_forever()


class VirtualWorld:
    """A clock, a network, and the server that listens in it with its settings as the environment holds them.

    All of `servers` are to be run: that one, and those that were added beside it.

    Raises TargetError where the server cannot use its settings.
    """

    def __init__(self, seed: int, token: str, environ: Mapping[str, str]) -> None:
        self.clock = JumpingClock()
        rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(WAY + 1)[WAY])
        network = self.network = MemoryNetwork(self.clock, ShortWay(rng))
        self._seed = seed
        self._environ = {**environ, "HATCHFARM_API_TOKEN": token}
        self.target = Target("http", SERVER_ADDRESS, PORT, SERVER_ADDRESS, token, own_addresses=True, network=network)
        self.servers: list[VirtualServer] = []
        self._add({})
        self.server = self.servers[0]
        self.instances = [self.server]
        """Those that are one to who asks, as faults count them."""
        self.conditions: list[Conditions] = []
        """Of the network before each of them, once it has faults."""
        self.world = World(self.server.clock, partial(VirtualShard, self.clock, self.network), watch_nothing)

    def add_beside(self, settings: Mapping[str, str]) -> Target:
        """Make another server, whose settings differ in these, for those that may not be tried on the first."""
        return msgspec.structs.replace(self.target, port=self._add(settings))

    def trouble_network(self) -> None:
        """Have the network before each instance be one that faults may happen to."""
        generators = np.random.default_rng(np.random.SeedSequence(self._seed).spawn(TROUBLE + 1)[TROUBLE])
        for server, rng in zip(self.instances, generators.spawn(len(self.instances)), strict=True):
            conditions, port = Conditions(rng), PORT + self.servers.index(server)
            make = partial(TroubledEnd, network=self.network, conditions=conditions, port=port)
            self.network.make_ends[port] = partial(make, of_client=True), partial(make, of_client=False)
            self.conditions.append(conditions)

    def _add(self, settings: Mapping[str, str]) -> int:
        port = PORT + len(self.servers)
        try:
            server = VirtualServer(self.clock, self.network, port, {**self._environ, **settings}, self._seed)
        except SettingsError as error:
            raise TargetError(f"the server cannot start: {error}") from None
        self.servers.append(server)
        return port
