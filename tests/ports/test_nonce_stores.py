"""What every store of nonces does, whether it is in memory or in Redis."""

from __future__ import annotations

import random  # noqa: TID251 - seeded
from typing import TYPE_CHECKING

import pytest

from reference_server.adapters.clock import SystemClock
from reference_server.limits import REDIS_BATCH_MAX
from reference_server.ports import NonceRequest, Reservation

if TYPE_CHECKING:
    from reference_server.ports import NonceStore

RESERVED, REPLAYED = Reservation.RESERVED, Reservation.REPLAYED


async def reserve(store: NonceStore, *names: tuple[str, str]) -> list[Reservation]:
    """Ask for nonces by (worker, nonce), each stamped now."""
    now = SystemClock().now()
    return list(await store.reserve([NonceRequest(worker, nonce, now.wall_ns, now) for worker, nonce in names]))


async def test_a_nonce_is_reserved_once_whichever_instance_is_asked(stores: list[NonceStore]) -> None:
    a, b = stores
    assert await reserve(a, ("w", "n")) == [RESERVED]
    assert await reserve(a, ("w", "n")) == [REPLAYED]
    assert await reserve(b, ("w", "n"), ("w", "m")) == [REPLAYED, RESERVED]


async def test_a_nonce_twice_in_one_batch_is_reserved_for_the_first(stores: list[NonceStore]) -> None:
    assert await reserve(stores[0], *[("w", nonce) for nonce in "nmnn"]) == [RESERVED, RESERVED, REPLAYED, REPLAYED]


async def test_the_same_nonce_of_another_worker_is_another_nonce(stores: list[NonceStore]) -> None:
    """Even where worker and nonce, run together, would read the same."""
    assert await reserve(stores[0], ("a", "b:n"), ("a}:b", "n"), ("a", "n")) == [RESERVED] * 3


async def test_a_large_batch_is_answered_in_order(stores: list[NonceStore]) -> None:
    names = [("w", f"n{number}") for number in range(2 * REDIS_BATCH_MAX + 3)]
    assert await reserve(stores[0], names[0], names[REDIS_BATCH_MAX + 1]) == [RESERVED, RESERVED]
    expected = [RESERVED] * len(names)
    expected[0] = expected[REDIS_BATCH_MAX + 1] = REPLAYED
    assert await reserve(stores[1], *names) == expected


@pytest.mark.parametrize("seed", range(3))
async def test_any_batches_at_any_instances_are_answered_as_a_set_would(stores: list[NonceStore], seed: int) -> None:
    draws = random.Random(seed)  # noqa: S311 - repeatable
    known: set[tuple[str, str]] = set()
    for _ in range(60):
        names = [
            (draws.choice("vw"), draws.choice("abcdefghijkl") + draws.choice("xy")) for _ in range(draws.randrange(5))
        ]
        expected = []
        for name in names:
            expected.append(REPLAYED if name in known else RESERVED)
            known.add(name)
        assert await reserve(draws.choice(stores), *names) == expected
