"""Cases that are made side by side: each is told for itself, and what fails is tried again or counts at once."""

from __future__ import annotations

import socket
from functools import partial

import pytest
import trio

from tests.simulator.conftest import sockets_closed_after
from tests.support.beside import cases_of, side_by_side
from tests.support.waiting import until

NUMBERS = [1, 2, 3]


async def test_all_begin_before_any_has_ended() -> None:
    begun: list[int] = []
    all_have = trio.Event()

    @pytest.mark.parametrize("number", NUMBERS)
    @side_by_side
    async def waits(number: int) -> None:
        begun.append(number)
        if len(begun) == len(NUMBERS):
            all_have.set()
        await all_have.wait()

    for number in NUMBERS:
        await waits(number=number)
    assert sorted(begun) == NUMBERS


async def test_what_fails_is_tried_again_and_the_others_are_not() -> None:
    tries: list[int] = []

    @pytest.mark.parametrize("number", NUMBERS)
    @side_by_side
    async def fails_once(number: int) -> None:
        tries.append(number)
        assert number != 2 or tries.count(2) > 1

    for number in NUMBERS:
        await fails_once(number=number)
    assert sorted(tries) == [1, 2, 2, 3]


async def test_what_fails_each_time_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.trying.AGAIN", 1)  # each has the machine to itself, which keeps others waiting

    @pytest.mark.parametrize("number", NUMBERS)
    @side_by_side
    async def fails(number: int) -> None:
        assert number != 2

    await fails(number=1)
    with pytest.raises(AssertionError):
        await fails(number=2)
    await fails(number=3)


async def test_what_must_never_be_counts_at_once() -> None:
    tries: list[int] = []

    @pytest.mark.parametrize("number", NUMBERS)
    @side_by_side
    async def accuses(number: int) -> None:
        tries.append(number)
        if number == 2:
            pytest.fail("accused")

    await accuses(number=1)
    with pytest.raises(pytest.fail.Exception, match="accused"):
        await accuses(number=2)
    assert tries.count(2) == 1


async def test_a_socket_that_one_leaves_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[socket.socket] = []

    @pytest.mark.parametrize("number", NUMBERS)
    @side_by_side
    async def leaves(number: int) -> None:
        async with sockets_closed_after():
            if number == 2:
                left.append(socket.socket())

    monkeypatch.setattr("tests.support.beside.until", partial(until, seconds_max=0.05))
    try:
        with pytest.raises(trio.TooSlowError):
            await leaves(number=1)
    finally:
        left[0].close()


def test_cases_are_all_that_marks_can_be_put_together_to() -> None:
    @pytest.mark.parametrize("name", ["a", "b"])
    @pytest.mark.parametrize(("number", "held"), [(1, None), (2, False)])
    def test(name: str, number: int, *, held: bool | None) -> None:
        """Take all of them."""

    found = cases_of(test)
    assert len(found) == 4
    assert {"name": "b", "number": 1, "held": None} in found
