from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import h11
import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_server.http.express_lane import READ_BYTES
from reference_server.http.framing import FramingGuard, Waiting
from reference_server.http.heads import Head, HeadReader
from reference_server.limits import BODY_MAX_BYTES, HEAD_MAX_BYTES
from tests.http.corpus_framing import BEHIND, FRAMING_CASES, HEALTH_START
from tests.http.corpus_routes import ROUTE_CASES
from tests.support.tiers import examples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tests.http.corpus import Case, Meant

MARK = b"x-refused-with"
FRAGMENTS = [
    b"GET / HTTP/1.1\r\n", b"POST /a HTTP/1.1\r\n", b"GET /b HTTP/1.0\r\n", b"BREW / HTTP/1.1\r\n",
    b"OPTIONS * HTTP/1.1\r\n", b"Host: a\r\n", b"Host:a", b"A: b \t\r\n", b"A : b\r\n", b" folded\r\n",
    b"Connection: close\r\n", b"Expect: 100-continue\r\n", b"Content-Length: 3\r\n", b"Content-Length: +3\r\n",
    b"Content-Length: 1048577\r\n", b"Upgrade: h2c\r\nConnection: upgrade\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip\r\n", b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\x00", b":", b" ", b"abc", b"3\r\nabc\r\n",
    b"3;x=y\r\nabc\r\n", b"0\r\n\r\n", b"0\r\n", b"A: b\r\n\r\n", b"ffffffff\r\n", b"\xff\x80", b"\t",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n",
]  # fmt: skip
fuzz = st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=8), max_size=24).map(b"".join)
corpus = st.sampled_from([case.sent for case in [*ROUTE_CASES, *FRAMING_CASES] if len(case.sent) < 2 * HEAD_MAX_BYTES])
places = st.lists(st.floats(0, 1), max_size=12)


class Fed(NamedTuple):
    """What came out of a guard, and how it stands after all that went in."""

    released: bytes
    requests: int
    refused: bool
    ended: bool
    waiting: Waiting


def fed(pieces: Iterable[bytes]) -> Fed:
    guard = FramingGuard(MARK)
    out = b"".join(guard.receive(piece) for piece in pieces)
    return Fed(out, guard.released, MARK in out, guard.ended, guard.waiting)


def held_by(guard: FramingGuard) -> int:
    """Count the bytes it holds; what it says itself includes what a head costs."""
    held = len(guard._requests._buffer) + len(guard._requests._body)
    assert held <= guard.waiting_bytes
    return held


def cut(data: bytes, at: Sequence[float]) -> list[bytes]:
    bounds = [0, *sorted(int(place * len(data)) for place in at), len(data)]
    return [data[start:end] for start, end in pairwise(bounds)]


def singly(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]


class Read(NamedTuple):
    """One request as Hypercorn's own parser reads it."""

    method: bytes
    target: bytes
    version: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes


def read_by_h11(data: bytes) -> list[Read]:
    """Read whole requests as Hypercorn does; anything else than whole requests fails."""
    requests = []
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=4 * BODY_MAX_BYTES)
    connection.receive_data(data)
    while connection.trailing_data[0]:
        request = connection.next_event()
        assert isinstance(request, h11.Request)
        body = b""
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            assert isinstance(event, h11.Data)
            body += bytes(event.data)
        requests.append(Read(request.method, request.target, request.http_version, list(request.headers), body))
        rest = connection.trailing_data[0]
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=4 * BODY_MAX_BYTES)
        if rest:
            connection.receive_data(rest)
    return requests


@pytest.mark.parametrize("case", [*ROUTE_CASES, *FRAMING_CASES], ids=lambda case: case.name)
def test_corpus_fed_in_pieces_is_released_as_when_fed_whole(case: Case) -> None:
    whole = fed([case.sent])
    small = len(case.sent) <= 2 * HEAD_MAX_BYTES
    assert fed(singly(case.sent) if small else cut(case.sent, [n / 4096 for n in range(4096)])) == whole
    assert [
        index
        for index in range(0, len(case.sent), 1 + len(case.sent) // 64)
        if fed([case.sent[:index], case.sent[index:]]) != whole
    ] == []


@pytest.mark.parametrize("case", [*ROUTE_CASES, *FRAMING_CASES], ids=lambda case: case.name)
def test_corpus_is_released_as_the_requests_it_means(case: Case) -> None:
    def shown(meant: Meant) -> tuple[object, ...]:
        request = meant.request
        if request is None:
            return (b"%d" % meant.status,)
        target = request.path + ("?" + request.query if request.query else "")
        return (b"413" if request.body_too_large else None, request.method, target, request.body)

    out = fed([case.sent])
    read = [(dict(request.headers).get(MARK), request) for request in read_by_h11(out.released)]
    assert [
        (mark,) if mark in {b"400", b"431"} else (mark, request.method.decode(), request.target.decode(), request.body)
        for mark, request in read
    ] == [shown(meant) for meant in case.meant]
    assert out.ended == case.closes


@settings(deadline=None, max_examples=examples(400))
@given(data=st.one_of(fuzz, st.tuples(corpus, fuzz).map(b"".join), st.binary(max_size=64)), at=places)
def test_any_bytes_in_any_pieces_are_released_alike(data: bytes, at: list[float]) -> None:
    """Nothing a client sends raises, how it is cut makes no difference, and what comes out is whole to h11."""
    whole = fed([data])
    assert fed(cut(data, at)) == whole
    heads = [dict(request.headers) for request in read_by_h11(whole.released)]
    assert len(heads) == whole.requests
    assert sum(head.get(MARK) in {b"400", b"413", b"431"} for head in heads) == whole.refused
    closing = [head.get(b"connection") == b"close" for head in heads]
    assert closing == [False] * (len(heads) - whole.ended) + [True] * whole.ended
    assert sum(MARK in head for head in heads) == whole.refused


@pytest.mark.parametrize("spoilt", [None, -2, -1, 0, 1, 2])
@pytest.mark.parametrize("excess", [-1, 0, 1, 2, 3, 4, 5])
def test_cuts_at_the_head_limit_change_nothing(excess: int, spoilt: int | None) -> None:
    """Too large and malformed at once is refused for what comes first, wherever a read happens to end."""
    head = bytearray(HEALTH_START + b"A: ".ljust(HEAD_MAX_BYTES + excess - len(HEALTH_START) - 4, b"x") + b"\r\n\r\n")
    if spoilt is not None:
        head[HEAD_MAX_BYTES + spoilt : HEAD_MAX_BYTES + spoilt + 1] = b"\x00"
    data = bytes(head) + BEHIND
    whole = fed([data])
    first = HEAD_MAX_BYTES - 6
    assert fed([data[:first], *singly(data[first:])]) == whole
    assert [end for end in range(first, first + 16) if fed([data[:end], data[end:]]) != whole] == []
    status = dict(read_by_h11(whole.released)[0].headers).get(MARK)
    if spoilt is None:
        assert status == (b"431" if excess > 0 else None)
    elif spoilt < min(0, excess):
        # A line that is not whole where the head is too large was never looked at.
        assert status in ({b"400", b"431"} if excess > 0 else {b"400"})


SPECIAL = {"host", "content-length", "transfer-encoding", "connection", "expect", "upgrade", "http2-settings"}
names = st.from_regex(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}", fullmatch=True).filter(
    lambda name: name.lower() not in SPECIAL
)
values = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=20).map(
    lambda text: "".join(character for character in text if not 0x7F <= ord(character) < 0xA1).strip(" ")
)
methods = st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "QUERY"])
targets = st.from_regex(r"/[!-~]{0,30}", fullmatch=True).filter(lambda target: "#" not in target)


class Sent(NamedTuple):
    """A well-formed request, and one way to write it."""

    method: str
    target: str
    absolute: bool
    headers: list[tuple[str, str]]
    body: bytes
    chunks: list[int] | None
    closes: bool
    empty_lines: int

    def written(self) -> bytes:
        target = f"http://elsewhere:81{self.target}" if self.absolute else self.target
        lines = [f"{self.method} {target} HTTP/1.1", "Host:\tserver \t"]
        lines += [f"{name}:{value}" for name, value in self.headers]
        lines += ["connection: keep-alive, Close"] * self.closes
        lines.append("transfer-encoding: Chunked" if self.chunks is not None else f"CONTENT-LENGTH:  {len(self.body)}")
        head = "\r\n" * self.empty_lines + "\r\n".join([*lines, "", ""])
        return head.encode("latin-1") + (self.body if self.chunks is None else self._chunked(self.chunks))

    def _chunked(self, sizes: list[int]) -> bytes:
        bounds = sorted({0, len(self.body), *(size for size in sizes if size < len(self.body))})
        chunks = [self.body[start:end] for start, end in pairwise(bounds)]
        return (
            b"".join(b"%x ; n=%d\r\n%b\r\n" % (len(chunk), len(chunk), chunk) for chunk in chunks)
            + b"00\r\nt: u\r\n\r\n"
        )

    def meant(self) -> Read:
        headers = [("host", "server"), *((name.lower(), value) for name, value in self.headers)]
        headers += [("connection", "close")] * self.closes + [("content-length", str(len(self.body)))]
        encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        return Read(self.method.encode(), self.target.encode(), b"1.1", encoded, self.body)


requests = st.builds(
    Sent,
    methods,
    targets,
    st.booleans(),
    st.lists(st.tuples(names, values), max_size=5),
    st.binary(max_size=60),
    st.none() | st.lists(st.integers(1, 59), max_size=4),
    st.integers(0, 5).map(lambda number: number == 0),
    st.integers(0, 2),
)


@settings(deadline=None, max_examples=examples(200))
@given(sent=st.lists(requests, min_size=1, max_size=4), at=places)
def test_well_formed_requests_come_out_as_exactly_what_they_mean(sent: list[Sent], at: list[float]) -> None:
    closing = next((index for index, request in enumerate(sent) if request.closes), len(sent) - 1)
    out = fed(cut(b"".join(request.written() for request in sent), at))
    assert read_by_h11(out.released) == [request.meant() for request in sent[: closing + 1]]
    assert not out.refused


def hopeless(data: bytes) -> bool:
    """Say with a fresh parser whether a head that begins so is refused at once: each header once its line is whole."""
    if re.search(rb"(?<!\r)\n|\r(?!\n|\Z)", data):
        return True  # ends of lines that llhttp would let pass
    parser = httptools.HttpRequestParser(Head())
    begun, separator, headers = data.partition(b"\r\n")
    try:
        parser.feed_data(begun + separator + headers[: headers.rfind(b"\n") + 1])
    except httptools.HttpParserUpgrade:
        return False
    except httptools.HttpParserError:
        return True
    return False


@settings(deadline=None, max_examples=examples(200))
@given(fuzz.map(lambda data: data[: end + 4] if (end := data.find(b"\r\n\r\n")) >= 0 else data))
def test_reading_a_head_as_it_arrives_is_reading_each_beginning_anew(data: bytes) -> None:
    reader = HeadReader()
    verdicts = []
    for index in range(len(data)):
        verdicts.append(reader.feed(data[index : index + 1]))
        if not verdicts[-1]:
            break
    assert verdicts == [not hopeless(data[: index + 1]) for index in range(len(verdicts))]


LlhttpParser = httptools.HttpRequestParser


class CountingParser:
    """httptools' parser, counting the bytes it is fed."""

    fed_bytes = 0

    def __init__(self, protocol: object) -> None:
        self._parser = LlhttpParser(protocol)

    def feed_data(self, data: bytes) -> None:
        CountingParser.fed_bytes += len(data)
        self._parser.feed_data(data)


def test_a_dripped_head_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Single bytes must not cost the square of their number."""
    monkeypatch.setattr(httptools, "HttpRequestParser", CountingParser)
    monkeypatch.setattr(CountingParser, "fed_bytes", 0)
    guard = FramingGuard(MARK)
    data = HEALTH_START + b"A: " + b"x" * 10_000 + b"\r\n"
    for byte in singly(data):
        assert guard.receive(byte) == b""
    assert CountingParser.fed_bytes == len(data)


def endless_head() -> Iterable[bytes]:
    yield HEALTH_START
    while True:
        yield b"A: %b\r\n" % (b"x" * 60_000)


def endless_line() -> Iterable[bytes]:
    yield b"GET /"
    while True:
        yield b"x" * 999


def endless_chunk_extension() -> Iterable[bytes]:
    yield b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;"
    while True:
        yield b"x" * READ_BYTES


def endless_chunks() -> Iterable[bytes]:
    yield b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    while True:
        yield b"ffff\r\n%b\r\n" % (b"x" * 0xFFFF)


def endless_length() -> Iterable[bytes]:
    yield b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n"
    while True:
        yield b"x" * READ_BYTES


def one_full_chunk() -> Iterable[bytes]:
    yield b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n100000\r\n"
    while True:
        yield b"x" * READ_BYTES


@pytest.mark.parametrize(
    ("stream", "status"),
    [
        (endless_head, b"431"),
        (endless_line, b"431"),
        (endless_chunk_extension, b"400"),
        (endless_chunks, b"413"),
        (endless_length, b"413"),
        (one_full_chunk, b"400"),
    ],
)
def test_what_never_ends_is_refused_and_held_within_bounds(
    stream: Callable[[], Iterable[bytes]], status: bytes
) -> None:
    guard = FramingGuard(MARK)
    for number, piece in enumerate(stream()):
        out = guard.receive(piece)
        assert held_by(guard) <= BODY_MAX_BYTES + READ_BYTES + HEAD_MAX_BYTES
        if out:
            assert dict(read_by_h11(out)[0].headers)[MARK] == status
            break
        assert number < 100
    assert guard.receive(BEHIND) == b""
    assert held_by(guard) == 0


@settings(deadline=None, max_examples=examples(200))
@given(data=fuzz, at=places)
def test_bounds_hold_for_any_bytes(data: bytes, at: list[float]) -> None:
    """A guard holds only what it still needs: a head that has not ended, or no more of a body than was announced."""
    guard = FramingGuard(MARK)
    sent = 0
    for piece in cut(data, at):
        guard.receive(piece)
        sent += len(piece)
        held = held_by(guard)
        assert held <= min(sent, BODY_MAX_BYTES + 2)
        if guard.waiting is Waiting.REQUEST:
            assert held <= len(b"\r")


@pytest.mark.parametrize(
    ("data", "waiting"),
    [
        (b"", Waiting.REQUEST),
        (b"\r", Waiting.REQUEST),
        (b"\r\n\r\n\r", Waiting.REQUEST),
        (b"G", Waiting.HEAD),
        (b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r", Waiting.HEAD),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", Waiting.BODY),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", Waiting.BODY),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Waiting.REQUEST),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\nG", Waiting.HEAD),
    ],
)
def test_guard_knows_what_it_waits_for(data: bytes, waiting: Waiting) -> None:
    assert fed([data]).waiting is waiting


@pytest.mark.parametrize(
    ("sent", "due"),
    [
        (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", True),
        (b"POST / HTTP/1.1\r\nHost: a\r\nEXPECT: 100-Continue \r\nTransfer-Encoding: chunked\r\n\r\n", True),
        (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx", False),
        (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n", False),
        (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9999999\r\n\r\n", False),
        (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: else\r\nContent-Length: 1\r\n\r\n", False),
    ],
)
def test_a_held_back_body_is_asked_for_once_it_is_wanted(sent: bytes, *, due: bool) -> None:
    guard = FramingGuard(MARK)
    guard.receive(sent)
    assert guard.continue_due is due
