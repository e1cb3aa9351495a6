"""What all tests with a real Redis need: without the program they are skipped, and say so."""

from __future__ import annotations

import shutil

import pytest

MISSING = [program for program in ("redis-server", "redis-cli") if shutil.which(program) is None]


@pytest.fixture(autouse=True)
def _redis_is_installed() -> None:
    if MISSING:
        pytest.skip(f"needs {' and '.join(MISSING)} (Debian: redis-server)")
