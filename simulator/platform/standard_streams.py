"""Standard streams whose failures cost no result: closed, full, or with an encoding that lacks a character."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import Any, TextIO, cast

STANDARD_DESCRIPTORS = 3


class SteadyStream:
    """A text stream that never fails: after the first write error, further output is dropped.

    Unwritten output must not fail at the end of the process either, because Python would then change the exit code.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lost = False
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        """Write `text`, or drop it."""
        if not isinstance(text, str):
            raise TypeError("this is a stream of text")  # libraries probe for a text stream in this way
        if not self._lost:
            try:
                self._stream.write(text)
            except BlockingIOError:
                pass  # a slow terminal may accept more later
            except OSError:
                self._lose()
        return len(text)

    def flush(self) -> None:
        """Flush the output, or drop it."""
        if not self._lost:
            try:
                self._stream.flush()
            except BlockingIOError:
                pass
            except OSError:
                self._lose()

    def __getattr__(self, name: str) -> Any:
        """Return any other attribute of the stream."""
        return getattr(self._stream, name)

    def _lose(self) -> None:
        self._lost = True
        with suppress(OSError, ValueError):  # an in-memory stream has no descriptor
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)


def steady(stream: TextIO) -> TextIO:
    """Return a steady stream around `stream`, or `stream` if it is one."""
    return stream if isinstance(stream, SteadyStream) else cast("TextIO", SteadyStream(stream))


def hold_standard_streams() -> None:
    """Ensure that all three standard streams exist, so that no other file gets their descriptors, and are steady."""
    for descriptor in range(STANDARD_DESCRIPTORS):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free descriptor: this one
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:  # closed when Python started
            setattr(sys, name, io.TextIOWrapper(io.FileIO(descriptor, "w", closefd=False), "utf-8"))
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.stderr = steady(sys.stderr)
