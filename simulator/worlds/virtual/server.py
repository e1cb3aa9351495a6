"""The server in a virtual world: composed as the real one is, on the world's clock, network and seed."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import trio
from msgspec.structs import replace

from reference_server.adapters.memory.entropy import SeededEntropy
from reference_server.app import make_api
from reference_server.http.accepting import FULL_PAUSE_SECONDS
from reference_server.http.admission import Admission
from reference_server.limits import CONNECTIONS_MAX
from reference_server.outside import Outside
from reference_server.pipeline.resolving import Resolver
from reference_server.settings import SettingsError
from reference_server.wire.signing import CertificateSigner
from reference_server.wire.units import SECOND_NS
from simulator.deployment.server_process import ServerError
from simulator.worlds.virtual.clocks import ServerClock, VirtualClock
from simulator.worlds.virtual.disk import Mount, VirtualDisk
from simulator.worlds.virtual.lane import EventLane
from simulator.worlds.virtual.moments import BUSY_MOMENTS, BUSY_SECONDS, BUSY_SHARE, Moments
from simulator.worlds.virtual.scheduling import Frozen
from simulator.worlds.virtual.tls_front import TlsFront

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ssl import SSLContext

    from reference_server.operations.api import Api
    from simulator.deployment.identity_provider import IdentityProvider
    from simulator.worlds.virtual.network import End, MemoryNetwork
    from simulator.worlds.virtual.redis import RedisClient, VirtualRedis
    from simulator.worlds.virtual.scheduling import JumpingClock
    from simulator.worlds.virtual.vouching import VouchingTransport

START_SECONDS = (0.1, 0.5)
"""How long a start takes, at least and at most: what Python and its modules take to load."""
STATE_FILE = "/state.json"
"""On a server's own disk in memory."""
SIGNING_KEY = "/signing.pem"
"""Where instances that act as one have the key that they all sign with."""


def signing_key(seed: int) -> bytes:
    """Return the key that all instances of a world sign with, as PEM."""
    return CertificateSigner.from_seed(bytes.fromhex(SeededEntropy(f"signing-{seed}").hex(64))).pem()


class _Process:
    """One life of a server: all that it has in memory, from a start to its end."""

    def __init__(self, events: JumpingClock, clock: VirtualClock, api: Api, tls: SSLContext | None) -> None:
        self._events = events
        self._settings = api.settings
        self._resolver = Resolver(api, clock)
        self._admission = Admission(
            CONNECTIONS_MAX, api.settings.unproven_connections_per_address, api.settings.waiting_bytes_max
        )
        self._lane = EventLane(api, events, clock, self._admission, self._resolver)
        self._tls = None if tls is None else TlsFront(self._lane, self._admission, api, clock, self._resolver, tls)
        self._backlog: dict[End, None] = {}
        self._knocked: list[End] = []
        """Who came while it stood still."""
        self._life, self._serving = trio.CancelScope(), trio.CancelScope()
        self.over = False
        """Whether it has ended."""
        self._root: trio.lowlevel.Task | None = None
        self._frozen: Frozen | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until it is stopped or killed."""
        self._root = trio.lowlevel.current_task()
        try:
            with self._life:
                async with trio.open_nursery() as nursery:
                    await nursery.start(self._resolver.run)
                    if self._tls is not None:
                        await nursery.start(self._tls.run)
                    nursery.start_soon(self._serve)
                    task_status.started()
        except Exception:
            if not self.over:  # else what is left of it has found that nothing is outside any more
                raise

    async def _serve(self) -> None:
        with self._serving:
            await self._lane.run(())

    def welcome(self, end: End) -> None:
        """Take a connection; while nobody may come in it waits, as in a backlog."""
        if self.over:
            end.close()
        elif self._frozen is not None:
            self._knocked.append(end)
        elif self._admission.full:
            self._backlog[end] = None
            self._events.at(self._events.now_ns + int(FULL_PAUSE_SECONDS * SECOND_NS), self.welcome, end)
        else:
            self._backlog.pop(end, None)
            (self._tls or self._lane).take(end)

    async def pause(self) -> None:
        """Stand still: what comes waits in the kernel."""
        done = trio.Event()

        def freeze() -> None:  # as an event: then all its tasks wait
            if self._root is not None and not self.over:
                self._frozen = Frozen(self._root)
                self._lane.pause(paused=True)
            done.set()

        self._events.at(self._events.now_ns, freeze)
        await done.wait()

    def resume(self) -> None:
        """Go on."""
        frozen, self._frozen = self._frozen, None
        if frozen is not None:
            frozen.thaw()
            self._lane.pause(paused=False)
            knocked, self._knocked = self._knocked, []
            for end in knocked:
                self.welcome(end)

    async def stop(self) -> None:
        """End in order, as `serve_until` does: what is under way is answered, and what was changed is kept."""
        self._serving.cancel()
        await (self._tls or self._lane).finish(trio.current_time() + self._settings.shutdown_grace_seconds)
        await self._resolver.stop()

    def kill(self) -> None:
        """End here and now. Its connections are closed as a kernel does it: by a reset where something is unread."""
        self.over = True
        self._lane.end()
        if self._tls is not None:
            self._tls.end()
        for end in (*self._backlog, *self._knocked):
            end.close()
        self._life.cancel()


class VirtualServer:
    """One server, listening at a port of a network, which may end and start again.

    `files` are on its disk from the beginning; `provider` says who people and agents are. Raises SettingsError for
    settings that it cannot use.
    """

    def __init__(
        self,
        clock: JumpingClock,
        network: MemoryNetwork,
        port: int,
        environ: Mapping[str, str],
        seed: int,
        redis: VirtualRedis | None = None,
        *,
        tls: SSLContext | None = None,
        files: Mapping[str, bytes] = MappingProxyType({}),
        provider: IdentityProvider | None = None,
    ) -> None:
        self.clock = ServerClock(clock)
        self._redis = redis
        self._tls = tls
        self._events = clock
        self._network = network
        self.port = port
        self._environ = environ
        self._seed = seed
        self._rng = np.random.default_rng((seed, port))
        self._moments = Moments()
        self.disk = VirtualDisk(self._rng, self._moments)
        for path, content in files.items():
            self.disk.put(path, content)
        self._provider = provider
        self._mount = Mount(self.disk)
        self._client: RedisClient | None = None
        self._incarnations = 0
        self._nursery: trio.Nursery | None = None
        self._process = self._make()

    def _make(self) -> _Process:
        """Make the next process. Raises SettingsError."""
        name = f"server-{self.port}-{self._seed}"
        entropy = SeededEntropy(f"{name}-{self._incarnations}" if self._incarnations else name)
        self._incarnations += 1
        self._mount = Mount(self.disk)
        outside = Outside(self._mount, make_transport=self._make_transport)
        if self._redis is not None:
            self._client = self._redis.connect(f"{name}-{self._incarnations}", self._moments)
            outside = replace(outside, share=self._client.share, share_state=self._client.share_state)
        api = make_api(self._environ, entropy, self.clock, outside=outside)
        return _Process(self._events, self.clock, api, self._tls)

    def _make_transport(self) -> VouchingTransport:
        # Importing an HTTP client takes a third of a second, which no world without logins should wait for.
        from simulator.worlds.virtual.vouching import VouchingTransport  # noqa: PLC0415 - see above

        return VouchingTransport(self._provider, self._rng)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled, in one process after the other."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await self._begin()
            task_status.started()
            await trio.sleep_forever()

    async def _begin(self) -> None:
        if self._nursery is None:
            raise ServerError("the server was never started")
        await self._nursery.start(self._process.run)
        self._network.listen(self.port, self._welcome)

    def _welcome(self, end: End) -> None:
        self._process.welcome(end)

    async def start(self) -> None:
        """Start again, from what it has kept, unless the run ended before it was down. Raises ServerError."""
        if not self._process.over:
            return
        await trio.sleep(self._rng.uniform(*START_SECONDS))
        try:
            self._process = self._make()
        except SettingsError as error:
            raise ServerError(f"the server did not start: {error}") from None
        await self._begin()

    async def stop(self) -> None:
        """End it in order."""
        self._network.close_port(self.port)
        try:
            await self._process.stop()
        finally:
            self._process.kill()
            self._cut_off()

    async def pause(self) -> None:
        """Stop it where it stands."""
        await self._until_busy()
        await self._process.pause()

    def resume(self) -> None:
        """Continue it after a pause; nothing to do without one."""
        self._process.resume()

    async def kill(self) -> None:
        """End it in the middle of whatever it does, and its machine with it: what was not synced may be gone."""
        try:
            await self._until_busy()
        finally:  # whoever is kept from waiting starts it again, as after any kill
            self._network.close_port(self.port)
            self._cut_off()
            self.disk.fail()
            self._process.kill()

    def end(self) -> None:
        """End it here and now, for good."""
        self._process.resume()  # what stands still would never end
        self._network.close_port(self.port)
        self._process.kill()
        self._cut_off()

    async def _until_busy(self) -> None:
        """Wait, as often as not, until it waits for what is outside."""
        asks = self._redis is not None or self._environ.get("HATCHFARM_STATE_FILE")
        if asks and self._rng.random() < BUSY_SHARE:
            await self._moments.wait(int(self._rng.integers(1, BUSY_MOMENTS + 1)), BUSY_SECONDS)

    def _cut_off(self) -> None:
        """Keep what is left of the process from reaching anything outside of it."""
        self._mount.cut_off()
        if self._client is not None:
            self._client.cut_off()
