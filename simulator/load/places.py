"""Where Locust finds what it runs, and each other."""

from __future__ import annotations

from pathlib import Path

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
MASTER_PORT = 5557
"""Locust's own default."""
