"""Which nonces were seen, and the replay horizon (contract §4)."""

from __future__ import annotations

from collections import deque
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from reference_server.limits import NONCE_GENERATIONS
from reference_server.ports import Reservation

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

KEY_MASK = (1 << 60) - 1
"""Python keeps integers of up to 60 bits in 32 bytes."""


def nonce_key(worker_serial: int, nonce: str) -> int:
    """Name one worker's nonce in 60 bits, by the interpreter's keyed hash (SipHash, its key drawn at each start).

    Two different nonces share a name with a probability of one in 10^18, so that among the eight million that may be
    live one genuine heartbeat in 10^11 is taken for a replay, and sent anew; no replay is ever taken for genuine.
    The text itself would cost 50 bytes more, which for a machine beating every five seconds is 4 KB.
    """
    return hash((worker_serial, nonce)) & KEY_MASK


def lasting_nonce_names(key: bytes) -> Callable[[int, str], int]:
    """Give a `nonce_key` whose names mean the same after a restart: BLAKE2b with a key of 16 bytes from the state file.

    Half a microsecond slower, so it is for servers with a state file only. What it promises is the same.
    """
    keyed = blake2b(key=key, digest_size=8)

    def name(worker_serial: int, nonce: str) -> int:
        hashed = keyed.copy()
        hashed.update(f"{worker_serial}|{nonce}".encode())
        return int.from_bytes(hashed.digest()) & KEY_MASK

    return name


class Generation(NamedTuple):
    """Nonces that are forgotten together: when that began to be counted (monotonic ns), and their newest stamp."""

    since_ns: int
    newest_ns: int
    nonces: Collection[int]


class NonceMemory:
    """Nonces kept at least `ttl_ns`, in generations that are dropped whole, so that forgetting costs nothing.

    `horizon_ns` is the newest heartbeat timestamp (Unix ns) for which a nonce may have been forgotten: a heartbeat
    stamped at or before it must be refused whatever the clocks say.
    """

    def __init__(self, ttl_ns: int, nonces_max: int) -> None:
        self._ttl_ns = ttl_ns
        self._span_ns = max(1, ttl_ns // NONCE_GENERATIONS)
        self._nonces_max = nonces_max
        self._current: set[int] = set()
        self._current_since_ns: int | None = None
        self._current_newest_ns = 0
        self._older: deque[tuple[set[int], int, int]] = deque()
        self._older_count = 0
        self.horizon_ns = -(1 << 63)

    def __len__(self) -> int:
        return self._older_count + len(self._current)

    def reserve(self, key: int, timestamp_ns: int, monotonic_ns: int) -> Reservation:
        """Remember a worker's nonce (`nonce_key` names both) used by a heartbeat stamped `timestamp_ns`."""
        since_ns = self._current_since_ns
        if since_ns is None or monotonic_ns - since_ns >= self._span_ns:
            self._turn(monotonic_ns)
        current = self._current
        if key in current:
            return Reservation.REPLAYED
        for nonces, _, _ in self._older:
            if key in nonces:
                return Reservation.REPLAYED
        if timestamp_ns <= self.horizon_ns or self._older_count + len(current) >= self._nonces_max:
            return Reservation.UNAVAILABLE
        current.add(key)
        self._current_newest_ns = max(self._current_newest_ns, timestamp_ns)
        return Reservation.RESERVED

    def dump(self) -> list[Generation]:
        """Give what is remembered, oldest first, for `load`; the last are those that still grow."""
        older = [Generation(since_ns, newest_ns, nonces) for nonces, since_ns, newest_ns in self._older]
        return [*older, Generation(self._current_since_ns or 0, self._current_newest_ns, self._current)]

    def load(self, horizon_ns: int, generations: Iterable[Generation]) -> None:
        """Remember what was remembered before."""
        self.horizon_ns = horizon_ns
        for since_ns, newest_ns, nonces in generations:
            self._older.append((set(nonces), since_ns, newest_ns))
            self._older_count += len(nonces)

    def expire(self, monotonic_ns: int) -> None:
        """Forget generations whose newest nonce is past its time to live, and raise the horizon over them."""
        older = self._older
        while older and monotonic_ns - older[0][1] > self._ttl_ns:
            nonces, _, newest_ns = older.popleft()
            self._older_count -= len(nonces)
            self.horizon_ns = max(self.horizon_ns, newest_ns)

    def _turn(self, monotonic_ns: int) -> None:
        if self._current:
            # Stamped with the end of its span, so that even its last nonce lives the whole time to live.
            self._older.append((self._current, monotonic_ns, self._current_newest_ns))
            self._older_count += len(self._current)
        self._current = set()
        self._current_since_ns = monotonic_ns
        self._current_newest_ns = 0
        self.expire(monotonic_ns)
