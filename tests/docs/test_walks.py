"""The walks with curl in the docs name every operation, and work as they are written."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio

from reference_server.operations.table import OPERATIONS
from tests.logins.real_server import of_process
from tests.support.pages import block
from tests.support.ports import free_port
from tests.support.provider_process import provider_process
from tests.support.served import served

if TYPE_CHECKING:
    from pathlib import Path

TOKEN = "docs-token"
CONTROL_PLANE, MARKET, LOGINS = "machines/register", "agents/register", 'auth/logout"\n'
WALKS = (CONTROL_PLANE, MARKET, LOGINS)
"""What each walk has that no other shell block has."""


NEEDS_A_SHELL = pytest.mark.skipif(not (shutil.which("curl") and shutil.which("bash")), reason="needs curl and bash")


def walked(containing: str, **settings: str) -> str:
    """Run a shell block of the docs against a server of its own; return what it prints, an answer a line."""
    environ = {**os.environ, "PORT": "0", "HATCHFARM_API_TOKEN": TOKEN, "RATE_LIMIT_BURST": "100", **settings}
    with served(environ) as (server, address):
        # `-w` puts a line end after each answer, so that the answers can be told apart.
        script = block("sh", containing).replace("curl -s ", "curl -s -w '\\n' ")
        walk = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", script],  # noqa: S607 - the reader's own shell
            env={**os.environ, "BASE": f"{address}/api/v1", "HATCHFARM_API_TOKEN": TOKEN},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (walk.returncode, walk.stderr) == (0, "")
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) == 0
    return walk.stdout


def test_every_operation_is_walked() -> None:
    """Each row of the operation table has a line with curl in a block that is run here."""
    walks = "".join(block("sh", walk) for walk in WALKS)
    asked = set()
    for line in (line for line in walks.splitlines() if '"$BASE/' in line or '"${BASE%/api/v1}/' in line):
        for prefix, path in re.findall(r'"(\$BASE|\$\{BASE%/api/v1\})(/[^"?]*)', line):
            method = re.search(r"-X ([A-Z]+)", line)
            sends = "POST" if " -d " in line.partition(path)[2] else "GET"
            asked.add((method[1] if method else sends, ("/api/v1" if prefix == "$BASE" else "") + path))
    missing = []
    for operation in OPERATIONS:
        whole = ("" if operation.rooted else "/api/v1") + operation.path
        pattern = re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(whole)))
        if not any(method == operation.method and pattern.fullmatch(path) for method, path in asked):
            missing.append(f"{operation.method} {whole}")
    assert missing == []


def answers_of(printed: str) -> list[Any]:
    """The answers that are JSON; none of them may be a refusal."""
    answers = [msgspec.json.decode(line) for line in printed.splitlines() if line.startswith("{")]
    assert [answer for answer in answers if not answer.get("success", True)] == []
    return answers


@NEEDS_A_SHELL
def test_curl_walk_works_as_written() -> None:
    """Every documented route answers with success when its line is pasted into a shell."""
    printed = walked(CONTROL_PLANE)
    # health, status, keys, activation, policy fetch, heartbeat, status, summary, statuses, audit, revocation
    assert len(answers_of(printed)) == 11
    assert "hatchfarm_workers_total 1.0" in printed


@NEEDS_A_SHELL
def test_curl_walk_of_agents_works_as_written() -> None:
    """As does every route of agents, jobs, resources, wallet and forum."""
    printed = walked(MARKET, WALLET_DEV_CREDIT_USDT="10", WITHDRAWAL_ADDRESS_COOLDOWN_SECONDS="0")
    # agent, resources, prices, jobs, job, cancellation, balance, transactions, withdrawal, comment, post, posts
    assert len(answers_of(printed)) == 12


@NEEDS_A_SHELL
async def test_curl_walk_of_logins_works_as_written(tmp_path: Path) -> None:
    """With a provider that nobody here wrote; the walk ends a login, and shows what describes the API."""
    port = free_port()
    async with provider_process() as provider:
        settings = {**of_process(provider, tmp_path), "PORT": str(port), "PUBLIC_URL": f"http://127.0.0.1:{port}"}
        printed = await trio.to_thread.run_sync(partial(walked, LOGINS, **settings))
    # who it is, by cookie and by token, and the end of it
    first, second, ended = answers_of(printed)
    assert first["data"]["provider"] == second["data"]["provider"] == "apple"
    assert ended["success"]
