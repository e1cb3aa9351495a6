"""What is wrong with a trace, for people."""

from __future__ import annotations


class TraceError(Exception):
    """A trace, or a HAR, that cannot be used; the message names the file, the line and what is wrong there."""
