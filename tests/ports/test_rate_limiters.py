"""What every shared rate limit does, whether it is in memory or in Redis. A client may ask three times a minute."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reference_server.ports import RateLimiter

MINUTE_NS = 60_000_000_000


async def test_a_client_gets_as_many_as_a_window_admits_over_all_instances(limiters: list[RateLimiter]) -> None:
    a, b = limiters
    assert await a.take(["c", "c"]) == [0, 0]
    first, second = await b.take(["c", "c"])
    assert first == 0
    assert second is not None
    assert MINUTE_NS / 2 < second <= MINUTE_NS


async def test_clients_have_limits_of_their_own_and_are_answered_in_order(limiters: list[RateLimiter]) -> None:
    waits = await limiters[0].take(["c", "d", "c", "d", "c", "c", "e", "d", "d"])
    assert [wait == 0 for wait in waits] == [True, True, True, True, True, False, True, True, False]


async def test_what_is_refused_does_not_count(limiters: list[RateLimiter]) -> None:
    """However often a client asks meanwhile, its next request passes as soon as the oldest leaves the window."""
    a, b = limiters
    assert await a.take(["c"] * 3) == [0] * 3
    (before,) = await a.take(["c"])
    (*_, after) = await b.take(["c"] * 20)
    assert before is not None
    assert after is not None
    assert 0 < after <= before


async def test_nobody_is_asked_about_nobody(limiters: list[RateLimiter]) -> None:
    assert list(await limiters[0].take([])) == []
