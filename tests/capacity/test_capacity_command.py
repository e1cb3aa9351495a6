"""The command, on real servers: a short search end to end, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.support.alone import INCONCLUSIVE, until_conclusive

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = (sys.executable, "-m", "simulator.commands.cli", "capacity")
SCENARIO = """\
version = 1
name = "small"
duration = "1s"
fleet = { machines = 4, owners = 2, heartbeat_interval = "500ms" }
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "small.toml").write_text(SCENARIO, encoding="utf-8")
    return subprocess.run(
        [*COMMAND, "small.toml", *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=180
    )


def test_a_server_that_bears_the_highest_rate_allowed_is_said_to_bear_at_least_that(tmp_path: Path) -> None:
    done = until_conclusive(
        lambda: run(tmp_path, "--min-rate", "20", "--max-rate", "20", "--step-seconds", "1"),
        lambda one: 0 if "at least 20/s" in one.stdout else INCONCLUSIVE,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[-2] == "Capacity: at least 20/s, the highest rate allowed: give a higher --max-rate to find more"
    written = json.loads((tmp_path / lines[-1].removeprefix("Results: ")).read_bytes())
    assert written["conclusion"] == "at_least"
    assert [(one["rate"], one["machines"], one["outcome"]) for one in written["steps"]][:1] == [(20, 10, "held")]
    assert written["steps"][0]["p99_ms"] > 0
    assert (tmp_path / "results" / "small" / "capacity").is_dir()


def test_what_cannot_be_searched_is_a_usage_error(tmp_path: Path) -> None:
    done = run(tmp_path, "--min-rate", "30", "--max-rate", "20")
    assert (done.returncode, done.stderr) == (2, "hatchfarm capacity: --min-rate 30 is above --max-rate 20\n")
    done = run(tmp_path, "--target", "http://127.0.0.1:1", "--token", "t", "--max-rate", "100")
    assert done.returncode == 2
    assert done.stderr.startswith("hatchfarm capacity: ")
