"""Frames between processes of a run: whole however they are cut, bounded, and refused when they are none."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.judging.tally import Tally
from simulator.limits import FRAME_MAX_BYTES
from simulator.load import messages
from simulator.load.messages import (
    LENGTH_BYTES,
    Begin,
    Count,
    Counted,
    Failed,
    Finish,
    FrameError,
    Frames,
    Halt,
    Joined,
    Launch,
    Left,
    Message,
    Order,
    PartReport,
    Report,
    Started,
    Wanted,
    frame,
)

words = st.text(max_size=12)
numbers = st.integers(-(1 << 62), 1 << 62)
counts = st.integers(0, 1 << 40)
named = st.dictionaries(words, words, max_size=3)
orders = st.builds(
    Order, words, counts, words, words, st.none() | named, numbers, keep_history=st.booleans(), sides=named
)
tallies = st.builds(Tally, words, words, st.binary(max_size=40), counts, st.dictionaries(words, counts, max_size=3))
reports = st.builds(
    Report, numbers, st.lists(tallies, max_size=2), st.dictionaries(words, counts, max_size=3), st.binary(max_size=60),
    st.booleans(),
)  # fmt: skip
offsets = st.tuples(numbers, numbers)
KINDS: dict[type, st.SearchStrategy[Any]] = {
    Order: orders,
    Begin: st.builds(Begin, orders, counts, counts, numbers, counts),
    Wanted: st.builds(Wanted, counts),
    Launch: st.builds(Launch, counts),
    Finish: st.just(Finish()),
    Report: reports,
    Failed: st.builds(Failed, words),
    Started: st.builds(Started, numbers),
    Joined: st.builds(Joined, counts, words, counts, counts, numbers, counts, offsets),
    PartReport: st.builds(PartReport, counts, reports),
    Left: st.builds(Left, words, words),
    Counted: st.builds(
        Counted,
        st.lists(st.builds(Count, words, words, counts, counts), max_size=3),
        counts,
        st.dictionaries(words, offsets, max_size=2),
    ),
    Halt: st.just(Halt()),
}
conversations = st.lists(st.one_of(*KINDS.values()), max_size=6)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """Cut bytes into pieces of these sizes, over and over."""
    pieces: list[bytes] = []
    start = 0
    while start < len(data):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(data[start : start + size])
        start += size
    return pieces


def test_every_message_is_tried_here() -> None:
    assert set(KINDS) == set(messages.Message.__args__)


@settings(deadline=None)
@given(output=conversations, sizes=st.lists(st.integers(1, 50), min_size=1, max_size=5))
def test_a_conversation_is_heard_as_it_was_said_in_whatever_pieces_it_comes(
    output: list[Message], sizes: list[int]
) -> None:
    """Whole, byte by byte, and with the beginning of the next message behind one."""
    frames = Frames()
    heard = [message for piece in cut(b"".join(map(frame, output)), sizes) for message in frames.feed(piece)]
    assert heard == output


@settings(deadline=None)
@given(first=st.one_of(*KINDS.values()), second=st.one_of(*KINDS.values()))
def test_a_message_is_given_with_its_last_byte_and_not_before(first: Message, second: Message) -> None:
    frames, data = Frames(), frame(first)
    assert frames.feed(data[:-1]) == []
    assert frames.feed(data[-1:] + frame(second)[:-1]) == [first]
    assert frames.feed(frame(second)[-1:]) == [second]


def test_the_longest_message_passes_and_one_byte_more_is_refused_by_both_ends() -> None:
    longest = len(messages.pack(Failed("x" * 300)))
    assert Frames(longest).feed(frame(Failed("x" * 300), longest)) == [Failed("x" * 300)]
    with pytest.raises(FrameError, match=f"a message of {longest + 1} bytes, more than {longest}"):
        frame(Failed("x" * 301), longest)
    with pytest.raises(FrameError, match=f"a frame of {longest + 1} bytes, more than {longest}"):
        Frames(longest).feed((longest + 1).to_bytes(LENGTH_BYTES, "little"))


def test_a_length_past_the_bound_is_refused_before_any_of_it_is_kept() -> None:
    with pytest.raises(FrameError, match="more than"):
        Frames().feed((FRAME_MAX_BYTES + 1).to_bytes(LENGTH_BYTES, "little"))


@settings(deadline=None)
@given(data=st.binary(max_size=80))
def test_any_bytes_are_a_message_or_refused_as_none(data: bytes) -> None:
    """And nothing else ever comes of them: no other error, and no message of a kind that there is not."""
    framed = len(data).to_bytes(LENGTH_BYTES, "little") + data
    try:
        heard = Frames().feed(framed)
    except FrameError as error:
        assert "no message of this version" in str(error)  # noqa: PT017 - some bytes are a message, most are not
    else:
        assert [type(one) in KINDS for one in heard] == [True]


@settings(deadline=None)
@given(message=st.one_of(*KINDS.values()), where=st.integers(0, 1 << 20), byte=st.integers(0, 255))
def test_a_damaged_frame_is_another_message_or_refused(message: Message, where: int, byte: int) -> None:
    data = bytearray(frame(message))
    data[LENGTH_BYTES + where % (len(data) - LENGTH_BYTES)] = byte
    try:
        heard = Frames().feed(bytes(data))
    except FrameError:
        return
    assert [type(one) in KINDS for one in heard] == [True]


@pytest.mark.parametrize(
    "unknown",
    [{"type": "Surrender"}, {"type": "Wanted"}, {"type": "Wanted", "machines": "many"}, {"machines": 3}, [], None, 7],
    ids=[
        "of no kind",
        "without its field",
        "with words for a number",
        "without a kind",
        "a list",
        "nothing",
        "a number",
    ],
)
def test_a_message_of_another_version_is_refused(unknown: object) -> None:
    data = msgspec.msgpack.encode(unknown)
    with pytest.raises(FrameError, match="no message of this version"):
        Frames().feed(len(data).to_bytes(LENGTH_BYTES, "little") + data)
