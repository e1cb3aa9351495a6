"""What several of these tests begin with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.durability.kept import Kept

VECTORS = Path(__file__).parent.parent / "vectors"


@pytest.fixture
async def kept() -> Kept:
    """An API with a journal in memory, and a machine."""
    return Kept()


@pytest.fixture
def others_state() -> bytes:
    """Return a whole state file that another implementation wrote."""
    return (VECTORS / "state_schema1.json").read_bytes()
