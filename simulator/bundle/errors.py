"""What reading a bundle raises."""

from __future__ import annotations


class BundleError(Exception):
    """The folder holds no run that can be read; the message says which file and why."""
