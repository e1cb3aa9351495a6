"""Which nonces were seen, and the replay horizon (contract §4)."""

from __future__ import annotations

from collections import deque
from hashlib import blake2b
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from reference_server.limits import NONCE_GENERATIONS, NONCE_STRETCHES_MAX, NONCES_ASIDE_MAX
from reference_server.ports import Reservation
from reference_server.wire.units import SECOND_NS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from reference_server.wire.values import Instant

KEY_MASK = (1 << 60) - 1
"""Python keeps integers of up to 60 bits in 32 bytes."""
CLOCK_STEP_NS = SECOND_NS
"""Both clocks are slewed alike, so that the wall clock leaves the monotonic one only when it is set. By a second or
more it is another clock, and what is stamped by it is forgotten apart."""
LONG_AGO_NS, FAR_AHEAD_NS = -(1 << 63), (1 << 63) - 1


def nonce_key(worker_serial: int, nonce: str) -> int:
    """Name one worker's nonce in 60 bits, by the interpreter's keyed hash (SipHash, its key drawn at each start).

    Two different nonces share a name with a probability of one in 10^18, so that among the eight million that may be
    live one genuine heartbeat in 10^11 is taken for a replay, and sent anew; no replay is ever taken for genuine.
    The text itself would cost 50 bytes more, which for a machine beating every five seconds is 4 KB.
    """
    return hash((worker_serial, nonce)) & KEY_MASK


def lasting_nonce_names(key: bytes) -> Callable[[int, str], int]:
    """Return a `nonce_key` whose names mean the same after a restart: BLAKE2b with the state file's key of 16 bytes.

    Half a microsecond slower, so it is for servers with a state file only. What it promises is the same.
    """
    keyed = blake2b(key=key, digest_size=8)

    def name(worker_serial: int, nonce: str) -> int:
        hashed = keyed.copy()
        hashed.update(f"{worker_serial}|{nonce}".encode())
        return int.from_bytes(hashed.digest()) & KEY_MASK

    return name


class Generation(NamedTuple):
    """Nonces that are forgotten together: when that began to be counted (monotonic ns), and their outermost stamps."""

    since_ns: int
    oldest_ns: int
    newest_ns: int
    nonces: set[int]


class Forgotten(NamedTuple):
    """Stamps past the horizon, both ends included, of which nonces may have been forgotten all the same (Unix ns)."""

    oldest_ns: int
    newest_ns: int


class NonceMemory:
    """Nonces kept at least `ttl_ns`, in generations that are dropped whole, so that forgetting costs nothing.

    `horizon_ns` is the newest heartbeat timestamp (Unix ns) for which a nonce may have been forgotten: a heartbeat
    stamped at or before it must be refused whatever the clocks say.

    A wall clock that ran ahead for a while leaves stamps that lie in its future once it is back. A horizon raised over
    them would lock everybody out until then. So a generation is dropped only once its stamps have left the window by
    the slowest that the wall clock may be; until then its nonces are kept aside, together with those stamped near
    them. When they become too many, the stretch of time that they are stamped in is `forgotten`, and not what comes
    before it.

    The slowest that the clock may be is the slowest that it has been seen to be, here or by those whose journal this
    memory is made from. `lag_unrecorded` is set while no journal has it: a journal keeps only the
    moments of changes, which do not show whether the clock was set between two of them.
    """

    def __init__(self, ttl_ns: int, skew_ns: int, nonces_max: int, aside_max: int = NONCES_ASIDE_MAX) -> None:
        self._aside_max = aside_max
        self._skew_ns = skew_ns + CLOCK_STEP_NS
        # By then no stamp is in the window any more, unless the clock was stepped meanwhile.
        self._ttl_ns = max(ttl_ns, skew_ns + self._skew_ns)
        self.span_ns = max(1, self._ttl_ns // NONCE_GENERATIONS)
        self._nonces_max = nonces_max
        self._current: set[int] = set()
        self._current_since_ns: int | None = None
        self._current_oldest_ns, self._current_newest_ns = FAR_AHEAD_NS, LONG_AGO_NS
        self._older: deque[Generation] = deque()
        self._older_count = 0
        self._aside: list[Generation] = []
        self._aside_count = 0
        self._ahead_least_ns, self._ahead_most_ns = FAR_AHEAD_NS, LONG_AGO_NS
        self._slowest_ns = FAR_AHEAD_NS
        self.lag_unrecorded = False
        self.horizon_ns = LONG_AGO_NS
        self.forgotten: list[Forgotten] = []

    def __len__(self) -> int:
        return self._older_count + len(self._current) + self._aside_count

    def may_have_forgotten(self, timestamp_ns: int) -> bool:
        """Return whether a nonce of a heartbeat stamped then may have been forgotten: it has to be refused."""
        if timestamp_ns <= self.horizon_ns:
            return True
        return bool(self.forgotten) and any(
            oldest_ns <= timestamp_ns <= newest_ns for oldest_ns, newest_ns in self.forgotten
        )

    def reserve(self, key: int, timestamp_ns: int, now: Instant) -> Reservation:
        """Remember a worker's nonce (`nonce_key` names both) used by a heartbeat stamped `timestamp_ns`.

        `expire` has to be called before, for the same moment.
        """
        monotonic_ns, since_ns = now.monotonic_ns, self._current_since_ns
        if since_ns is None or monotonic_ns - since_ns >= self.span_ns:
            self._turn(monotonic_ns)
        current = self._current
        if key in current:
            return Reservation.REPLAYED
        for generation in self._older:
            if key in generation.nonces:
                return Reservation.REPLAYED
        for generation in self._aside:
            if key in generation.nonces:
                return Reservation.REPLAYED
        if self._older_count + len(current) + self._aside_count >= self._nonces_max:
            self._forget_aside()  # nonces that only a clock of the past may judge make room
            if self._older_count + len(current) >= self._nonces_max:
                return Reservation.UNAVAILABLE
        if self.may_have_forgotten(timestamp_ns):
            return Reservation.UNAVAILABLE
        current.add(key)
        self._current_newest_ns = max(self._current_newest_ns, timestamp_ns)
        self._current_oldest_ns = min(self._current_oldest_ns, timestamp_ns)
        return Reservation.RESERVED

    def lag_ns(self, now: Instant) -> int:
        """Return how far the slowest that the wall clock may be is behind it now."""
        return max(0, now.wall_ns - now.monotonic_ns - self._slowest_ns)

    def lag(self, at: Instant, lag_ns: int) -> None:
        """Note that at a moment the wall clock was so far ahead of the slowest that it may be."""
        self._slowest_ns = min(self._slowest_ns, at.wall_ns - at.monotonic_ns - lag_ns)
        self.lag_unrecorded = True

    def dump(self) -> list[Generation]:
        """Return what is remembered, oldest first, for `load`; the last are those that still grow."""
        since_ns = self._current_since_ns or 0
        current = Generation(since_ns, self._current_oldest_ns, self._current_newest_ns, self._current)
        return [*(generation._replace(since_ns=0) for generation in self._aside), *self._older, current]

    def load(
        self,
        kept_at: Instant,
        horizon_ns: int,
        generations: Iterable[Generation],
        forgotten: Iterable[Forgotten] = (),
        lag_ns: int = 0,
    ) -> None:
        """Remember what was remembered before, when the wall clock lagged by so much at the moment it was kept."""
        self.horizon_ns = horizon_ns
        self.forgotten = list(forgotten)
        self.lag(kept_at, lag_ns)
        for generation in generations:
            self._older.append(generation)
            self._older_count += len(generation.nonces)

    def expire(self, now: Instant) -> None:
        """Forget generations whose newest nonce is past its time to live, and raise the horizon over them."""
        monotonic_ns = now.monotonic_ns
        if not self._ahead_least_ns <= now.wall_ns - monotonic_ns <= self._ahead_most_ns:
            self._step(now)
        older = self._older
        while older and monotonic_ns - older[0].since_ns > self._ttl_ns:
            generation = older.popleft()
            self._older_count -= len(generation.nonces)
            if self._out_of_every_window(generation.newest_ns, monotonic_ns):
                self.horizon_ns = max(self.horizon_ns, generation.newest_ns)
            else:
                self._put_aside(generation)

    def _out_of_every_window(self, newest_ns: int, monotonic_ns: int) -> bool:
        return newest_ns + self._skew_ns < self._slowest_ns + monotonic_ns

    def _step(self, now: Instant) -> None:
        """Note that the wall clock was set, so that what it stamps now is forgotten apart from what it stamped."""
        ahead_ns = now.wall_ns - now.monotonic_ns
        self._ahead_least_ns, self._ahead_most_ns = ahead_ns - CLOCK_STEP_NS, ahead_ns + CLOCK_STEP_NS
        self._slowest_ns = min(self._slowest_ns, ahead_ns)
        self.lag_unrecorded = True
        if (
            self._current and len(self._older) < 2 * NONCE_GENERATIONS
        ):  # one that is set all the time would make look-ups slow
            self._turn(now.monotonic_ns)

    def _put_aside(self, generation: Generation) -> None:
        """Keep what only a clock that ran ahead has stamped, with what was stamped near it: by the same clock."""
        oldest_ns, newest_ns, nonces = generation.oldest_ns, generation.newest_ns, generation.nonces
        apart = []
        for other in self._aside:
            if other.oldest_ns - self._ttl_ns <= newest_ns and oldest_ns <= other.newest_ns + self._ttl_ns:
                oldest_ns, newest_ns = min(oldest_ns, other.oldest_ns), max(newest_ns, other.newest_ns)
                more, fewer = sorted((nonces, other.nonces), key=len, reverse=True)
                more |= fewer
                nonces = more
            else:
                apart.append(other)
        self._aside = [*apart, Generation(generation.since_ns, oldest_ns, newest_ns, nonces)]
        self._aside_count = sum(len(one.nonces) for one in self._aside)
        if self._aside_count > self._aside_max:
            self._forget_aside()
        elif len(self._aside) > NONCE_STRETCHES_MAX:
            self._forget_stretch(self._aside.pop(0))

    def _forget_aside(self) -> None:
        """Forget what is aside, and refuse from now on what is stamped in those stretches of time."""
        while self._aside:
            self._forget_stretch(self._aside.pop())

    def _forget_stretch(self, generation: Generation) -> None:
        self._aside_count -= len(generation.nonces)
        stretches = sorted([*self.forgotten, Forgotten(generation.oldest_ns, generation.newest_ns)])
        while len(stretches) > NONCE_STRETCHES_MAX:
            # The two that are nearest become one, and what is between them is refused with them.
            gaps = [after.oldest_ns - before.newest_ns for before, after in pairwise(stretches)]
            at = gaps.index(min(gaps))
            before, after = stretches[at : at + 2]
            stretches[at : at + 2] = [Forgotten(before.oldest_ns, max(before.newest_ns, after.newest_ns))]
        self.forgotten = stretches

    def _turn(self, monotonic_ns: int) -> None:
        if self._current:
            # Stamped with the end of its span, so that even its last nonce lives the whole time to live.
            self._older.append(
                Generation(monotonic_ns, self._current_oldest_ns, self._current_newest_ns, self._current)
            )
            self._older_count += len(self._current)
        self._current = set()
        self._current_since_ns = monotonic_ns
        self._current_oldest_ns, self._current_newest_ns = FAR_AHEAD_NS, LONG_AGO_NS
        for generation in [*self._aside]:
            if self._out_of_every_window(generation.newest_ns, monotonic_ns):
                self.horizon_ns = max(self.horizon_ns, generation.newest_ns)
                self._aside.remove(generation)
                self._aside_count -= len(generation.nonces)
        for stretch in self.forgotten[:1]:
            if self._out_of_every_window(stretch.newest_ns, monotonic_ns):
                self.horizon_ns = max(self.horizon_ns, stretch.newest_ns)
                self.forgotten = self.forgotten[1:]
