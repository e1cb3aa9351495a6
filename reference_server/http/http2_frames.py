"""Cutting a client's HTTP/2 bytes into frames, each within its bounds, before h2 keeps or decodes anything of them.

No socket and no clock: bytes go in, whole frames come out (RFC 9113 §4).
"""

from __future__ import annotations

from typing import NamedTuple

from h2.errors import ErrorCodes

from reference_server.limits import (
    HTTP2_ANSWERS_A_RESET,
    HTTP2_CRUMB_BYTES,
    HTTP2_FRAME_MAX_BYTES,
    HTTP2_HEADERS_MAX_BYTES,
    HTTP2_IDLE_FRAMES_AN_ANSWER,
    HTTP2_IDLE_FRAMES_MAX,
    HTTP2_RESETS_MAX,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, CONTINUATION = 0, 1, 3, 4, 5, 9
NO_FRAME = -1
"""The kind that the preface counts as."""
END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
_HEAD_BYTES = 9
_TYPE_AT, _FLAGS_AT = 3, 4
_SETTING_BYTES = 6
_SETTINGS_KNOWN = frozenset(range(1, 7))
"""Those of RFC 9113 §6.5.2. The others mean nothing here, and h2 would keep each of the 65,536 there can be."""


class Http2Error(Exception):
    """The client's fault, for which its whole connection ends. Carries the error code to say so with."""

    def __init__(self, code: ErrorCodes) -> None:
        super().__init__(code.name)
        self.code = code


class Frame(NamedTuple):
    """A whole frame: `data` is all of it, its head included."""

    kind: int
    flags: int
    data: bytes

    @property
    def content_bytes(self) -> int:
        """Return the length of what a DATA frame brings: padding brings nothing, however much of it there is."""
        size = len(self.data) - _HEAD_BYTES
        if self.flags & PADDED and size:
            size -= 1 + self.data[_HEAD_BYTES]  # more padding than there is room for ends the connection, in h2
        return size


class Allowance:
    """Counts the frames of a client that bring nothing, against the answers it has had."""

    def __init__(self) -> None:
        self.answers = 0
        self._resets = self._idle_frames = 0

    def count(self, frame: Frame) -> None:
        """Count a frame. Raises Http2Error past the bounds."""
        if frame.kind == RST_STREAM:
            self._resets += 1
        elif frame.kind == DATA:
            self._idle_frames += frame.content_bytes < HTTP2_CRUMB_BYTES and not frame.flags & END_STREAM
        elif frame.kind not in {HEADERS, NO_FRAME}:
            self._idle_frames += 1
        if (
            self._resets > HTTP2_RESETS_MAX + self.answers // HTTP2_ANSWERS_A_RESET
            or self._idle_frames > HTTP2_IDLE_FRAMES_MAX + self.answers * HTTP2_IDLE_FRAMES_AN_ANSWER
        ):
            raise Http2Error(ErrorCodes.ENHANCE_YOUR_CALM)


class FrameCutter:
    """Cuts bytes into frames. Holds at most one frame and what one read brought."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._begun = False
        self._block_bytes = 0
        self.in_headers = False
        """A header block has begun and not ended."""

    @property
    def block_bytes(self) -> int:
        """Return how large the part of a header block is that has come so far, while it is not whole."""
        return self._block_bytes if self.in_headers else 0

    def __len__(self) -> int:
        return len(self._buffer)

    @property
    def midway(self) -> bool:
        """Return whether the rest of a frame or of a header block is awaited. Bodies are awaited by their streams."""
        buffer = self._buffer
        in_body = self._begun and len(buffer) > _TYPE_AT and buffer[_TYPE_AT] == DATA
        return self.in_headers or (bool(buffer) and not in_body)

    def feed(self, data: bytes) -> None:
        """Take bytes from the client."""
        self._buffer += data

    def clear(self) -> None:
        """Forget what waits."""
        self._buffer.clear()

    def next(self) -> Frame | None:
        """Return the next whole frame, None where there is none yet. Raises Http2Error for what is out of bounds."""
        if not self._begun:
            return self._cut_preface()
        if len(self._buffer) < _HEAD_BYTES:
            return None
        length, kind, flags = (
            int.from_bytes(self._buffer[:_TYPE_AT], "big"),
            self._buffer[_TYPE_AT],
            self._buffer[_FLAGS_AT],
        )
        if length > HTTP2_FRAME_MAX_BYTES:
            raise Http2Error(ErrorCodes.FRAME_SIZE_ERROR)
        if kind in {HEADERS, PUSH_PROMISE, CONTINUATION}:
            so_far = self._block_bytes if self.in_headers else 0
            if so_far + length > HTTP2_HEADERS_MAX_BYTES:
                raise Http2Error(ErrorCodes.ENHANCE_YOUR_CALM)
        if len(self._buffer) < _HEAD_BYTES + length:
            return None
        if kind in {HEADERS, PUSH_PROMISE, CONTINUATION}:
            self._block_bytes = length + (self._block_bytes if self.in_headers else 0)
            self.in_headers = not flags & END_HEADERS
        frame = Frame(kind, flags, self._take(_HEAD_BYTES + length))
        return _without_unknown(frame) if kind == SETTINGS else frame

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _cut_preface(self) -> Frame | None:
        if not PREFACE.startswith(self._buffer[: len(PREFACE)]):
            raise Http2Error(ErrorCodes.PROTOCOL_ERROR)
        if len(self._buffer) < len(PREFACE):
            return None
        self._begun = True
        return Frame(NO_FRAME, 0, self._take(len(PREFACE)))


def _without_unknown(frame: Frame) -> Frame:
    """Return SETTINGS without those that mean nothing here; malformed ones as they are, for h2 to refuse."""
    payload = frame.data[_HEAD_BYTES:]
    if len(payload) % _SETTING_BYTES:
        return frame
    settings = [payload[at : at + _SETTING_BYTES] for at in range(0, len(payload), _SETTING_BYTES)]
    known = b"".join(setting for setting in settings if int.from_bytes(setting[:2], "big") in _SETTINGS_KNOWN)
    return frame._replace(data=len(known).to_bytes(3, "big") + frame.data[_TYPE_AT:_HEAD_BYTES] + known)
