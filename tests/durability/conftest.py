"""What several of these tests begin with."""

from __future__ import annotations

from pathlib import Path

import pytest

VECTORS = Path(__file__).parent.parent / "vectors"


@pytest.fixture
def others_state() -> bytes:
    """Return a whole state file that another implementation wrote."""
    return (VECTORS / "state_schema1.json").read_bytes()
