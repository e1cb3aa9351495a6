"""Random draws for heartbeats, made in batches of thousands, because one numpy call costs as much as a heartbeat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulator.attacks.catalogue import NONCE_BYTES

if TYPE_CHECKING:
    import numpy as np

NONCES_AT_ONCE = 4096
FRACTIONS_AT_ONCE = 8192


class Draws:
    """Nonces and fractions, from a generator each, so that the order in which both are drawn does not matter."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._of_nonces, self._of_fractions = rng.spawn(2)
        self._nonces: list[bytes] = []
        self._fractions: list[float] = []

    def nonce(self) -> bytes:
        """Return the next `NONCE_BYTES` bytes."""
        if not self._nonces:
            pool = self._of_nonces.bytes(NONCE_BYTES * NONCES_AT_ONCE)
            self._nonces = [pool[at : at + NONCE_BYTES] for at in range(0, len(pool), NONCE_BYTES)]
        return self._nonces.pop()

    def fraction(self) -> float:
        """Return the next number from 0 to 1, without 1."""
        if not self._fractions:
            numbers: Any = self._of_fractions.random(FRACTIONS_AT_ONCE)
            self._fractions = numbers.tolist()
        return self._fractions.pop()
