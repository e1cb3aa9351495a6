"""The server in a virtual world: composed like the real one, on the world's clock, network and seed."""

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
"""The least and the greatest time of a start, which Python needs to load its modules."""
STATE_FILE = "/state.json"
"""The state file on a server's own disk in memory."""
SIGNING_KEY = "/signing.pem"
"""The file with the common signing key of instances with shared state."""


def signing_key(seed: int) -> bytes:
    """Return the common signing key of a world's instances, as PEM."""
    return CertificateSigner.from_seed(bytes.fromhex(SeededEntropy(f"signing-{seed}").hex(64))).pem()


class _Process:
    """One process of a server: everything it has in memory, from a start to its end."""

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
        """Connections that came while it was paused."""
        self._life, self._serving = trio.CancelScope(), trio.CancelScope()
        self.over = False
        """Whether it has ended."""
        self._root: trio.lowlevel.Task | None = None
        self._frozen: Frozen | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until the process is stopped or killed."""
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
            if not self.over:  # otherwise a killed process noticed that disk and network are gone
                raise

    async def _serve(self) -> None:
        with self._serving:
            await self._lane.run(())

    def welcome(self, end: End) -> None:
        """Accept a connection; while the process is paused or starting, the connection waits as in a backlog."""
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
        """Pause the process: incoming bytes wait, as in a kernel."""
        done = trio.Event()

        def freeze() -> None:  # as an event, so that all tasks of the process wait
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
        """Shut down gracefully, as `serve_until` does: pending requests are answered, and changes are stored."""
        self._serving.cancel()
        await (self._tls or self._lane).finish(trio.current_time() + self._settings.shutdown_grace_seconds)
        await self._resolver.stop()

    def kill(self) -> None:
        """Kill the process. Its connections are closed as by a kernel: with a reset if bytes are unread."""
        self.over = True
        self._lane.end()
        if self._tls is not None:
            self._tls.end()
        for end in (*self._backlog, *self._knocked):
            end.close()
        self._life.cancel()


class VirtualServer:
    """A server that listens at a port of a network, and can end and start again.

    `files` are on its disk at the first start; `provider` is the identity provider. Raises SettingsError for unusable
    settings.
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
        # Importing an HTTP client takes a third of a second, which worlds without logins should not pay.
        from simulator.worlds.virtual.vouching import VouchingTransport  # noqa: PLC0415 - see above

        return VouchingTransport(self._provider, self._rng)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled, in one process after another."""
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
        """Start again from the stored state, unless the run ended before the server was down. Raises ServerError."""
        if not self._process.over:
            return
        await trio.sleep(self._rng.uniform(*START_SECONDS))
        try:
            self._process = self._make()
        except SettingsError as error:
            raise ServerError(f"the server did not start: {error}") from None
        await self._begin()

    async def stop(self) -> None:
        """Shut down gracefully."""
        self._network.close_port(self.port)
        try:
            await self._process.stop()
        finally:
            self._process.kill()
            self._cut_off()

    async def pause(self) -> None:
        """Pause the server, as by SIGSTOP."""
        await self._until_busy()
        await self._process.pause()

    def resume(self) -> None:
        """Resume after a pause; do nothing without one."""
        self._process.resume()

    async def kill(self) -> None:
        """Kill the server and cut its machine's power: unsynced data may be lost."""
        try:
            await self._until_busy()
        finally:  # even if cancelled here, the caller starts it again, as after any kill
            self._network.close_port(self.port)
            self._cut_off()
            self.disk.fail()
            self._process.kill()

    def end(self) -> None:
        """End the server at once and permanently."""
        self._process.resume()  # a paused process would never end
        self._network.close_port(self.port)
        self._process.kill()
        self._cut_off()

    async def _until_busy(self) -> None:
        """Wait, half of the time, until the server waits for disk or Redis."""
        asks = self._redis is not None or self._environ.get("HATCHFARM_STATE_FILE")
        if asks and self._rng.random() < BUSY_SHARE:
            await self._moments.wait(int(self._rng.integers(1, BUSY_MOMENTS + 1)), BUSY_SECONDS)

    def _cut_off(self) -> None:
        """Cut the process's remaining tasks off from disk, Redis and network."""
        self._mount.cut_off()
        if self._client is not None:
            self._client.cut_off()
