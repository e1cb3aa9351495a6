"""What can be wrong with the files that commands are given, and what people are told of an error."""

from __future__ import annotations


class BundleError(Exception):
    """The folder holds no run that can be read; the message says which file and why."""


class TraceError(Exception):
    """A trace, or a HAR, that cannot be used; the message names the file, the line and what is wrong there."""


def first_message(error: BaseException) -> str:
    """Return the message of an error, of the first one of a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error)
