"""A history taken in pieces and put together again is the same one, whatever it holds and whenever it is taken."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, get_args

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.history.records import CampaignRecord, Deviation, FailedExchange, StatusShown, Trouble
from simulator.history.rows import ROW, History
from simulator.history.tables import TABLES
from simulator.load.deltas import WHOLE, Cursor, apply_delta
from simulator.load.messages import FrameError
from tests.load.parts import anything
from tests.support.tiers import examples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_numbers = count(1)
GROWING = sorted(set(TABLES) - WHOLE)


def made_up(kind: Any) -> Any:
    """Make a record of a table, unlike every one before it."""
    one = next(_numbers)
    if kind is str:
        return f"owner-{one}"
    fields = {
        field.name: _value_of(field.type, one)
        for field in msgspec.structs.fields(kind)
        if field.required or one % 2  # every other record as its defaults have it
    }
    return kind(**fields)


def _value_of(kind: Any, one: int) -> Any:
    plain: dict[Any, Callable[[], Any]] = {
        int: lambda: one << 33,
        float: lambda: one / 7,
        str: lambda: f"text {one} \N{SNOWMAN}",
        bytes: lambda: bytes([one % 256, 0, 255]),
        bool: lambda: bool(one & 2),
    }
    if kind in plain:
        return plain[kind]()
    if type(None) in get_args(kind):
        return None
    filled = {
        dict[str, float]: {f"sample_{one}": 1.5},
        dict[str, Any]: {"found": [one, None, {"deep": "yes"}]},
        dict[int, int]: {one: 3},
        list[str]: [f"key-{one}"],
        dict[str, StatusShown]: {f"wrk_{one}": StatusShown(policy_id=f"pol_{one}")},
        tuple[str, ...]: (f"owner-{one}", "another"),
        list[dict[str, Any]]: [{"id": f"evt_{one}", "metadata": {"reason": None}}],
        Sequence[dict[str, Any]]: [{"id": f"evt_{one}", "metadata": {"reason": None}}],
    }
    return filled[kind]


def record_of(table: str) -> type:
    """Return what a table holds, be it listed or numbered."""
    found: type = get_args(TABLES[table])[-1]
    return found


def add(history: History, table: str) -> None:
    """Have one thing more happen, of the kind that a table is of, or change where it is one whose records change."""
    made = made_up(record_of(table))
    kept = getattr(history, table)
    if isinstance(kept, dict):
        kept[next(_numbers) % 5] = made  # a machine that registers again is another one
    else:
        kept.append(made)


def add_rows(history: History, rng: np.random.Generator) -> None:
    """Have some requests be answered."""
    rows = np.frombuffer(rng.bytes(ROW.itemsize * int(rng.integers(1, 9))), dtype=ROW)
    for row in rows.tolist():
        history.append(*row)


def shown(history: History, rows: Any) -> dict[str, Any]:
    """Return everything a history holds, for comparing; `rows` are those that were taken out of it."""
    tables = {name: getattr(history, name) for name in TABLES}
    return {**tables, "rows": np.concatenate([rows, np.empty(0, ROW)]).tobytes()}


def taken(history: History, cursor: Cursor, other: History) -> Any:
    """Take what is new, as it goes to another process, into another history; gives the rows."""
    rows = cursor.rows()
    sent = cursor.delta(rows)
    assert apply_delta(other, sent).tobytes() == rows.tobytes()
    assert len(history) == 0
    return rows


def steps() -> st.SearchStrategy[list[str]]:
    """Return orders of what happens: a record more in a table, rows, a change of what was there, or a look."""
    return st.lists(st.sampled_from(["look", "rows", "again", "campaigns", *TABLES]), max_size=40)


def play(history: History, step: str, rng: np.random.Generator) -> None:
    """Have one step happen."""
    match step:
        case "rows":
            add_rows(history, rng)
        case "again" if history.troubles:
            known = history.troubles[0]
            history.add_trouble(Trouble(known.what, known.why, 1, known.first_ns, known.last_ns + 1))
        case "campaigns":  # as a fleet player does it: the whole list is another one
            grown = [msgspec.structs.replace(one, attempts=one.attempts + 1) for one in history.campaigns]
            history.campaigns = [
                *grown,
                CampaignRecord(len(grown) + 1, "replay.exact", scripted=False, attempts=0, completed=0),
            ]
        case name if name in TABLES:
            add(history, name)


@settings(deadline=None, max_examples=examples(200))
@given(steps=steps(), seed=st.integers(0, 1 << 32))
def test_any_history_taken_at_any_moments_arrives_as_it_is(steps: list[str], seed: int) -> None:
    history, other, rng = History(), History(), np.random.default_rng(seed)
    cursor, rows = Cursor(history), [np.empty(0, ROW)]
    for step in steps:
        if step == "look":
            rows.append(taken(history, cursor, other))
            assert shown(other, other.rows()) == shown(history, np.concatenate(rows))
        else:
            play(history, step, rng)
    rows.append(taken(history, cursor, other))
    assert shown(other, other.rows()) == shown(history, np.concatenate(rows))


@pytest.mark.parametrize("table", sorted(TABLES))
def test_each_table_arrives(table: str) -> None:
    """Every one there is, those that are added later among them, and what is the same after it was changed."""
    history, other = History(), History()
    cursor = Cursor(history)
    for _ in range(3):
        add(history, table)
        taken(history, cursor, other)
        assert getattr(other, table) == getattr(history, table)
    assert len(getattr(other, table)) >= 1


@pytest.mark.parametrize("table", GROWING)
def test_what_was_sent_is_not_sent_again(table: str) -> None:
    """A run of hours would else send its whole past every second."""
    history = History()
    cursor = Cursor(history)
    nothing = len(cursor.delta(cursor.rows()))
    add(history, table)
    assert len(cursor.delta(cursor.rows())) > nothing
    assert len(cursor.delta(cursor.rows())) == nothing


@pytest.mark.parametrize("change", ["again", "campaigns"])
def test_records_that_change_arrive_as_they_are_now(change: str) -> None:
    """A trouble that happens again, and campaigns that go on: each look finds other figures."""
    history, other = History(), History()
    cursor, rng = Cursor(history), np.random.default_rng(1)
    history.trouble(5, "heartbeat", "refused")
    for _ in range(3):
        play(history, change, rng)
        taken(history, cursor, other)
        assert (other.troubles, other.campaigns) == (history.troubles, history.campaigns)


def test_a_machine_that_registers_again_arrives_again() -> None:
    history, other = History(), History()
    cursor = Cursor(history)
    for _ in range(2):
        history.machines[3] = made_up(record_of("machines"))
        taken(history, cursor, other)
        assert other.machines == history.machines


@settings(deadline=None, max_examples=examples(20))
@given(seed=st.integers(0, 1 << 32), cuts=st.integers(1, 6))
def test_two_parts_told_in_turns_do_not_mix(seed: int, cuts: int) -> None:
    """Each part's pieces build up that part's history, and no other's."""
    histories = [anything(seed, 40), anything(seed + 1, 40)]
    whole = [history.rows().copy() for history in histories]
    others = [History(), History()]
    cursors = [Cursor(history) for history in histories]
    for _ in range(cuts):
        for history, cursor, other in zip(histories, cursors, others, strict=True):
            taken(history, cursor, other)
    for history, other, rows in zip(histories, others, whole, strict=True):
        assert shown(other, other.rows()) == shown(history, rows)


def damaged() -> Iterator[tuple[str, bytes]]:
    """Yield bytes that are no piece of a history, each with what is wrong."""
    history = anything(1, 40)
    cursor = Cursor(history)
    good = cursor.delta(cursor.rows())
    yield "nothing", b""
    yield "cut off", good[:-1]
    yield "no map", msgspec.msgpack.encode([1, 2])
    yield "without rows", msgspec.msgpack.encode({"owners": []})
    yield "an owner that is a number", msgspec.msgpack.encode({"rows": b"", "owners": [7]})
    yield "a trouble without its reason", msgspec.msgpack.encode({"rows": b"", "troubles": [{"what": "x"}]})


@pytest.mark.parametrize("data", [one for _, one in damaged()], ids=[name for name, _ in damaged()])
def test_what_is_no_piece_of_a_history_is_refused_and_adds_nothing(data: bytes) -> None:
    other = History()
    with pytest.raises(FrameError, match="no piece of a history"):
        apply_delta(other, data)
    assert shown(other, other.rows()) == shown(History(), History().rows())


def test_rows_of_another_size_are_of_another_version() -> None:
    other = History()
    with pytest.raises(FrameError, match="rows of another version's history"):
        apply_delta(other, msgspec.msgpack.encode({"rows": b"x" * (ROW.itemsize + 1), "owners": ["ada"]}))
    assert (len(other), other.owners) == (0, [])


@settings(deadline=None)
@given(data=st.binary(max_size=60))
def test_any_bytes_are_a_piece_or_refused(data: bytes) -> None:
    try:
        rows = apply_delta(History(), data)
    except FrameError:
        return
    assert rows.dtype == ROW


COUNTING: dict[str, Callable[[History], None]] = {
    "troubles": lambda history: history.trouble(1, "heartbeat", "refused"),
    "closes_at_rest": lambda history: history.closed_at_rest(5),
    "deviations": lambda history: history.deviate(
        Deviation("contents.odd", "GET /", "odd", 1, 2, 0), FailedExchange(1, 2, 0, b"", b"", "odd")
    ),
}


@pytest.mark.parametrize("table", sorted(COUNTING))
def test_a_record_that_goes_on_counting_arrives_as_it_is_now(table: str) -> None:
    history, merged = History(), History()
    cursor = Cursor(history)
    for number in range(1, 4):
        COUNTING[table](history)
        apply_delta(merged, cursor.delta(cursor.rows()))
        assert [one.count for one in getattr(merged, table)] == [number]
