"""What the Prometheus tests share: the rules as the command prints them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

PRINT_RULES = (sys.executable, "-m", "simulator.commands.cli", "serve", "--print-alert-rules")
TIMEOUT_SECONDS = 180.0
needs_prometheus = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")),
    reason="needs prometheus and promtool: on Debian, apt-get install prometheus",
)


@pytest.fixture(scope="session")
def printed_rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file that holds what `hatchfarm serve --print-alert-rules` printed, as users make it."""
    path = tmp_path_factory.mktemp("rules") / "hatchfarm.rules.yml"
    with path.open("wb") as file:
        subprocess.run(PRINT_RULES, stdout=file, check=True, timeout=TIMEOUT_SECONDS)
    return path
