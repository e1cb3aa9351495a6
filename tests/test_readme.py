"""The README keeps its promises: its curl walk works as written, and its tables name what exists."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import typer

from reference_server.operations.table import OPERATIONS
from simulator.checkers import CHECKERS
from simulator.commands.cli import app
from simulator.load.mix import ATTACKER, MACHINE, USERS
from simulator.scenario.schema import json_schema
from tests.logins.real_server import of_process
from tests.support.ports import free_port
from tests.support.provider_process import provider_process
from tests.support.served import served

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
TOKEN = "readme-token"
CONTROL_PLANE, MARKET, LOGINS = "machines/register", "agents/register", 'auth/logout"\n'
WALKS = (CONTROL_PLANE, MARKET, LOGINS)
"""What each walk has that no other shell block has."""


def shell_block(containing: str) -> str:
    """The README's one shell block that contains a text."""
    (block,) = [block for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) if containing in block]
    return str(block)


NEEDS_A_SHELL = pytest.mark.skipif(not (shutil.which("curl") and shutil.which("bash")), reason="needs curl and bash")


def walked(block: str, **settings: str) -> str:
    """Run a shell block of the README against a server of its own; return what it prints, an answer a line."""
    environ = {**os.environ, "PORT": "0", "HATCHFARM_API_TOKEN": TOKEN, "RATE_LIMIT_BURST": "100", **settings}
    with served(environ) as (server, address):
        # `-w` puts a line end after each answer, so that the answers can be told apart.
        script = shell_block(block).replace("curl -s ", "curl -s -w '\\n' ")
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
    walks = "".join(map(shell_block, WALKS))
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
    """Every documented route answers with success when its README line is pasted into a shell."""
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


def test_scenario_table_names_exactly_the_scenarios() -> None:
    """The README's scenario table and the folder hold the same files."""
    named = set(re.findall(r"^\| `([a-z0-9-]+\.toml)`", README, re.MULTILINE))
    assert {path.name for path in (ROOT / "scenarios").glob("*.toml")} == named


def first_cells(heading: str) -> list[str]:
    """The first cells of a README table, by the first cell of its heading, and what stands in backticks in each."""
    (table,) = re.findall(rf"^\| {re.escape(heading)} \|[^\n]*\n\|[-|]+\|\n((?:\|[^\n]*\n)+)", README, re.MULTILINE)
    return [line.split(" | ")[0].strip("| ") for line in table.splitlines()]


def in_backticks(cells: list[str]) -> set[str]:
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def tables_of(schema: dict[str, Any], definition: str, path: str = "") -> set[str]:
    """Name the tables of a scenario as TOML writes them; stages and steps are written in one line."""
    found = set()
    for name, field in schema["$defs"][definition]["properties"].items():
        many = field.get("type") == "array"
        shapes = [field.get("items", {})] if many else [field, *field.get("anyOf", [])]
        inner = next((one["$ref"].rpartition("/")[2] for one in shapes if "$ref" in one), "")
        if name == "thresholds" or inner not in {"", "Stage", "ClockStep"}:
            found.add(f"[[{path}{name}]]" if many else f"[{path}{name}]")
            found |= tables_of(schema, inner, f"{path}{name}.") if inner else set()
    return found


def test_the_table_of_a_scenarios_tables_names_exactly_those() -> None:
    assert in_backticks(first_cells("table")) == tables_of(json_schema(), "Scenario")


def test_checkers_table_names_exactly_the_checkers() -> None:
    # Statistics are of conducted runs only, and logs of servers that a run has started.
    assert set(first_cells("checker")) == {*CHECKERS, "statistics", "log"}


def test_table_of_locusts_users_names_exactly_the_users() -> None:
    assert in_backticks(first_cells("Locust's user")) == {MACHINE, ATTACKER, *USERS.values()}
    assert all(f"`[[load]]` with `{name}`" in README for name in USERS)


def test_flags_of_a_conducted_run_have_the_variables_that_the_table_says() -> None:
    rows = re.findall(r"^\| (`--[^|]+) \| (`HATCHFARM_[^|]+) \|", README, re.MULTILINE)
    output = {
        flag.split()[0]: variable
        for flags, variables in rows
        for flag, variable in zip(re.findall("`([^`]+)`", flags), re.findall("`([^`]+)`", variables), strict=True)
    }
    run: Any = typer.main.get_command(app)
    parameters = {flag: one.envvar for one in run.commands["run"].params for flag in one.opts}
    assert set(output) == {"--workers", "--web", "--web-port", "--master"}
    assert output == {flag: parameters[flag] for flag in output}
