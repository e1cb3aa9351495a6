"""Environments for the processes that tests start: this one's, without what would change what a server is."""

from __future__ import annotations

import os
from pathlib import Path

from reference_server.about import setting_names

ROOT = Path(__file__).parents[2]
"""The folder of the project."""


def without_settings(**more: str) -> dict[str, str]:
    """Return this process's environment without any setting of the server, and with what is given."""
    hidden = set(setting_names())
    return {name: value for name, value in os.environ.items() if name not in hidden} | more
