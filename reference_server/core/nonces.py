"""The memory of used nonces, and the replay horizon (contract §4)."""

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
"""60 bits, because Python stores larger integers in more than 32 bytes."""
CLOCK_STEP_NS = SECOND_NS
"""The least jump of the wall clock against the monotonic clock that counts as a step. Both are slewed alike, so they
diverge only if the wall clock is set. Timestamps before and after a step are in separate generations."""
LONG_AGO_NS, FAR_AHEAD_NS = -(1 << 63), (1 << 63) - 1


def nonce_key(worker_serial: int, nonce: str) -> int:
    """Return a 60-bit key for one worker's nonce, by the interpreter's keyed hash (SipHash, with a new key each start).

    Two different nonces share a key with a probability of one in 10^18. So with eight million live nonces, one genuine
    heartbeat in 10^11 is refused as a replay, and sent again; a replay is never accepted. Storing the text would take
    50 bytes more, which is 4 KB for a machine with a heartbeat every five seconds.
    """
    return hash((worker_serial, nonce)) & KEY_MASK


def lasting_nonce_names(key: bytes) -> Callable[[int, str], int]:
    """Return a `nonce_key` function that is stable across restarts: BLAKE2b with the state file's 16-byte key.

    It is half a microsecond slower, so only servers with a state file use it. The guarantees are the same.
    """
    keyed = blake2b(key=key, digest_size=8)

    def name(worker_serial: int, nonce: str) -> int:
        hashed = keyed.copy()
        hashed.update(f"{worker_serial}|{nonce}".encode())
        return int.from_bytes(hashed.digest()) & KEY_MASK

    return name


class Generation(NamedTuple):
    """Nonces that are forgotten together: the start of their time to live (monotonic ns), their extreme timestamps."""

    since_ns: int
    oldest_ns: int
    newest_ns: int
    nonces: set[int]


class Forgotten(NamedTuple):
    """A range of timestamps after the horizon, both ends included, whose nonces may have been forgotten (Unix ns)."""

    oldest_ns: int
    newest_ns: int


class NonceMemory:
    """Used nonces, kept for at least `ttl_ns` in generations that are dropped whole, which makes forgetting cheap.

    `horizon_ns` is the newest heartbeat timestamp (Unix ns) for which a nonce may have been forgotten. A heartbeat with
    that timestamp or an older one must be refused, whatever the clocks say.

    If the wall clock ran ahead for a while and was corrected, some kept timestamps are in the future. A horizon above
    them would lock all machines out until then. So a generation is dropped only when its timestamps have left the
    window by the slowest clock that is possible. Until then its nonces are kept aside, together with those of nearby
    timestamps. If these become too many, the time range of their timestamps is `forgotten`, but nothing before it.

    The slowest clock that is possible is the slowest reading that was seen, by this process or by those that wrote its
    journal. `lag_unrecorded` is set until the journal has it: the moments of changes in a journal do not show
    whether the clock was set between two of them.
    """

    def __init__(self, ttl_ns: int, skew_ns: int, nonces_max: int, aside_max: int = NONCES_ASIDE_MAX) -> None:
        self._aside_max = aside_max
        self._skew_ns = skew_ns + CLOCK_STEP_NS
        # By then no timestamp is in the window any more, unless the clock was stepped meanwhile.
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
        """Return whether nonces with this timestamp may have been forgotten: such a heartbeat must be refused."""
        if timestamp_ns <= self.horizon_ns:
            return True
        return bool(self.forgotten) and any(
            oldest_ns <= timestamp_ns <= newest_ns for oldest_ns, newest_ns in self.forgotten
        )

    def reserve(self, key: int, timestamp_ns: int, now: Instant) -> Reservation:
        """Remember the nonce of a heartbeat with `timestamp_ns`; `key` is the `nonce_key` of worker and nonce.

        Call `expire` before, for the same moment.
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
            self._forget_aside()  # make room: only a clock that is set back could still accept these
            if self._older_count + len(current) >= self._nonces_max:
                return Reservation.UNAVAILABLE
        if self.may_have_forgotten(timestamp_ns):
            return Reservation.UNAVAILABLE
        current.add(key)
        self._current_newest_ns = max(self._current_newest_ns, timestamp_ns)
        self._current_oldest_ns = min(self._current_oldest_ns, timestamp_ns)
        return Reservation.RESERVED

    def lag_ns(self, now: Instant) -> int:
        """Return how far the slowest possible wall clock is behind the current one, in nanoseconds."""
        return max(0, now.wall_ns - now.monotonic_ns - self._slowest_ns)

    def lag(self, at: Instant, lag_ns: int) -> None:
        """Note that at a moment the wall clock was `lag_ns` ahead of the slowest possible one."""
        self._slowest_ns = min(self._slowest_ns, at.wall_ns - at.monotonic_ns - lag_ns)
        self.lag_unrecorded = True

    def dump(self) -> list[Generation]:
        """Return the generations for `load`, oldest first; the last ones still grow."""
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
        """Restore a dump that was made at `kept_at`, when the slowest possible clock was `lag_ns` behind."""
        self.horizon_ns = horizon_ns
        self.forgotten = list(forgotten)
        self.lag(kept_at, lag_ns)
        for generation in generations:
            self._older.append(generation)
            self._older_count += len(generation.nonces)

    def expire(self, now: Instant) -> None:
        """Forget generations whose newest nonce is past its time to live, and raise the horizon above them."""
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
        """Start new generations after a step of the wall clock, so that older timestamps are forgotten separately."""
        ahead_ns = now.wall_ns - now.monotonic_ns
        self._ahead_least_ns, self._ahead_most_ns = ahead_ns - CLOCK_STEP_NS, ahead_ns + CLOCK_STEP_NS
        self._slowest_ns = min(self._slowest_ns, ahead_ns)
        self.lag_unrecorded = True
        if (
            self._current and len(self._older) < 2 * NONCE_GENERATIONS
        ):  # a clock that is set all the time would make look-ups slow
            self._turn(now.monotonic_ns)

    def _put_aside(self, generation: Generation) -> None:
        """Keep a generation from a clock that ran ahead, merged with generations of nearby timestamps."""
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
        """Forget the generations kept aside, and refuse heartbeats with timestamps in their ranges from now on."""
        while self._aside:
            self._forget_stretch(self._aside.pop())

    def _forget_stretch(self, generation: Generation) -> None:
        self._aside_count -= len(generation.nonces)
        stretches = sorted([*self.forgotten, Forgotten(generation.oldest_ns, generation.newest_ns)])
        while len(stretches) > NONCE_STRETCHES_MAX:
            # The two nearest ranges become one, and timestamps between them are refused as well.
            gaps = [after.oldest_ns - before.newest_ns for before, after in pairwise(stretches)]
            at = gaps.index(min(gaps))
            before, after = stretches[at : at + 2]
            stretches[at : at + 2] = [Forgotten(before.oldest_ns, max(before.newest_ns, after.newest_ns))]
        self.forgotten = stretches

    def _turn(self, monotonic_ns: int) -> None:
        if self._current:
            # Its time to live starts at the end of its span, so that even its last nonce lives long enough.
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
