from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import Hatchfarm

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def hatchfarm(tmp_path: Path) -> Hatchfarm:
    """Return the command, in a folder of the test's own."""
    return Hatchfarm(tmp_path)
