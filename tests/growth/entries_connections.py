"""Every connection of the server, and what clients send on it: each gives, for a size, what to do once."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from hpack import Encoder

from reference_server.adapters.memory.clocks import SetClock
from reference_server.http.conversation import Conversation
from reference_server.http.http2_connection import Http2Connection
from reference_server.http.http2_fields import read_head
from reference_server.http.http2_frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PADDED,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    FrameCutter,
    Http2Error,
)
from reference_server.http.plain_heads import plain_head
from reference_server.http.whole_requests import whole_request
from reference_server.pipeline.answering import Answerer
from reference_server.pipeline.resolving import Resolver
from tests.core.server_under_test import Server
from tests.growth.entries_server import MESSAGES, TEXTS, quietly

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.growth.entries_server import Entry, Work

PRIORITY, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, UNKNOWN = 2, 5, 6, 7, 8, 77
CLIENT = "192.0.2.1"
GET = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"h"), (b":path", b"/health")]
POST = [(b":method", b"POST"), *GET[1:3], (b":path", b"/api/v1/policies")]
WAYS = (("in one piece", 1 << 20), ("byte by byte", 1), ("in sevens", 7))


def answerer() -> tuple[Answerer, Server]:
    """Return what answers for a server that refuses nobody for coming often."""
    server = Server(rate_limit_burst=1_000_000)
    clock = SetClock()
    return Answerer(server.api, clock, Resolver(server.api, clock)), server


def _pieces(data: bytes, piece_bytes: int) -> list[bytes]:
    return [data[at : at + piece_bytes] for at in range(0, len(data), piece_bytes)]


# --- HTTP/1.1


def _conversations() -> dict[str, Entry]:
    def converse(n: int, message: Callable[[int], bytes], piece_bytes: int) -> Work:
        conversation = Conversation(answerer()[0], CLIENT, "http")
        pieces = _pieces(message(n), piece_bytes)

        def work() -> None:
            for piece in pieces:
                conversation.receive(piece)
                while conversation.next() is not None or conversation.busy:
                    pass

        return work

    messages = {
        **MESSAGES,
        "a HEAD with many headers": lambda n: b"HEAD / HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * (n // 6) + b"\r\n",
        "what waits to be told": lambda n: (
            b"POST /api/v1/policies HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\nx"
            * (n // 80)
        ),
    }
    return {
        f"a conversation, {name}, {words}": partial(converse, message=message, piece_bytes=piece_bytes)
        for name, message in messages.items()
        for words, piece_bytes in WAYS[:2]
    }


def _heads() -> dict[str, Entry]:
    """Heads of heartbeats as the lane reads them at a glance, and whatever resembles them."""
    start = "POST /api/v1/workers/wrk_0123456789abcdef/heartbeat HTTP/1.1\r\n"
    shapes: dict[str, Callable[[str], str]] = {
        "an id": lambda text: f"POST /api/v1/workers/{text}/heartbeat HTTP/1.1\r\nHost: x\r\n\r\n",
        "a host": lambda text: f"{start}Host: {text}\r\n\r\n",
        "a name": lambda text: f"{start}Host: x\r\n{text}: x\r\n\r\n",
        "a token": lambda text: f"{start}Host: x\r\nX-Machine-Token: {text}\r\nContent-Length: 1\r\n\r\n",
        "a length": lambda text: f"{start}Host: x\r\nContent-Length: {text}\r\n\r\n",
    }
    return {
        f"a plain head with {what} of {name}": lambda n, text=text, shape=shape: partial(  # type: ignore[misc]
            plain_head, shape(text(n)).encode("latin-1")
        )
        for what, shape in shapes.items()
        for name, text in {**TEXTS, "headers": lambda n: "x: y\r\n" * (n // 6)}.items()
    }


def _whole_requests() -> dict[str, Entry]:
    """Any other requests as the lane reads them at a glance, and whatever resembles them."""
    shapes: dict[str, Callable[[str], str]] = {
        "a path": lambda text: f"GET /{text} HTTP/1.1\r\nHost: x\r\n\r\n",
        "a host": lambda text: f"GET / HTTP/1.1\r\nHost: {text}\r\n\r\n",
        "a name": lambda text: f"GET / HTTP/1.1\r\nHost: x\r\n{text}: x\r\n\r\n",
        "a length": lambda text: f"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: {text}\r\n\r\n",
        "a body": lambda text: f"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: {len(text)}\r\n\r\n{text}",
    }
    return {
        f"a whole request with {what} of {name}": lambda n, text=text, shape=shape: partial(  # type: ignore[misc]
            whole_request, shape(text(n)).encode("latin-1"), CLIENT, "http"
        )
        for what, shape in shapes.items()
        for name, text in {**TEXTS, "headers": lambda n: "x: y\r\n" * (n // 6)}.items()
    }


# --- HTTP/2


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Write a frame."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream_id.to_bytes(4, "big") + payload


def block(*more: tuple[bytes, bytes], of: list[tuple[bytes, bytes]] = GET) -> bytes:
    """Write a request's fields, none of which refers to an earlier request's."""
    return Encoder().encode([(name, value, True) for name, value in (*of, *more)])


def requests(n: int, bytes_each: int, *behind: tuple[int, int, bytes], flags: int = END_HEADERS | END_STREAM) -> bytes:
    """Write requests, each with frames behind it."""
    head = block() if flags & END_STREAM else block(of=POST)
    return b"".join(
        frame(HEADERS, flags, 2 * at + 1, head)
        + b"".join(frame(kind, more, 2 * at + 1, payload) for kind, more, payload in behind)
        for at in range(n // bytes_each)
    )


def headers_of(content: bytes, piece_bytes: int = 16_000) -> bytes:
    """Write a header block as HEADERS and CONTINUATIONs."""
    parts = _pieces(content, piece_bytes) or [b""]
    kinds = [(HEADERS, END_STREAM), *[(CONTINUATION, 0)] * (len(parts) - 1)]
    frames = [frame(kind, flags, 1, part) for (kind, flags), part in zip(kinds, parts, strict=True)]
    return b"".join(frames) + frame(CONTINUATION, END_HEADERS, 1)


def body_of(piece: bytes, flags: int = 0) -> Callable[[int], bytes]:
    """Write a request whose body comes in such pieces."""
    start = frame(HEADERS, END_HEADERS, 1, block(of=POST))
    one = frame(DATA, flags, 1, piece)
    return lambda n: start + one * (n // len(one)) + frame(DATA, END_STREAM, 1)


REPEATED = b"\x40\x01a\x20" + b"b" * 32
"""A field that is put in the table, from which a byte (0xbe) brings it back."""
FRAMES: dict[str, Callable[[int], bytes]] = {
    "requests": lambda n: requests(n, 30),
    "requests that are reset": lambda n: requests(n, 30, (RST_STREAM, 0, b"\0\0\0\x08")),
    "bodies never begun": lambda n: requests(n, 40, flags=END_HEADERS),
    "bodies that are reset": lambda n: requests(n, 40, (RST_STREAM, 0, b"\0\0\0\x08"), flags=END_HEADERS),
    "bodies in parts": lambda n: requests(n, 60, (DATA, 0, b"x"), (DATA, END_STREAM, b"y"), flags=END_HEADERS),
    "a body of crumbs": body_of(b"x"),
    "a body of nothing": body_of(b""),
    "a body of padding": body_of(b"\x08" + bytes(8), PADDED),
    "a long body": body_of(b"x" * 100),
    "pings": lambda n: frame(PING, 0, 0, bytes(8)) * (n // 17),
    "settings": lambda n: frame(SETTINGS, 0, 0, b"\0\3\0\0\0\7") * (n // 15),
    "many settings": lambda n: frame(SETTINGS, 0, 0, b"\0\3\0\0\0\7" * (n // 6)),
    "unknown settings": lambda n: frame(SETTINGS, 0, 0, b"".join(b"\1%c\0\0\0\7" % (at % 256) for at in range(n // 6))),
    "table sizes": lambda n: frame(SETTINGS, 0, 0, b"\0\1\0\0\0\7") * (n // 15),
    "windows": lambda n: frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1") * (n // 13),
    "priorities": lambda n: b"".join(frame(PRIORITY, 0, 2 * at + 1, bytes(4) + b"\x10") for at in range(n // 14)),
    "a closed window": lambda n: frame(SETTINGS, 0, 0, b"\0\4\0\0\0\0") + requests(n, 30) + frame(PING, 0, 0, bytes(8)),
    "unknown frames": lambda n: frame(UNKNOWN, 0, 0, b"x") * (n // 10),
    "an end": lambda n: frame(GOAWAY, 0, 0, bytes(8) + b"x" * n),
    "continuations of nothing": lambda n: headers_of(block()) + frame(CONTINUATION, 0, 1) * (n // 9),
    "a block in crumbs": lambda n: headers_of(block(*[(b"x", b"y")] * (n // 20)), 1),
    "fields": lambda n: headers_of(block(*[(b"x", b"y")] * (n // 4))),
    "other fields": lambda n: headers_of(block(*[(b"x%d" % at, b"y") for at in range(n // 6)])),
    "fields that are kept": lambda n: headers_of(
        Encoder().encode([*GET, *((b"x%d" % at, b"y") for at in range(n // 6))])
    ),
    "a long field": lambda n: headers_of(block((b"x", b"y" * n))),
    "cookies": lambda n: headers_of(block(*[(b"cookie", b"a=b")] * (n // 8))),
    "a field repeated by its number": lambda n: headers_of(block() + REPEATED + b"\xbe" * n),
    "table sizes in a block": lambda n: headers_of(b"\x20" * n + block()),
    "a number without end": lambda n: headers_of(b"\xff" * n),
    "codes of no text": lambda n: headers_of(block() + b"\x00\x01x\xff" + bytes([0x80 | 127, 0]) + b"\xff" * n),
}


def _frames() -> dict[str, Entry]:
    def connect(n: int, sent: Callable[[int], bytes], piece_bytes: int, *, reads: bool) -> Work:
        answers, server = answerer()
        connection = Http2Connection(answers, lambda _deferred, _resolved: None, CLIENT, server.api.settings, 0.0)
        connection.output(0.0)
        pieces = [PREFACE + frame(SETTINGS, 0, 0), *_pieces(sent(n), piece_bytes)]

        def work() -> None:
            for piece in pieces:
                connection.receive(piece)
                while connection.step(0.0):
                    pass
                if reads:
                    connection.output(0.0)
            connection.expire(1e9)

        return work

    def cut(n: int, sent: Callable[[int], bytes], piece_bytes: int) -> Work:
        cutter, pieces = FrameCutter(), _pieces(PREFACE + sent(n), piece_bytes)

        def work() -> None:
            for piece in pieces:
                cutter.feed(piece)
                while cutter.next() is not None:
                    pass

        return partial(quietly, work, Http2Error)

    return {
        **{
            f"HTTP/2, {name}, {words}{'' if reads else ', unread'}": partial(
                connect, sent=sent, piece_bytes=piece_bytes, reads=reads
            )
            for name, sent in FRAMES.items()
            for words, piece_bytes, reads in ((*WAYS[0], False), (*WAYS[1], True))
        },
        **{
            f"frames, {name}, {words}": partial(cut, sent=sent, piece_bytes=piece_bytes)
            for name, sent in FRAMES.items()
            for words, piece_bytes in WAYS[1:]
        },
    }


def _fields() -> dict[str, Entry]:
    shapes: dict[str, Callable[[bytes], list[tuple[bytes, bytes]]]] = {
        "a path": lambda text: [*GET[:3], (b":path", b"/" + text)],
        "an authority": lambda text: [*GET[:2], (b":authority", text), GET[3]],
        "a bracketed authority": lambda text: [*GET[:2], (b":authority", b"[" + text + b"]"), GET[3]],
        "a method": lambda text: [(b":method", text), *GET[1:]],
        "a name": lambda text: [*GET, (text, b"x")],
        "a value": lambda text: [*GET, (b"x", text)],
        "a length": lambda text: [*GET, (b"content-length", text)],
    }
    lists: dict[str, Callable[[int], list[tuple[bytes, bytes]]]] = {
        "fields": lambda n: [*GET, *((b"x%d" % at, b"y") for at in range(n // 4))],
        "the same field": lambda n: [*GET, *[(b"x", b"y")] * (n // 4)],
        "hosts": lambda n: [*GET, *[(b"host", b"h")] * (n // 4)],
        "lengths": lambda n: [*GET, *[(b"content-length", b"1")] * (n // 4)],
        "pseudo-fields": lambda n: [(b":x%d" % at, b"y") for at in range(n // 4)],
    }
    return {
        **{
            f"fields with {what} of {name}": lambda n, text=text, shape=shape: partial(  # type: ignore[misc]
                read_head, shape(text(n).encode("latin-1")), CLIENT
            )
            for what, shape in shapes.items()
            for name, text in TEXTS.items()
        },
        **{
            f"a list of {name}": lambda n, fields=fields: partial(read_head, fields(n), CLIENT)  # type: ignore[misc]
            for name, fields in lists.items()
        },
    }


def entries() -> dict[str, Entry]:
    """Return every entry by its name."""
    return {**_conversations(), **_heads(), **_whole_requests(), **_frames(), **_fields()}
