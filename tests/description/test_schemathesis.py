"""Schemathesis, which nobody here wrote, reads the description and holds a running server to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from tests.core.server_under_test import TOKEN
from tests.load.processes import serving
from tests.support.little_http import Given, little_http
from tests.support.tiers import SOAK

if TYPE_CHECKING:
    from tests.support.little_http import Asked

SECONDS = 200 if SOAK else 7
END_SECONDS = 100
"""What a busy machine may need to begin and to end."""
SERVER = {
    "HATCHFARM_API_TOKEN": TOKEN,
    "WORKER_STATUS_STATE_FILE": "",
    "RATE_LIMIT_BURST": "1000000000",
    "RATE_LIMIT_REFILL_PER_SECOND": "1000000",
}
HERE = Path(__file__).parent
SCHEMATHESIS = (
    *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(HERE / "schemathesis.toml"), "run"),
    *("--continue-on-failure", "--no-color", "--warnings", "off", "--seed", "1", "--max-time", str(SECONDS)),
)
OPERATOR = {"Authorization": f"Bearer {TOKEN}"}
PRINCIPALS = {
    "owner": {**OPERATOR, "X-Owner-ID": "acme"},
    "operator": OPERATOR,
    "machine": {"X-Machine-Token": "0123456789abcdef" * 3, "X-Machine-Certificate-Id": "mcert_0123456789abcdef0123"},
}


async def knows_nobody(_asked: Asked) -> Given:
    """Answer as Moltbook does for a token that is none."""
    return Given(401, json.dumps({"success": False, "valid": False, "error": "invalid_token"}).encode())


@pytest.mark.parametrize("principal", PRINCIPALS)
async def test_every_answer_is_one_that_the_description_has(principal: str, tmp_path: Path) -> None:
    headers = [f"--header={name}: {value}" for name, value in PRINCIPALS[principal].items()]
    environment = {
        **os.environ,
        "HATCHFARM_API_TOKEN": TOKEN,
        "PYTHONPATH": str(HERE.parents[1]),
        "SCHEMATHESIS_HOOKS": "tests.description.signing_hooks",
    }
    async with little_http(knows_nobody) as origin:
        with serving({**SERVER, "MOLTBOOK_BASE_URL": origin, "MOLTBOOK_APP_KEY": "moltdev_key"}) as url:
            with trio.fail_after(SECONDS + END_SECONDS):
                done = await trio.run_process(
                    [*SCHEMATHESIS, *headers, f"{url}/openapi.json"],
                    capture_stdout=True,
                    stderr=subprocess.STDOUT,
                    check=False,
                    cwd=tmp_path,
                    env=environment,
                )
    shown = done.stdout.decode()
    assert done.returncode == 0, shown
    assert "No issues found" in shown, shown
