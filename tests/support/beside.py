"""The cases of a parametrized test made side by side, where each mostly waits; what fails is tried again by itself."""

from __future__ import annotations

from functools import wraps
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
import trio

from simulator.worlds.harness_failure import leaf_errors
from tests.support.open_sockets import AMONG_OTHERS, open_sockets
from tests.support.trying import ALONE_FOR, tried_again_alone
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    Test = Callable[..., Awaitable[None]]
    Case = dict[str, Any]


def side_by_side(test: Test) -> Test:
    """Have all cases made when the first one is; those that fail are tried again as by `tried_again_alone`.

    It stands below the `parametrize` marks. No socket of any case stays open.
    """
    ended: list[tuple[Case, BaseException | None]] = []
    alone = tried_again_alone(test)

    @wraps(test)
    async def beside(**case: Any) -> None:
        if not ended:
            await _make_all(test, cases_of(beside), ended)
        errors = [error for made, error in ended if made == case]
        assert len(errors) == 1, f"it was made {len(errors)} times: something ended the others beside it"
        (error,) = errors
        if error is None:
            return
        if not all(isinstance(one, ALONE_FOR) for one in leaf_errors(error)):
            raise error
        await alone(**case)

    return beside


def cases_of(test: object) -> list[Case]:
    """Return the arguments of each case of a parametrized test."""
    marks = [mark for mark in vars(test)["pytestmark"] if mark.name == "parametrize"]
    return [{name: value for part in parts for name, value in part} for parts in product(*map(_parts, marks))]


def _parts(mark: pytest.Mark) -> Iterable[list[tuple[str, Any]]]:
    names, values = mark.args
    if isinstance(names, str):
        return [[(names, value)] for value in values]
    return [list(zip(names, some, strict=True)) for some in values]


async def _make_all(test: Test, cases: list[Case], ended: list[tuple[Case, BaseException | None]]) -> None:
    async def make(case: Case) -> None:
        error: BaseException | None = None
        try:
            await test(**case)
        except (Exception, pytest.fail.Exception) as failure:  # noqa: BLE001 - for the case's own test to raise
            error = failure
        except BaseExceptionGroup as failures:
            if failures.subgroup((trio.Cancelled, KeyboardInterrupt)) is not None:
                raise
            error = failures
        ended.append((case, error))

    before = open_sockets()
    token = AMONG_OTHERS.set(True)
    try:
        async with trio.open_nursery() as nursery:
            for case in cases:
                nursery.start_soon(make, case)
    finally:
        AMONG_OTHERS.reset(token)
    await until(lambda: open_sockets() == before)
