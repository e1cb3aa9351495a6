"""The virtual world: a scenario's fleet against a server in memory, on one clock and from one seed."""

from __future__ import annotations

from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import trio

from reference_server.adapters.memory.entropy import SeededEntropy
from reference_server.settings import SettingsError
from simulator.client.target import Target, TargetError
from simulator.deployment.conditions import Conditions
from simulator.worlds.virtual.clocks import VirtualClock
from simulator.worlds.virtual.network import SERVER_ADDRESS, MemoryNetwork, ShortWay
from simulator.worlds.virtual.network_faults import TroubledEnd
from simulator.worlds.virtual.redis import ADDRESS, VirtualRedis
from simulator.worlds.virtual.sandbox import VirtualSandboxes
from simulator.worlds.virtual.scheduling import JumpingClock
from simulator.worlds.virtual.server import SIGNING_KEY, STATE_FILE, VirtualServer, signing_key
from simulator.worlds.virtual.shard import VirtualShard
from simulator.worlds.virtual.tls_contexts import make_contexts
from simulator.worlds.world import World

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.deployment.identity_provider import IdentityProvider
PORT = 8080
STEADY_SECONDS = 1.0
"""The interval between looks at a steady fleet: each look ends a round of heartbeats."""
WAY, REDIS, TROUBLE = 7, 8, 9
"""The children of the seed's sequence for the network, Redis and network faults; the others are for the fleet."""


def seeded_token(seed: int) -> str:
    """Return the owner token of a run, which follows from the seed because it is part of what is signed and sent."""
    return SeededEntropy(f"token-{seed}").hex(48)


async def watch_nothing(*_what: Any, **_how: Any) -> None:
    """Do nothing, in place of watching the harness's health: in virtual time it is never late."""
    await trio.sleep_forever()


class VirtualWorld:
    """A clock, a network, and the servers that listen in it, with their settings as environment variables.

    `instances` form one deployment: several share all state through a Redis; a single one keeps its nonces there with
    `redis`, and its state on its disk with `durable`. With `tls` they speak TLS. All of `servers` must be run: the
    instances, and servers added beside them.

    Raises TargetError if a server cannot use its settings.
    """

    def __init__(
        self,
        seed: int,
        token: str,
        environ: Mapping[str, str],
        *,
        instances: int = 1,
        redis: bool = False,
        durable: bool = False,
        tls: bool = False,
    ) -> None:
        self.clock = JumpingClock()
        streams = np.random.SeedSequence(seed).spawn(REDIS + 1)
        network = self.network = MemoryNetwork(self.clock, *map(ShortWay, np.random.default_rng(streams[WAY]).spawn(2)))
        self._seed = seed
        self._environ = {**environ, "HATCHFARM_API_TOKEN": token}
        harness = VirtualClock(self.clock)
        self._ports = count(PORT)
        self.redis = VirtualRedis(self.clock, np.random.default_rng(streams[REDIS])) if redis else None
        settings = {"REDIS_ADDR": ADDRESS} if redis else {}
        if instances > 1:
            settings |= {"HATCHFARM_SHARED_STATE": "redis", "MACHINE_CERT_SIGNING_KEY_FILE": SIGNING_KEY}
        elif durable:
            settings["HATCHFARM_STATE_FILE"] = STATE_FILE
        contexts = make_contexts() if tls else None
        secure = None if contexts is None else contexts.server
        self.servers: list[VirtualServer] = []
        files = {SIGNING_KEY: signing_key(seed)} if instances > 1 else {}
        others = tuple(self._add(settings, redis=self.redis, files=files, tls=secure) for _ in range(instances))[1:]
        self.instances = (*self.servers,)
        """The instances of the deployment, in the numbering of faults."""
        self.conditions: list[Conditions] = []
        """The network conditions before each instance, once the network has faults."""
        self.server = self.servers[0]
        self._plain = Target(
            "http", SERVER_ADDRESS, PORT, SERVER_ADDRESS, token, own_addresses=True, network=network, others=others,
            settings_known=True,
        )  # fmt: skip
        self.target = self._plain if contexts is None else contexts.over(self._plain)
        sandboxes = VirtualSandboxes(self)
        make_shard = partial(VirtualShard, self.clock, network)
        self.world = World(harness, make_shard, watch_nothing, sandboxes, STEADY_SECONDS)

    def add_beside(self, settings: Mapping[str, str], provider: IdentityProvider | None = None) -> Target:
        """Add a server with these settings changed, for attacks that cannot be tried on the first.

        `provider` is its identity provider. As in a live run, it speaks plain HTTP even if the first speaks TLS.
        """
        return self.target_at(self._add(settings, provider=provider))

    def target_at(self, port: int) -> Target:
        """Return the plain HTTP server at a port as a target."""
        return msgspec.structs.replace(self._plain, port=port, others=())

    def trouble_network(self) -> None:
        """Put a network with faults before each instance."""
        generators = np.random.default_rng(np.random.SeedSequence(self._seed).spawn(TROUBLE + 1)[TROUBLE])
        for server, rng in zip(self.instances, generators.spawn(len(self.instances)), strict=True):
            conditions, port = Conditions(rng), server.port
            make = partial(TroubledEnd, network=self.network, conditions=conditions, port=port)
            self.network.make_ends[port] = partial(make, of_client=True), partial(make, of_client=False)
            self.conditions.append(conditions)

    def make_redis(self, *numbers: int) -> VirtualRedis:
        """Return a new virtual Redis; the numbers select its random draws."""
        return VirtualRedis(self.clock, np.random.default_rng((self._seed, REDIS, *numbers)))

    def make_server(self, environ: Mapping[str, str], **what: Any) -> VirtualServer:
        """Return a new server with this environment, at a port of its own; `what` is passed on.

        Raises SettingsError.
        """
        return VirtualServer(self.clock, self.network, next(self._ports), environ, self._seed, **what)

    def _add(self, settings: Mapping[str, str], **what: Any) -> int:
        try:
            server = self.make_server({**self._environ, **settings}, **what)
        except SettingsError as error:
            raise TargetError(f"the server cannot start: {error}") from None
        self.servers.append(server)
        return server.port
