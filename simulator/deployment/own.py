"""What a run starts for itself: a server, the folder its files are kept in, and the Redis it shares things through."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from simulator.deployment.certificate import OwnCertificate, make_certificate
from simulator.deployment.command_server import own_command
from simulator.deployment.conditions import Conditions
from simulator.deployment.network_proxy import HOST, NetworkProxy, network_before
from simulator.deployment.redis_process import RedisError, RedisProcess, own_redis
from simulator.deployment.server_clock import set_clock, with_clock
from simulator.deployment.server_process import ServerProcess, own_server
from simulator.scenario.values import CLOCK_FAULT, CRASH_FAULT, NETWORK_FAULTS, ServerOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from simulator.deployment.conditions import Recorder
    from simulator.platform.ending import Ending
    from simulator.scenario.values import FaultOptions, Scenario

STATE_FILE, KEY_FILE = "state.json", "signing.pem"


class Deployment(msgspec.Struct, frozen=True):
    """The processes of a run's own: one server or several instances, and perhaps a Redis."""

    servers: tuple[ServerProcess, ...]
    redis: RedisProcess | None = None
    certificate: OwnCertificate | None = None
    """By which they speak TLS; None where they speak plain HTTP."""
    network: tuple[NetworkProxy, ...] = ()
    """What stands before each server; nothing where the network has no faults."""
    clocks: tuple[Path, ...] = ()
    """The file that each server's clock goes by; nothing where clocks have no faults."""

    @property
    def trusted(self) -> str:
        """Return the certificate to trust them by, as PEM; nothing where they speak plain HTTP."""
        return "" if self.certificate is None else self.certificate.pem

    @property
    def server(self) -> ServerProcess:
        """Return the first instance, which scrapes read and URLs name."""
        return self.servers[0]

    @property
    def url(self) -> str:
        """Return where clients find the first instance."""
        scheme = self.server.url.partition("://")[0]
        return f"{scheme}://{HOST}:{self.network[0].port}" if self.network else self.server.url

    @property
    def other_ports(self) -> tuple[int, ...]:
        """Return the ports at which clients find the other instances."""
        if self.network:
            return tuple(proxy.port for proxy in self.network[1:])
        return tuple(port_at(server.url) for server in self.servers[1:])

    def record_copies(self, recorder: Recorder) -> None:
        """Have somebody told of the copies that the network makes."""
        for proxy in self.network:
            proxy.conditions.recorder = recorder

    async def begin(self, fault: FaultOptions) -> None:
        """Begin a scenario's fault. Raises ServerError."""
        if fault.kind in NETWORK_FAULTS:
            self.network[fault.instance].conditions.begin(fault)
        elif fault.kind == CLOCK_FAULT:
            set_clock(self.clocks[fault.instance], fault.by_ns, fault.drift_ppm)
        else:
            await begin(fault.kind, self, fault.instance)

    async def undo(self, fault: FaultOptions) -> None:
        """Undo a scenario's fault. Raises ServerError."""
        if fault.kind in NETWORK_FAULTS:
            self.network[fault.instance].conditions.end()
        elif fault.kind == CLOCK_FAULT:
            set_clock(self.clocks[fault.instance], 0)
        else:
            await undo(fault.kind, self, fault.instance)


def port_at(url: str) -> int:
    """Return the port of a server of the run's own."""
    return int(url.rpartition(":")[2])


class FaultActions(msgspec.Struct, frozen=True):
    """What is done to a deployment, or to one instance of it, for a fault to begin, and for it to be undone."""

    begin: Callable[[Deployment, int], Awaitable[None]]
    undo: Callable[[Deployment, int], Awaitable[None]]


async def _fill_disk(on: Deployment, at: int) -> None:
    on.servers[at].fill_disk(full=True)


async def _empty_disk(on: Deployment, at: int) -> None:
    on.servers[at].fill_disk(full=False)


async def _pause_redis(on: Deployment, _at: int) -> None:
    _redis_of(on).pause()


async def _resume_redis(on: Deployment, _at: int) -> None:
    _redis_of(on).resume()


async def _nothing(_on: Deployment, _at: int) -> None:
    pass


FAULT_ACTIONS = {
    "server.kill": FaultActions(lambda on, at: on.servers[at].kill(), lambda on, at: on.servers[at].start()),
    "server.restart": FaultActions(lambda on, at: on.servers[at].stop(), lambda on, at: on.servers[at].start()),
    "server.pause": FaultActions(lambda on, at: on.servers[at].pause(), lambda on, at: on.servers[at].resume()),
    "disk.full": FaultActions(_fill_disk, _empty_disk),
    "redis.down": FaultActions(lambda on, _at: _redis_of(on).kill(), lambda on, _at: _redis_of(on).start()),
    "redis.pause": FaultActions(_pause_redis, _resume_redis),
    "redis.flush": FaultActions(lambda on, _at: _redis_of(on).flush(), _nothing),
    "redis.crash": FaultActions(lambda on, _at: _redis_of(on).crash(), lambda on, _at: _redis_of(on).start()),
}
"""By a scenario's `kind`: one row for each of `scenario.values.FAULTS` that happens to a process."""


async def begin(kind: str, deployment: Deployment, instance: int = 0) -> None:
    """Begin a scenario's fault. Raises ServerError."""
    await FAULT_ACTIONS[kind].begin(deployment, instance)


async def undo(kind: str, deployment: Deployment, instance: int = 0) -> None:
    """Undo a scenario's fault. Raises ServerError."""
    await FAULT_ACTIONS[kind].undo(deployment, instance)


def _redis_of(deployment: Deployment) -> RedisProcess:
    if deployment.redis is None:
        raise RedisError("there is no Redis")
    return deployment.redis


def one_server(
    options: ServerOptions,
    settings: Mapping[str, str],
    token: str,
    not_inherited: Collection[str],
    trusted: str = "",
    clock: Path | None = None,
    ending: Ending | None = None,
) -> AbstractAsyncContextManager[ServerProcess]:
    """Return one server of the run's own to enter: the reference server, or the scenario's command in its place.

    Its wall clock goes by a file, if one is given. Once `ending` is given up, it is stopped without grace.
    """
    if options.command:
        return own_command(options, settings, token, not_inherited, trusted, ending=ending)
    command = () if clock is None else with_clock(clock)
    return own_server(settings, token, not_inherited, command, ending=ending)


@asynccontextmanager
async def side_server(
    options: ServerOptions,
    needed: Mapping[str, str],
    token: str,
    not_inherited: Collection[str],
    now: datetime,
    ending: Ending | None = None,
) -> AsyncIterator[ServerProcess]:
    """Start a server beside the run's, over plain HTTP, with the settings that an attack needs. Raises ServerError.

    A command has beside it what it has in the run, so that each of its placeholders stands for something.
    """
    kept = {"redis": options.redis, "durable": options.durable} if options.command else {}
    side = ServerOptions(
        settings={**options.settings, **needed}, command=options.command, env=options.env, health=options.health, **kept
    )
    async with own_deployment(side, token, not_inherited, now, ending=ending) as deployment:
        yield deployment.server


@asynccontextmanager
async def own_deployment(
    options: ServerOptions,
    token: str,
    not_inherited: Collection[str],
    now: datetime,
    faults: Sequence[FaultOptions] = (),
    ending: Ending | None = None,
) -> AsyncIterator[Deployment]:
    """Start what a scenario's `[server]` asks for, such that its faults can happen, and end it at the end.

    `not_inherited` are variables of this process's environment that are kept from the server. A certificate is good
    around `now`. Once `ending` is given up, servers are stopped without grace. Raises ServerError.
    """
    kinds = {fault.kind for fault in faults}
    clocks: tuple[Path, ...] = ()
    async with AsyncExitStack() as stack:
        settings = options.environ()
        redis = certificate = None
        if options.tls:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="hatchfarm-tls-")))
            certificate = make_certificate(folder, now)
            settings |= certificate.settings
        if options.redis:
            redis = await stack.enter_async_context(own_redis(syncs_always=CRASH_FAULT not in kinds))
            settings["REDIS_ADDR"] = redis.address
        if options.durable or options.instances > 1:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="hatchfarm-state-")))
            settings |= _shared(folder) if options.instances > 1 else {"HATCHFARM_STATE_FILE": str(folder / STATE_FILE)}
        if CLOCK_FAULT in kinds:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="hatchfarm-clocks-")))
            clocks = tuple(folder / f"server-{number}" for number in range(options.instances))
        trusted = "" if certificate is None else certificate.pem
        servers = [
            await stack.enter_async_context(one_server(options, settings, token, not_inherited, trusted, clock, ending))
            for clock in clocks or (None,) * options.instances
        ]
        yield Deployment(tuple(servers), redis, certificate, clocks=clocks)


@asynccontextmanager
async def own_network(deployment: Deployment, scenario: Scenario, seed: int) -> AsyncIterator[Deployment]:
    """Stand before each server where the scenario's network has faults, to the end."""
    if not any(fault.kind in NETWORK_FAULTS for fault in scenario.faults):
        yield deployment
        return
    async with AsyncExitStack() as stack:
        generators = np.random.default_rng(seed).spawn(len(deployment.servers))
        proxies = [
            await stack.enter_async_context(network_before(port_at(server.url), Conditions(rng)))
            for server, rng in zip(deployment.servers, generators, strict=True)
        ]
        yield msgspec.structs.replace(deployment, network=tuple(proxies))


def _shared(folder: Path) -> dict[str, str]:
    """Return the settings by which instances act as one, and make the key that they all sign with."""
    key = folder / KEY_FILE
    key.touch(mode=0o600)
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    key.write_bytes(pem)
    return {"HATCHFARM_SHARED_STATE": "redis", "MACHINE_CERT_SIGNING_KEY_FILE": str(key)}
