"""Bytes that are no HTTP/2, or come in any pieces: nothing is raised, and what waits is bounded."""

from __future__ import annotations

import pytest
from h2.errors import ErrorCodes
from hypothesis import given
from hypothesis import strategies as st

from reference_server.http import http2_frames
from reference_server.http.http2_frames import CONTINUATION, DATA, HEADERS, PREFACE, RST_STREAM, SETTINGS, FrameCutter
from tests.http.http2_memory import GET, InMemory, frame
from tests.http.test_http2_bounds import IDLE, PING, WINDOW_UPDATE, alive, block, connected
from tests.http.twins import make_api


def test_half_a_preface_is_the_half_of_something() -> None:
    cutter = FrameCutter()
    cutter.feed(PREFACE[:5])
    assert cutter.next() is None
    assert cutter.midway


@pytest.mark.parametrize(
    "wrong",
    [
        frame(DATA, 0, 0, b"x"),
        frame(DATA, 0, 7, b"x"),
        frame(HEADERS, 0x4, 2, block()),
        frame(HEADERS, 0x4, 1, b"\xff\xff\xff\xff\xff"),
        frame(CONTINUATION, 0x4, 1, block()),
        frame(HEADERS, 0, 1, block()) + frame(PING, 0, 0, b"12345678"),
        frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"),
        frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\0"),
        frame(SETTINGS, 0, 0, b"\0\0\0\0\0"),
        frame(SETTINGS, 0, 0, b"\0\2\0\0\0\7"),
        frame(PING, 0, 0, b"1"),
        frame(5, 0x4, 1, b"\0\0\0\2" + block()),
        b"\xff\xff\xff" + frame(DATA, 0, 1)[3:],
        frame(RST_STREAM, 0, 1, b"\0\0\0\0"),
    ],
    ids=lambda wrong: wrong[:12].hex(),
)
def test_what_is_no_http_2_ends_the_connection_and_takes_a_token(wrong: bytes) -> None:
    api = make_api(rate_limit_burst=2)
    connection = InMemory(api)
    connection.raw(wrong)
    assert not alive(connection)
    assert connection.gone not in (None, ErrorCodes.NO_ERROR)
    other = InMemory(api)
    assert [other.status(other.begin(GET)) for _ in range(2)] == [200, 429]


def test_a_preface_that_is_none_ends_the_connection_at_its_first_wrong_byte() -> None:
    cutter = FrameCutter()
    cutter.feed(b"GET / HTTP/1.1\r\n")
    with pytest.raises(http2_frames.Http2Error):
        cutter.next()


@given(st.lists(st.integers(1, 40), max_size=30), st.data())
def test_bytes_cut_anywhere_make_the_same_frames(sizes: list[int], data: st.DataObject) -> None:
    sent = PREFACE + b"".join(
        frame(data.draw(st.sampled_from([DATA, HEADERS, SETTINGS, PING])), 0x4, 1, b"\0" * size) for size in sizes
    )
    whole = FrameCutter()
    whole.feed(sent)
    singly = FrameCutter()
    frames = []
    for byte in sent:
        singly.feed(bytes([byte]))
        while (cut := singly.next()) is not None:
            frames.append(cut)
    assert len(singly) == 0
    assert frames == list(iter(whole.next, None))


odd_frames = st.builds(
    frame,
    st.integers(0, 10),
    st.integers(0, 255),
    st.integers(0, 5),
    st.binary(max_size=12) | st.just(block()),
)


@given(st.lists(st.binary(max_size=30) | odd_frames, max_size=12))
def test_whatever_bytes_come_nothing_is_raised_and_what_waits_is_bounded(pieces: list[bytes]) -> None:
    connection = connected()
    connection.reads = False
    for piece in pieces:
        connection.raw(piece)
        connection.wait(1)
    connection.wait(IDLE)
    connection.wait(IDLE)
    connection.wait(IDLE)
    assert not alive(connection)
