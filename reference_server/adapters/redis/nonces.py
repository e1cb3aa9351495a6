"""Nonces that several instances share through Redis (contract §4 and §6).

A script reserves all nonces of a batch that wait at the moment, in one round trip, and checks in the same step that
Redis still holds what it was given before: `nonces.lua` says how. Where it does not, nobody can tell whether a
nonce is unseen, and heartbeats get 503 until all that might have been lost could no longer be sent again. So they do
while Redis is down, unless the settings allow to fall back to this instance's own memory: what it accepts alone is
written back before Redis is asked again.
"""

from __future__ import annotations

import logging
import re
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import trio

from reference_server.adapters.nonce_figures import nonce_figures
from reference_server.adapters.redis.link import RedisDown, RedisRefused, Script
from reference_server.core.nonces import KEY_MASK, NonceMemory
from reference_server.limits import (
    NONCES_MAX,
    REDIS_BATCH_MAX,
    REDIS_CLOCK_OFF_SECONDS_MAX,
    REDIS_TICK_SECONDS,
    REDIS_UNWRITTEN_MAX,
)
from reference_server.ports import Reservation
from reference_server.wire.units import SECOND_NS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reference_server.adapters.redis.link import Command, Exchange, RedisLink
    from reference_server.ports import Clock, Entropy, NonceRequest
    from reference_server.settings import Settings
    from reference_server.wire.exposition import Figure

CANARY = "hf:nonces:canary"
_RESERVE = Script(Path(__file__).with_name("nonces.lua").read_text(encoding="utf-8"))
_RELEASE = Script(Path(__file__).with_name("release.lua").read_text(encoding="utf-8"))
SCRIPTS = (_RESERVE, _RELEASE)
_FIELD = re.compile(r"^(\w+):(.*?)\r?$", re.MULTILINE)
_VERDICTS = {
    "1": Reservation.RESERVED,
    "2": Reservation.REPLAYED,
    "3": Reservation.UNAVAILABLE,
    "4": Reservation.FORGOTTEN,
}
_log = logging.getLogger("hatchfarm")


def nonce_name(worker_id: str, nonce: str) -> str:
    """Name the key of a worker's nonce (contract §6); the braces keep a worker's keys in one slot of Redis Cluster."""
    return f"hf:nonce:{{{worker_id}}}:{nonce}"


class AskedNonce(NamedTuple):
    """A nonce on its way: its key, the id that says whose it is, its heartbeat's stamp (Unix us), and its change."""

    key: str
    request_id: str
    stamp_us: int
    change: bytes


class _Owed(NamedTuple):
    asked: AskedNonce
    accepted_monotonic_ns: int


class RedisNonces:
    """The store of one instance.

    `fresh` says that it starts without any machine: nothing that it may be asked to accept was accepted before, so it
    need not wait out a Redis that has forgotten. `run` is its background task, and the link's `run` another.
    """

    _release = _RELEASE

    def __init__(
        self,
        link: RedisLink,
        settings: Settings,
        entropy: Entropy,
        clock: Clock,
        *,
        fresh: bool,
        unwritten_max: int = REDIS_UNWRITTEN_MAX,
        clock_off_seconds_max: int = REDIS_CLOCK_OFF_SECONDS_MAX,
    ) -> None:
        self._link = link
        self._clock_off_seconds_max = clock_off_seconds_max
        self._unwritten_max = unwritten_max
        self._clock = clock
        self._life_seconds = settings.nonce_ttl_seconds
        self._skew_seconds = settings.skew_seconds
        self._fallback = settings.redis_nonce_fallback
        self._instance = entropy.hex(16)
        self._named = 0
        self._trusted = "*" if fresh else ""
        self._epoch = ""
        self._steps = 0
        self._durable = False
        self._may_read_settings = True
        self._wait_seconds = 0
        self._uncertain: list[AskedNonce] = []
        self._unwritten: deque[_Owed] = deque()
        self._alone = False
        self._memory = NonceMemory(self._life_seconds * SECOND_NS, self._skew_seconds * SECOND_NS, NONCES_MAX)
        if not fresh:
            # What was accepted before this start is not in this memory.
            self._memory.horizon_ns = clock.now().wall_ns + self._skew_seconds * SECOND_NS
        self.fallbacks = 0
        self.conflicts = 0
        self.clock_off = False
        link.greetings.append(self._greet)

    @property
    def sharing(self) -> bool:
        """Return whether nonces are now reserved in Redis: it is up, has not lately forgotten, and the clocks agree."""
        return self._link.up and not self._alone and self._wait_seconds == 0 and not self.clock_off

    @property
    def durable(self) -> bool:
        """Return whether Redis keeps every write through a restart, as far as was seen last."""
        return self._durable

    @property
    def epoch(self) -> str:
        """Name the stretch of time since which Redis is known to have forgotten nothing; empty before the first."""
        return self._epoch

    def trust(self, epoch: str) -> None:
        """Accept at once in this epoch: no nonce can have been accepted before it began."""
        self._trusted = epoch

    @property
    def unwritten(self) -> int:
        """Count the nonces accepted alone that are not in Redis yet."""
        return len(self._unwritten)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look at Redis now and then: a flush, or settings that would lose nonces, show even while nobody asks."""
        task_status.started()
        while True:
            await trio.sleep(REDIS_TICK_SECONDS)
            if self._link.up and self._alone:
                self._link.renew()  # it was greeted just before this instance was left alone
                continue
            try:
                await self._look(self._link.ask)
            except RedisDown:
                self._link.renew()

    def figures(self) -> Sequence[Figure]:
        """Return what the metrics show of it."""
        return nonce_figures(
            sharing=self.sharing, owed=self.unwritten, fallbacks=self.fallbacks, conflicts=self.conflicts
        )

    async def reserve(self, asked: Sequence[NonceRequest]) -> Sequence[Reservation]:
        """Reserve each nonce in turn, in one round trip, in time. Never raises for what Redis does."""
        named = [self._name(request) for request in asked]
        if self._alone:
            return self._reserve_alone(asked, named)
        try:
            reservations = await self._ask(self._link.ask, named)
        except RedisDown as error:
            return self._without_redis(asked, named, sent=error.sent)
        if self._fallback:
            for request, reservation in zip(asked, reservations, strict=True):
                if reservation is Reservation.RESERVED:
                    self._remember(request)
        return reservations

    def _name(self, request: NonceRequest) -> AskedNonce:
        key = nonce_name(request.worker_id, request.nonce)
        return AskedNonce(key, self._next_id(), request.timestamp_ns // 1000, request.change)

    def _next_id(self) -> str:
        self._named += 1
        return f"{self._instance}{self._named:x}"

    def _remember(self, request: NonceRequest) -> Reservation:
        key = hash((request.worker_id, request.nonce)) & KEY_MASK
        self._memory.expire(request.now)
        return self._memory.reserve(key, request.timestamp_ns, request.now)

    async def _ask(self, exchange: Exchange, asked: Sequence[AskedNonce], *, late: bool = False) -> list[Reservation]:
        """Run the script, and note what it says of Redis. `late` nonces are written even where none may be reserved."""
        origin_us = self._clock.now().wall_ns // 1000 + self._skew_seconds * 1_000_000
        commands = []
        for start in range(0, max(1, len(asked)), REDIS_BATCH_MAX):
            chunk = asked[start : start + REDIS_BATCH_MAX]
            head: list[str | int] = [
                self._next_id(),
                self._trusted,
                self._epoch,
                self._steps,
                int(self._durable),
                origin_us,
                2 * self._skew_seconds,
                self._life_seconds,
                int(late),
                self._clock_off_seconds_max,
            ]
            for one in chunk:
                head += (one.request_id, one.stamp_us)
            commands.append(self._command([CANARY, *(one.key for one in chunk)], head, chunk))
        reservations: list[Reservation] = []
        for answer in await exchange(commands):
            reservations += self._reservations(answer, min(REDIS_BATCH_MAX, len(asked) - len(reservations)))
        return reservations

    def _command(self, keys: list[str], head: list[str | int], _asked: Sequence[AskedNonce]) -> Command:
        return _RESERVE.call(keys, head)

    def _reservations(self, answer: Any, _count: int) -> list[Reservation]:
        epoch, steps, wait, off, verdicts = answer.decode().split(" ")
        self._note(epoch, int(steps), int(wait))
        self._note_clock(int(off))
        return [_VERDICTS[verdict] for verdict in verdicts]

    def _note(self, epoch: str, steps: int, wait_seconds: int) -> None:
        if self._trusted == "*":
            self._trusted = epoch
        if epoch != self._epoch:
            if self._epoch:
                _log.warning("Redis has lost nonces: heartbeats are refused for the next %d s", wait_seconds)
            self._epoch, self._steps = epoch, steps
        self._steps = max(self._steps, steps)
        self._wait_seconds = wait_seconds

    def _note_clock(self, off_seconds: int) -> None:
        """Note how far this instance's wall clock is ahead of the one of Redis, if that is too far; said once."""
        off = off_seconds != 0
        if off is not self.clock_off:
            self.clock_off = off
            if off:
                _log.warning(
                    "The wall clock is %d s off the one of Redis: heartbeats are refused until that is corrected",
                    off_seconds,
                )
            else:
                _log.warning("The wall clock and the one of Redis agree again")

    def _without_redis(
        self, asked: Sequence[NonceRequest], named: Sequence[AskedNonce], *, sent: bool
    ) -> Sequence[Reservation]:
        if self._fallback:
            self._alone = True
            reservations = self._reserve_alone(asked, named)
        else:
            reservations = [Reservation.UNAVAILABLE] * len(asked)
        if sent:
            # One batch a connection at most: the next connection is greeted with their release.
            self._uncertain += [
                one
                for one, reservation in zip(named, reservations, strict=True)
                if reservation is not Reservation.RESERVED
            ]
            self._link.renew()
        return reservations

    def _reserve_alone(self, asked: Sequence[NonceRequest], named: Sequence[AskedNonce]) -> Sequence[Reservation]:
        """Reserve in this instance's memory, and note what Redis is to be told."""
        reservations = []
        for request, one in zip(asked, named, strict=True):
            now_ns = request.now.monotonic_ns
            while (
                self._unwritten and now_ns - self._unwritten[0].accepted_monotonic_ns > self._life_seconds * SECOND_NS
            ):
                self._unwritten.popleft()
            reservation = Reservation.UNAVAILABLE
            if len(self._unwritten) < self._unwritten_max:
                reservation = self._remember(request)
            if reservation is Reservation.RESERVED:
                self._unwritten.append(_Owed(one, now_ns))
            self.fallbacks += 1
            reservations.append(reservation)
        return reservations

    async def _greet(self, exchange: Exchange) -> None:
        """Finish what an earlier connection left open, before this one is used."""
        uncertain = list(self._uncertain)
        for start in range(0, len(uncertain), REDIS_BATCH_MAX):
            chunk = uncertain[start : start + REDIS_BATCH_MAX]
            await exchange([self._release.call([one.key for one in chunk], [one.request_id for one in chunk])])
        del self._uncertain[: len(uncertain)]
        await self._look(exchange)
        while self._unwritten:
            await self._write_back(exchange)
        self._alone = False

    async def _write_back(self, exchange: Exchange) -> None:
        """Tell Redis of nonces that were accepted alone; while it is told, more may be."""
        chunk = [self._unwritten.popleft() for _ in range(min(len(self._unwritten), REDIS_BATCH_MAX))]
        try:
            written = await self._ask(exchange, [one.asked for one in chunk], late=True)
        except RedisDown:
            self._unwritten.extendleft(reversed(chunk))
            raise
        conflicts = written.count(Reservation.REPLAYED)
        if conflicts:
            self.conflicts += conflicts
            _log.warning("%d nonces accepted without Redis had been accepted elsewhere too", conflicts)

    async def _look(self, exchange: Exchange) -> None:
        """Read the settings of Redis that nonces depend on, and whether it still holds them. Raises RedisDown."""
        sections = [(b"INFO", (section,)) for section in ("memory", "replication", "cluster")]
        memory, replication, cluster = (_fields(answer) for answer in await exchange(sections))
        if cluster["cluster_enabled"] != "0":
            raise RedisDown("it is a node of a Redis Cluster, and one canary cannot watch over several nodes")
        if memory["maxmemory"] != "0" and memory["maxmemory_policy"] != "noeviction":
            policy = memory["maxmemory_policy"]
            raise RedisDown(f"its maxmemory-policy {policy} may drop nonces: it has to be noeviction")
        alone = replication["role"] == "master" and replication["connected_slaves"] == "0"
        self._durable = alone and await self._keeps_every_write(exchange)
        await self._ask(exchange, ())

    async def _keeps_every_write(self, exchange: Exchange) -> bool:
        if not self._may_read_settings:
            return False
        try:
            (settings,) = await exchange([(b"CONFIG GET", ("append*",))])
        except RedisRefused:
            self._may_read_settings = False
            return False
        return bool(settings[b"appendonly"] == b"yes" and settings[b"appendfsync"] == b"always")


def _fields(info: bytes) -> dict[str, str]:
    """Read what INFO says."""
    return dict(_FIELD.findall(info.decode()))
