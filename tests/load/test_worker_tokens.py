"""A worker of another host brings its own owner token: a wrong one is its user's mistake, and no server's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.load.processes import HATCHFARM, TOKEN, running, serving
from tests.support.alone import INCONCLUSIVE
from tests.support.ports import free_port

if TYPE_CHECKING:
    from pathlib import Path

END_SECONDS = 180.0
LOST_EXIT_CODE = 5
SCENARIO = """\
version = 1
name = "mistaken"
duration = "30s"
[fleet]
machines = 10
owners = 2
[[load]]
user = "owner-dashboard"
stages = [{ duration = "0s", target = 2 }]
"""


def test_a_worker_with_a_wrong_token_plays_nothing_and_accuses_nobody(tmp_path: Path) -> None:
    (tmp_path / "mistaken.toml").write_text(SCENARIO, encoding="utf-8")
    master = f"127.0.0.1:{free_port()}"
    with serving({}) as url:
        run_command = [*HATCHFARM, "run", "mistaken.toml", "--target", url, "--token", TOKEN, "--no-reports"]
        with (
            running([*run_command, "--master", master, "--workers", "1"], cwd=tmp_path) as run,
            running([*HATCHFARM, "worker", "--master", master, "--token", "another"]) as worker,
        ):
            output, _ = run.communicate(timeout=END_SECONDS)
            reported, _ = worker.communicate(timeout=END_SECONDS)
    assert (run.returncode, worker.returncode) == (INCONCLUSIVE, LOST_EXIT_CODE), output + reported
    assert "the target refuses this worker's owner token: look at HATCHFARM_API_TOKEN" in reported
    assert "FAILED" not in output
    assert "the target refuses this worker's owner token" in " ".join(output.split())
