"""The README keeps its promises: its curl walk works as written, and its tables name what exists."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
TOKEN = "readme-token"


def shell_block(containing: str) -> str:
    """The README's one shell block that contains a text."""
    (block,) = [block for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) if containing in block]
    return str(block)


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("bash")), reason="needs curl and bash")
def test_curl_walk_works_as_written() -> None:
    """Every documented route answers with success when its README line is pasted into a shell."""
    server = subprocess.Popen(
        [sys.executable, "-m", "simulator.cli", "serve"],
        env={**os.environ, "PORT": "0", "HATCHFARM_API_TOKEN": TOKEN, "RATE_LIMIT_BURST": "100"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        address = server.stdout.readline().split()[-1]
        # `-w` puts a line end after each answer, so that the answers can be told apart.
        script = shell_block("machines/register").replace("curl -s", "curl -s -w '\\n'")
        walk = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", script],  # noqa: S607 - the reader's own shell
            env={**os.environ, "BASE": f"{address}/api/v1", "HATCHFARM_API_TOKEN": TOKEN},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert walk.stderr == ""
        answers = [msgspec.json.decode(line) for line in walk.stdout.splitlines() if line.startswith("{")]
        assert [answer for answer in answers if not answer.get("success", True)] == []
        # health, status, keys, activation, policy fetch, heartbeat, status, summary, statuses, audit, revocation
        assert len(answers) == 11
        assert "hatchfarm_workers_total 1.0" in walk.stdout
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=20) == 0
        server.stdout.close()  # type: ignore[union-attr]


def test_scenario_table_names_exactly_the_scenarios() -> None:
    """The README's scenario table and the folder hold the same files."""
    named = set(re.findall(r"^\| `([a-z0-9-]+\.toml)`", README, re.MULTILINE))
    assert {path.name for path in (ROOT / "scenarios").glob("*.toml")} == named
