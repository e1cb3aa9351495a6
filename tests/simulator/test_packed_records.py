"""Packed lists are lists: whatever is done to one and to a list of the same records, both hold the same."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.history import packed
from simulator.history.packed import Packed, plainly

if TYPE_CHECKING:
    from collections.abc import Callable


class Pair(msgspec.Struct, frozen=True):
    number: int
    text: str


PAIRS = st.builds(Pair, st.integers(), st.text(max_size=5))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
PLACES = st.integers(-30, 30)
SLICES = st.builds(slice, st.none() | PLACES, st.none() | PLACES, st.sampled_from([None, 1, 2, -1, -3]))
STEPS = st.lists(
    st.tuples(st.just("append"), PAIRS)
    | st.tuples(st.just("extend"), st.lists(PAIRS, max_size=9))
    | st.tuples(st.just("insert"), st.integers(0, 30), PAIRS)
    | st.tuples(st.just("delete"), SLICES)
    | st.tuples(st.just("replace"), st.lists(PAIRS, max_size=9)),
    max_size=12,
)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "BLOCK_RECORDS", 4)


def do(step: tuple[Any, ...], records: Any) -> None:
    match step:
        case ("append", one):
            records.append(one)
        case ("extend", some):
            records += some
        case ("insert", at, one):
            records.insert(at, one)
        case ("delete", where):
            del records[where]
        case ("replace", some):
            records[:] = some


@given(STEPS, st.lists(SLICES, max_size=4), st.sampled_from([Packed, Packed.whole]))
def test_a_packed_list_holds_what_a_list_holds(
    steps: list[tuple[Any, ...]], slices: list[slice], make: Callable[[type[Pair], list[Pair]], Packed[Pair]]
) -> None:
    first = [Pair(0, "a"), Pair(1, "b"), Pair(2, "")]
    right, mine = list(first), make(Pair, first)
    for step in steps:
        do(step, right)
        do(step, mine)
        assert len(mine) == len(right)
        assert mine == right
        assert right == mine
        assert [mine[where] for where in slices] == [right[where] for where in slices]
        assert [mine[at] for at in range(-len(right), len(right))] == right * 2
    with pytest.raises(IndexError):
        mine[len(right)]
    assert repr(mine) == repr(right)
    assert mine != [*right, Pair(9, "")]
    assert mine != {}


@given(st.lists(st.dictionaries(st.text(max_size=5), VALUES, max_size=4), max_size=9))
def test_what_a_server_showed_comes_back_as_it_was(events: list[dict[str, Any]]) -> None:
    assert repr(list(Packed.whole(dict, events))) == repr(events)


def test_numbers_past_any_double_and_halves_of_characters_are_kept() -> None:
    events = [{"a": 10**400, "b": "\ud800", "c": float("inf"), "d": 1.0, "e": 2**64}]
    assert repr(Packed.whole(dict, events)) == repr(events)


def test_what_is_added_while_it_is_read_is_read_or_not_and_nothing_twice() -> None:
    mine = Packed(Pair, [Pair(number, "") for number in range(10)])
    seen = []
    for one in mine:
        seen.append(one.number)
        if len(mine) < 30:
            mine.append(Pair(len(mine), ""))
    assert seen == sorted(set(seen))
    assert seen[:10] == list(range(10))


def test_only_packed_lists_are_written_as_lists() -> None:
    assert msgspec.to_builtins({"a": Packed(Pair, [Pair(1, "b")])}, enc_hook=plainly) == {
        "a": [{"number": 1, "text": "b"}]
    }
    with pytest.raises(TypeError, match="set is no packed list"):
        plainly(set())


def test_it_takes_a_small_part_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()

    def event(number: int) -> dict[str, Any]:
        return {"id": f"evt_{number:032x}", "type": "worker_heartbeat", "metadata": {"status": "online"}, "n": number}

    tracemalloc.start()
    try:
        plain = [event(number) for number in range(5000)]
        of_plain = tracemalloc.get_traced_memory()[0]
        mine = Packed.whole(dict, plain)
        assert tracemalloc.get_traced_memory()[0] - of_plain < of_plain / 8
        assert mine == plain
    finally:
        tracemalloc.stop()
