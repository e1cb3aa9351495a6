"""Making trials that a busy machine may leave without a result: several at once, and those again one by one.

Whoever else tests beside this process rests meanwhile.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import trio

from simulator.worlds.harness_failure import leaf_errors
from tests.support.alone import AGAIN, ThisMachine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from contextlib import AbstractContextManager

K = TypeVar("K")
R = TypeVar("R")
P = ParamSpec("P")
ALONE_FOR = (AssertionError, trio.BrokenResourceError)
"""What a test that goes by tenths of seconds is tried again alone for."""


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


class UndecidedError(AssertionError):
    """Nothing could be told of what a test looks at: not that it is wrong, and not that it is right."""


def tried_again_alone(test: Callable[P, Awaitable[None]]) -> Callable[P, Awaitable[None]]:
    """Have a test that goes by tenths of seconds, as what it finds out about, tried again alone where it fails.

    Only for one that must find something out, or keep to a deadline of its server: a busy machine may hide what is
    there, be late, and be hung up on before it has sent all. What must never be is told by `pytest.fail`, which counts
    at once, as does every other error, a `trio.TooSlowError` after a minute too.
    """
    return _tried_again(test, ALONE_FOR)


def tried_again_where_undecided(test: Callable[P, Awaitable[None]]) -> Callable[P, Awaitable[None]]:
    """Have a test that must find nothing tried again alone where nothing could be told, and for no other reason."""
    return _tried_again(test, (UndecidedError,))


def _tried_again(
    test: Callable[P, Awaitable[None]], reasons: tuple[type[Exception], ...]
) -> Callable[P, Awaitable[None]]:
    @wraps(test)
    async def tried(*arguments: P.args, **named: P.kwargs) -> None:
        alone: AbstractContextManager[None] = nullcontext()
        for _ in range(AGAIN):
            try:
                with alone:
                    return await test(*arguments, **named)
            except Exception as error:
                if not all(isinstance(one, reasons) for one in leaf_errors(error)):
                    raise
                alone = ThisMachine.alone()
        with alone:
            return await test(*arguments, **named)

    return tried
