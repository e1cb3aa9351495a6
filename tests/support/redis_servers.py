"""Real Redis processes for tests, and a connection to one that loses answers on demand."""

from __future__ import annotations

import signal
import subprocess
from contextlib import asynccontextmanager, suppress
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

import trio

from tests.support.ports import free_port
from tests.support.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

START_SECONDS = 60.0
POLL_SECONDS = 0.01
MEMORY_ONLY = ("--save", "", "--appendonly", "no")
EVERY_WRITE = ("--save", "", "--appendonly", "yes", "--appendfsync", "always")
EVERY_SECOND = ("--save", "", "--appendonly", "yes", "--appendfsync", "everysec")


class RedisServer:
    """A redis-server of the test's own, which may be killed, stopped where it stands, and started again."""

    def __init__(self, folder: str, options: tuple[str, ...]) -> None:
        self._folder = folder
        self._options = options
        self._process: trio.Process | None = None
        self.port = free_port()

    async def start(self, *options: str) -> None:
        """Start it on its port, and wait until it has loaded what it kept."""
        given = options or self._options
        where = ("--bind", "127.0.0.1", "--port", str(self.port), "--dir", self._folder)
        self._process = await trio.lowlevel.open_process(
            ["redis-server", *where, *given], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        with trio.fail_after(START_SECONDS):
            while await self.says("PING") != "PONG":
                assert self._process.poll() is None, "redis-server ended at once"
                await trio.sleep(POLL_SECONDS)

    async def says(self, *command: str) -> str:
        """Return it a command as `redis-cli` does; its words, without the line end."""
        done = await trio.run_process(
            ["redis-cli", "-p", str(self.port), *command],
            capture_stdout=True,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        return done.stdout.decode().strip()

    async def has_written(self) -> None:
        """Wait until it has given its file all that it was told: while a disk syncs slowly it keeps some for later."""
        with trio.fail_after(PATIENCE_SECONDS):
            while "aof_buffer_length:0\r" not in f"{await self.says('INFO', 'persistence')}\r":  # noqa: ASYNC110
                await trio.sleep(POLL_SECONDS)

    async def kill(self) -> None:
        """End it as `kill -9` does."""
        if self._process is not None:
            self._process.kill()
            await self._process.wait()

    def pause(self) -> None:
        """Stop it where it stands: its connections stay open, and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Have it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@asynccontextmanager
async def redis_server(*options: str) -> AsyncIterator[RedisServer]:
    """Start a Redis with a folder of its own; MEMORY_ONLY unless options are given."""
    with TemporaryDirectory(prefix="hatchfarm-test-redis-") as folder:
        server = RedisServer(folder, options or MEMORY_ONLY)
        try:
            await server.start()
            yield server
        finally:
            with trio.CancelScope(shield=True):
                await server.kill()


class _Held(NamedTuple):
    """What is held back from Redis, and the event of the client's leaving that sent it."""

    redis: trio.SocketStream
    data: bytes
    left: trio.Event


class Proxy:
    """Stands between a client and Redis, and loses or delays what passes.

    `swallow` keeps back that many answers, from the next on, and `cut` ends that many connections where an answer was
    due: what was asked took effect. `lose` keeps back the answer to the next request with those bytes. `refuse` ends
    the connection on which the next request with those bytes comes, and does not pass it on. While `hold` is set
    requests are kept; `let_go` passes them on, whoever still waits for them.
    """

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._held: list[_Held] = []
        self.port = 0
        self.swallow = 0
        self.cut = 0
        self.swallowed = 0
        self.refuse = b""
        self.lose = b""
        self.hold = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._pass_on, [listener])

    @property
    def holds(self) -> bool:
        """Return whether anything is held."""
        return bool(self._held)

    async def let_go(self) -> None:
        """Pass on what was held, once whoever sent the first has left, and wait until Redis has read that or closed."""
        await self._held[0].left.wait()
        self.hold = False
        while self._held:
            one = self._held.pop(0)
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await one.redis.send_all(one.data)
                if one.left.is_set():
                    await one.redis.receive_some()
                    await one.redis.aclose()

    async def _pass_on(self, client: trio.SocketStream) -> None:
        try:
            redis = await trio.open_tcp_stream("127.0.0.1", self._to_port)
        except OSError:
            await client.aclose()
            return
        left = trio.Event()
        loses = False

        async def answers(ended: trio.CancelScope) -> None:
            nonlocal loses
            async for part in redis:
                if self.cut:
                    self.cut -= 1
                    break
                if self.swallow or loses:
                    self.swallow -= not loses
                    self.swallowed += 1
                    loses = False
                else:
                    await client.send_all(part)
            ended.cancel()

        try:
            async with client, trio.open_nursery() as both:
                both.start_soon(answers, both.cancel_scope)
                with suppress(trio.BrokenResourceError):
                    async for part in client:
                        if self.refuse and self.refuse in part:
                            self.refuse = b""
                            break
                        if self.lose and self.lose in part:
                            self.lose, loses = b"", True
                        if self.hold:
                            self._held.append(_Held(redis, bytes(part), left))
                        else:
                            await redis.send_all(part)
                both.cancel_scope.cancel()
        finally:
            left.set()
            if all(one.redis is not redis for one in self._held):
                await redis.aclose()


@asynccontextmanager
async def proxy_to(server: RedisServer) -> AsyncIterator[Proxy]:
    """Stand between a client and this Redis."""
    proxy = Proxy(server.port)
    async with trio.open_nursery() as nursery:
        await nursery.start(proxy.run)
        yield proxy
        nursery.cancel_scope.cancel()
