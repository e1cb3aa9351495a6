"""One connection to Redis, kept alive, over which nonces and rate limits are shared (contract §6).

Every wait is bounded, so that whoever asks can fail closed in time. What is asked goes out as one pipeline. When its
answer is lost, it is asked again over a new connection: so what is asked must bear being asked twice. A connection
that was given up is killed inside Redis before the next one is used, because bytes that lie unread in its socket would
else take effect later, after what was done about their loss. A Redis that stood still may read those bytes first: what
must not be done once nobody waits for it says until when it may be (`deadline_us`), by the clock of Redis.
"""

from __future__ import annotations

import hashlib
import logging
import math
from typing import TYPE_CHECKING, Any

import trio
from coredis.connection import TCPConnection, TCPLocation
from coredis.exceptions import RedisError, ResponseError

from reference_server.limits import REDIS_GRACE_TURNS, REDIS_TIME_SECONDS
from reference_server.ports import LinkBounds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from anyio.abc import TaskStatus

    Exchange = Callable[[Sequence["Command"]], Awaitable[list[Any]]]
    """Sends commands as one pipeline and returns their answers in order. Raises RedisDown when any failed."""

Command = tuple[bytes, tuple[str | bytes | int, ...]]
"""A command's name and its arguments."""

_log = logging.getLogger("hatchfarm")


class RedisDown(Exception):  # noqa: N818 - a state of the world, not a mistake
    """Redis did not do in time what it was asked, or said why not. `sent` when it may have done it all the same."""

    def __init__(self, reason: str, *, sent: bool = False) -> None:
        super().__init__(reason)
        self.sent = sent


class RedisRefused(RedisDown):
    """Redis answered with an error."""


class Script:
    """A Lua script, called by its digest (the link loads it into Redis each time it connects)."""

    def __init__(self, text: str) -> None:
        self.text = text
        # Redis names scripts by their SHA-1.
        self.digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def call(self, keys: Sequence[str], arguments: Sequence[str | bytes | int]) -> Command:
        """Make the command that runs it."""
        return b"EVALSHA", (self.digest, len(keys), *keys, *arguments)


class RedisTime:
    """How far the wall clock of Redis is ahead of this process's clock, as what it was asked bounds it.

    A time that Redis tells was its time somewhere between asking and the answer. `ahead_us` is the least that fits all
    of them; where one contradicts it, Redis's clock was set, and only that one counts.
    """

    def __init__(self) -> None:
        self.ahead_us = -(1 << 62)

    def learn(self, asked_us: int, answered_us: int, time_us: int) -> None:
        """Take a time of Redis, in Unix microseconds, that was asked for and answered at two moments of this clock."""
        least_us, most_us = time_us - answered_us, time_us - asked_us
        self.ahead_us = least_us if self.ahead_us > most_us else max(self.ahead_us, least_us)


class _Connection(TCPConnection):
    """A connection that leaves nothing open: coredis forgets its buffers when it cannot connect."""

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Connect, and serve what is asked until the connection ends. Raises when it cannot connect."""
        try:
            await super().run(task_status=task_status)
        finally:
            for stream in (
                self._write_buffer_in,
                self._write_buffer_out,
                self._push_message_buffer_in,
                self._push_message_buffer_out,
                self._streamed_message_buffer_in,
                self._streamed_message_buffer_out,
            ):
                stream.close()


class RedisLink:
    """Keeps one connection to the Redis at `host`:`port`. `run` is its background task.

    `scripts` are loaded, and each of `greetings` has its exchange, before a new connection is used for anything else;
    one that raises RedisDown refuses the connection. `bounds` says how long anything is waited for.
    """

    def __init__(
        self,
        host: str,
        port: int,
        password: str,
        scripts: Sequence[Script],
        bounds: LinkBounds = LinkBounds(),  # noqa: B008 - frozen
    ) -> None:
        self._location = TCPLocation(host, port)
        self._password = password or None
        self._scripts = scripts
        self._bounds = bounds
        self.greetings: list[Callable[[Exchange], Awaitable[None]]] = []
        self._connection: TCPConnection | None = None
        self._exchanges = 0
        self._time = RedisTime()
        self._time_asked = -math.inf
        self._process = b""
        self._given_up: list[tuple[bytes, int]] = []
        self._down = False
        self._down_reason = ""
        self._changed = trio.Event()

    @property
    def up(self) -> bool:
        """Return whether there is a connection that was greeted and has not failed since."""
        return self._connection is not None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the connection, until cancelled. Counts as started after the first attempt, whatever came of it."""
        # It reports each failed attempt with a traceback; this link says once that Redis is down, and why.
        logging.getLogger("coredis").setLevel(logging.CRITICAL)
        started = False
        async with trio.open_nursery() as nursery:
            while True:
                try:
                    connection, ended = await self._connect(nursery)
                except RedisDown as error:
                    self._note_down(str(error))
                    ended = None
                else:
                    self._note_up(connection)
                if not started:
                    started = True
                    task_status.started()
                began = trio.current_time()
                if ended is not None:
                    await ended.wait()
                pause_seconds = self._bounds.reconnect_pause_seconds
                if trio.current_time() - began < pause_seconds:
                    await trio.sleep(pause_seconds)

    async def ask(self, commands: Sequence[Command], within: float = math.inf) -> list[Any]:
        """Send commands as one pipeline, and return their answers in order, within `wait_seconds`, or `within`, in all.

        Raises:
            RedisDown: when there is no connection, no answer in time, or an error among the answers.
        """
        sent = False
        reason = "no connection in time"
        deadline = self._deadline(within)
        while (left_seconds := deadline - trio.current_time()) > 0:
            connection = await self._usable(left_seconds)
            if connection is None:
                break
            sent = True
            left_seconds = max(0, deadline - trio.current_time())
            try:
                return await self._exchange(connection, commands, min(self._bounds.attempt_seconds, left_seconds))
            except RedisDown as error:
                reason = str(error)
                self._give_up(connection)
        if self._down:
            reason = self._down_reason
        elif self._connection is None:
            self._note_down(reason)
        raise RedisDown(reason, sent=sent)

    def deadline_us(self, within: float = math.inf) -> int:
        """Return until when, by the clock of Redis, what is asked now is waited for; in Unix microseconds.

        A little earlier where that is not known exactly, and long ago before Redis has ever been asked.
        """
        return self._time.ahead_us + int(self._deadline(within) * 1e6)

    def _deadline(self, within: float) -> float:
        return trio.current_time() + min(self._bounds.wait_seconds, within)

    async def _usable(self, seconds: float) -> TCPConnection | None:
        """Wait for a connection that is being made; not for one that could not be made."""
        with trio.move_on_after(seconds):
            while self._connection is None and not self._down:
                await self._changed.wait()
        return self._connection

    def renew(self) -> None:
        """Close the connection, if there is one, and open another."""
        if self._connection is not None:
            self._give_up(self._connection)

    def _note_down(self, reason: str) -> None:
        if not self._down:
            _log.warning("Redis at %s is down: %s", self._location, reason)
        self._down_reason = reason
        self._down = True
        self._change()

    def _note_up(self, connection: TCPConnection) -> None:
        if self._down:
            _log.warning("Redis at %s is back", self._location)
        self._down = False
        self._connection = connection
        self._change()

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def _give_up(self, connection: TCPConnection) -> None:
        """Close a connection whose answers can no longer be trusted to come."""
        if self._connection is connection:
            self._connection = None
            if connection.client_id is not None:
                self._given_up.append((self._process, connection.client_id))
        connection.invalidate()

    async def _connect(self, nursery: trio.Nursery) -> tuple[TCPConnection, trio.Event]:
        """Connect and greet. Returns the connection, and the event of its end."""
        connection = _Connection(self._location, password=self._password)
        ended = trio.Event()

        async def live(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            try:
                await connection.run(task_status=task_status)
            finally:
                ended.set()
                if self._connection is connection:
                    self._give_up(connection)

        try:
            with trio.fail_after(self._bounds.connect_seconds):
                await nursery.start(live)
        except Exception as error:  # noqa: BLE001 - whatever listens there may answer anything
            raise RedisDown(_describe(error)) from None
        try:
            await self._greet(connection)
        except RedisDown:
            self._give_up(connection)
            raise
        return connection, ended

    async def _greet(self, connection: TCPConnection) -> None:
        async def exchange(commands: Sequence[Command]) -> list[Any]:
            return await self._exchange(connection, commands, self._bounds.connect_seconds)

        loads: list[Command] = [(b"SCRIPT LOAD", (script.text,)) for script in self._scripts]
        server, *_ = await exchange([(b"INFO", ("server",)), *loads])
        self._process = bytes(server).partition(b"run_id:")[2].partition(b"\r")[0]
        # Another process gives the same numbers to other connections; with the old one, its own ended.
        self._given_up = [(process, number) for process, number in self._given_up if process == self._process]
        if self._given_up:
            await exchange([(b"CLIENT KILL", (b"ID", number)) for _, number in self._given_up])
            self._given_up.clear()
        for greeting in self.greetings:
            await greeting(exchange)

    async def _exchange(self, connection: TCPConnection, commands: Sequence[Command], seconds: float) -> list[Any]:
        """Send a pipeline that ends in an echo of its own: what went missing on the way must not shift the answers."""
        self._exchanges += 1
        token = b"%d" % self._exchanges
        try:
            requests = [connection.create_request(name, *arguments) for name, arguments in commands]
            asked = trio.current_time()
            time = connection.create_request(b"TIME") if asked >= self._time_asked + REDIS_TIME_SECONDS else None
            last = connection.create_request(b"ECHO", token)
            with trio.move_on_after(seconds):
                await last
            for _ in range(REDIS_GRACE_TURNS):
                # Where this process was too busy to read an answer, Redis was not too slow to give it.
                if last.complete:
                    break
                await trio.lowlevel.checkpoint()
            if not last.complete:
                raise RedisDown("no answer in time")
            if await last != token:
                raise RedisDown("answers to something else")
            if time is not None:
                answer: Any = await time
                whole, micros = map(int, answer)
                self._time_asked = asked
                self._time.learn(int(asked * 1e6), int(trio.current_time() * 1e6), whole * 1_000_000 + micros)
            return [await request for request in requests]
        except ResponseError as error:
            raise RedisRefused(_describe(error)) from None
        except (RedisError, OSError) as error:
            raise RedisDown(_describe(error)) from None


def _describe(error: BaseException) -> str:
    """Name an error, with the words of Redis or of the system: those hold nothing that was sent."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error.__cause__ or error}"
