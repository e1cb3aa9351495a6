"""What can be wrong with the files that commands are given."""

from __future__ import annotations


class BundleError(Exception):
    """The folder holds no run that can be read; the message says which file and why."""


class TraceError(Exception):
    """A trace, or a HAR, that cannot be used; the message names the file, the line and what is wrong there."""
