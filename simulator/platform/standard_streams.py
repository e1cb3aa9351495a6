"""Standard output and error that cost no result: closed, full, or of an encoding that lacks a character."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import Any, TextIO, cast

STANDARD_DESCRIPTORS = 3


class SteadyStream:
    """A text stream that never fails: once it cannot be written to, what is written is dropped.

    What it could not write must not fail when the process ends either, where Python would make the exit code its own.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lost = False
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        """Write, or drop."""
        if not isinstance(text, str):
            raise TypeError("this is a stream of text")  # whoever asks what kind of stream it is, asks like this
        if not self._lost:
            try:
                self._stream.write(text)
            except BlockingIOError:
                pass  # a terminal that does not keep up may do so later
            except OSError:
                self._lose()
        return len(text)

    def flush(self) -> None:
        """Pass on what was written, or drop it."""
        if not self._lost:
            try:
                self._stream.flush()
            except BlockingIOError:
                pass
            except OSError:
                self._lose()

    def __getattr__(self, name: str) -> Any:
        """Be the stream in everything else."""
        return getattr(self._stream, name)

    def _lose(self) -> None:
        self._lost = True
        with suppress(OSError, ValueError):  # a stream within this process has no descriptor
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)


def steady(stream: TextIO) -> TextIO:
    """Make a stream steady; one that is already stays itself."""
    return stream if isinstance(stream, SteadyStream) else cast("TextIO", SteadyStream(stream))


def hold_standard_streams() -> None:
    """See that the process has all three, so that no file takes their places, and that messages are no failures."""
    for descriptor in range(STANDARD_DESCRIPTORS):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:  # it was closed when Python started
            setattr(sys, name, io.TextIOWrapper(io.FileIO(descriptor, "w", closefd=False), "utf-8"))
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.stderr = steady(sys.stderr)
