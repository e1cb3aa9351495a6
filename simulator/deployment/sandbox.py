"""What an attack has to itself: servers of its own attempt, a Redis perhaps, and hands that let them fail."""

from __future__ import annotations

import os
import shutil
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from simulator.client.target import Target, parse_target
from simulator.deployment.command_server import own_command
from simulator.deployment.own import STATE_FILE, Deployment, begin, undo
from simulator.deployment.redis_process import PROGRAM, RedisProcess, own_redis
from simulator.deployment.server_clock import set_clock, with_clock
from simulator.deployment.server_process import own_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from simulator.attacks.script import SandboxOptions
    from simulator.deployment.server_process import ServerProcess
    from simulator.deployment.server_watch import ServerWatch
    from simulator.platform.ending import Ending
    from simulator.scenario.values import ServerOptions

INHERITED = frozenset({"HOME", "LANG", "LC_ALL", "PATH", "PYTHONPATH", "TMPDIR", "VIRTUAL_ENV"})
"""All that a sandbox's server has of this process's environment: no setting, so that all are the sandbox's own."""

OF_SERVERS = (
    "AGENT_REGISTRATION", "ALLOWED_ORIGINS", "APPLE_", "AUDIT_", "FORUM_", "GITHUB_API_URL", "GITHUB_AUTHORIZATION_",
    "GITHUB_CLIENT_", "GITHUB_ISSUER", "GITHUB_TOKEN_URL", "GOOGLE_", "HATCHFARM_", "HEARTBEAT_", "HOST", "HTTP_BODY_",
    "HTTP_HEADER_", "HTTP_IDLE_", "HTTP_UNPROVEN_", "HTTP_WAITING_", "JOB_QUEUE_", "MACHINE_CERT_", "METRICS_PUBLIC",
    "MOLTBOOK_", "PAYOUT_", "PLATFORM_FEE_", "PORT", "PRICE_", "PROXY_PROTOCOL", "PUBLIC_URL", "RATE_LIMIT_", "REDIS_",
    "REQUIRE_HTTPS", "SESSION_TTL_", "SHUTDOWN_GRACE_", "TLS_", "TRUSTED_PROXIES", "TRUST_PROXY_HEADERS", "WALLET_",
    "WITHDRAWAL", "WORKER_",
)  # fmt: skip
"""How settings of servers begin, none of which a sandbox's command has from here. What else it needs nobody knows."""


def obstacle_to(wanted: SandboxOptions, options: ServerOptions, *, allowed: bool) -> str:
    """Return why a sandbox cannot be made; nothing when it can. `allowed` says that the run's target is its own server.

    Of a command it is only known to be able to do what the scenario's `[server]` has it do.
    """
    if not allowed:
        return "it needs servers of the run's own, which it kills, stops or cuts off"
    if options.command and (missing := _missing(wanted, options)):
        return missing
    if wanted.redis and shutil.which(PROGRAM) is None:
        return f"it needs {PROGRAM} on the PATH (Debian's package is called redis-server)"
    return ""


def _missing(wanted: SandboxOptions, options: ServerOptions) -> str:
    """Return what is not known of a scenario's command that an attack needs; nothing where it is."""
    if wanted.clock:
        return "it sets the clock of the servers that it starts, which it cannot do to the scenario's command"
    if options.tls:
        return "the servers that it starts are asked over plain HTTP, and the scenario's command is told to speak TLS"
    if wanted.redis and not options.redis:
        return "it needs a command that keeps its nonces in Redis, which `redis = true` in [server] says"
    if wanted.durable and not options.durable:
        return "it needs a command that keeps its state, which `durable = true` in [server] says"
    return ""


class Sandbox:
    """The processes behind one attempt (`worlds.world.Sandbox`). Instances keep their state in folders of their own."""

    def __init__(
        self,
        wanted: SandboxOptions,
        options: ServerOptions,
        token: str,
        folder: Path,
        stack: AsyncExitStack,
        watch: ServerWatch,
        ending: Ending,
    ) -> None:
        self._wanted = wanted
        self._watch = watch
        self._ending = ending
        self._options = options
        self._token = token
        # What a command has in the run it has here, so that each of its placeholders stands for something.
        self._settings = {**(options.environ() if options.command else {}), **wanted.settings}
        self._redis_wanted = wanted.redis or (options.redis and bool(options.command))
        self._durable = wanted.durable or (options.durable and bool(options.command))
        self._folder = folder
        self._stack = stack
        self._redis: RedisProcess | None = None
        self._servers: list[ServerProcess] = []
        self._targets: list[Target] = []
        self._clock_ns = 0

    async def start(self) -> None:
        """Start Redis and the first instance. Raises ServerError."""
        if self._redis_wanted:
            self._redis = await self._stack.enter_async_context(own_redis())
            self._settings["REDIS_ADDR"] = self._redis.address
            self._watch.add_redis(self._redis)
        await self._start_instance()

    def target(self, instance: int) -> Target:
        """Return an instance as a target."""
        return self._targets[instance]

    def _state(self, instance: int) -> Path:
        return self._folder / f"instance-{instance}"

    async def _start_instance(self) -> None:
        settings = dict(self._settings)
        folder = self._state(len(self._servers))
        if self._durable:
            folder.mkdir(exist_ok=True)
            settings["HATCHFARM_STATE_FILE"] = str(folder / STATE_FILE)
        hidden = os.environ.keys() - INHERITED
        if self._wanted.clock:
            making = own_server(settings, self._token, hidden, with_clock(self._clock_file), ending=self._ending)
        elif self._options.command:
            others = [name for name in os.environ if name.startswith(OF_SERVERS)]
            making = own_command(self._options, settings, self._token, others, ending=self._ending)
        else:
            making = own_server(settings, self._token, hidden, ending=self._ending)
        server = await self._stack.enter_async_context(making)
        self._servers.append(server)
        self._watch.add(server)
        self._targets.append(parse_target(server.url, self._token))

    async def begin_fault(self, kind: str, instance: int) -> None:
        """Begin a fault. Raises ServerError."""
        await begin(kind, Deployment(tuple(self._servers), self._redis), instance)

    async def end_fault(self, kind: str, instance: int) -> None:
        """End a fault. Raises ServerError."""
        await undo(kind, Deployment(tuple(self._servers), self._redis), instance)

    async def start_other_instances(self) -> None:
        """Start the other instances from what the first has kept. Raises ServerError."""
        first = self._servers[0]
        await first.stop()
        for instance in range(1, self._wanted.instances):
            shutil.copytree(self._state(0), self._state(instance))
            await self._start_instance()
        await first.start()

    @property
    def _clock_file(self) -> Path:
        return self._folder / "clock"

    def step_clock(self, by_ns: int) -> None:
        """Set the servers' wall clock ahead, or with a minus back."""
        self._clock_ns += by_ns
        set_clock(self._clock_file, self._clock_ns)


@asynccontextmanager
async def open_sandbox(
    wanted: SandboxOptions, options: ServerOptions, token: str, watch: ServerWatch, ending: Ending
) -> AsyncIterator[Sandbox]:
    """Start what an attempt needs, of a scenario's command if it has one, and end it at the end. Raises ServerError.

    Its servers are watched; who plays looks. Once `ending` is given up, they are stopped without grace.
    """
    with TemporaryDirectory(prefix="hatchfarm-sandbox-") as folder:
        async with AsyncExitStack() as stack:
            sandbox = Sandbox(wanted, options, token, Path(folder), stack, watch, ending)
            await sandbox.start()
            yield sandbox
