"""Making trials that a busy machine may leave without a result: several at once, and those again one by one.

Whoever else tests beside this process rests meanwhile.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import trio

from tests.support.alone import AGAIN, ThisMachine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from contextlib import AbstractContextManager

K = TypeVar("K")
R = TypeVar("R")
P = ParamSpec("P")


async def try_all(
    keys: Iterable[K], make: Callable[[K, int], Awaitable[R]], says_something: Callable[[K, R], bool], *, at_once: int
) -> dict[K, R]:
    """Return each key's result. `make` is given how often the key was tried before."""
    results: dict[K, R] = {}
    limiter = trio.CapacityLimiter(at_once)

    async def first(key: K) -> None:
        async with limiter:
            results[key] = await make(key, 0)

    async with trio.open_nursery() as nursery:
        for key in keys:
            nursery.start_soon(first, key)
    for attempt in range(1, AGAIN + 1):
        for key in [key for key, result in results.items() if not says_something(key, result)]:
            with ThisMachine.alone():
                results[key] = await make(key, attempt)
    return results


def tried_again_alone(test: Callable[P, Awaitable[None]]) -> Callable[P, Awaitable[None]]:
    """Have a test that goes by tenths of seconds, as what it finds out about, tried again alone where it fails.

    Only for one that must find something out, or keep to a deadline of its server: a busy machine may hide what is
    there, and be late, and never shows what is not.
    """

    @wraps(test)
    async def tried(*arguments: P.args, **named: P.kwargs) -> None:
        alone: AbstractContextManager[None] = nullcontext()
        for _ in range(AGAIN):
            try:
                with alone:
                    return await test(*arguments, **named)
            except (AssertionError, ExceptionGroup, trio.BrokenResourceError):
                alone = ThisMachine.alone()
        with alone:
            return await test(*arguments, **named)

    return tried
