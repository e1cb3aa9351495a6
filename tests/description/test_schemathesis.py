"""Schemathesis, which nobody here wrote, reads the description and holds a running server to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
import trio

from tests.core.server_under_test import TOKEN
from tests.load.processes import serving
from tests.logins.real_server import of_process
from tests.support.little_http import Given, little_http
from tests.support.ports import free_port
from tests.support.provider_process import provider_process
from tests.support.tiers import SOAK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.support.little_http import Asked

SECONDS = 120 if SOAK else 9
"""For each principal: ten minutes over all of them in the soak, and one here."""
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
ENDLESS = ("--exclude-path", "/api/v1/auth/logout")
"""What would have a session be none for all that follows; nor do agents replace their keys (`signing_hooks`)."""
OPERATOR = {"Authorization": f"Bearer {TOKEN}"}
MACHINE = {"X-Machine-Token": "0123456789abcdef" * 3, "X-Machine-Certificate-Id": "mcert_0123456789abcdef0123"}


async def of_agent(client: httpx.AsyncClient) -> dict[str, str]:
    """Register an agent, and return what it shows."""
    made = await client.post("/api/v1/agents/register", json={"name": "Schema"})
    return {"Authorization": f"Bearer {made.json()['data']['api_key']}"}


async def of_session(client: httpx.AsyncClient) -> dict[str, str]:
    """Log in as with Google, and return what a program shows then."""
    begun = await client.get("/api/v1/auth/google/login")
    agreed = await client.post(begun.headers["location"], data={"sub": "ada"})
    assert (await client.get(agreed.headers["location"])).status_code == HTTPStatus.FOUND
    made = await client.post("/api/v1/auth/token", headers={"Origin": str(client.base_url).rstrip("/")})
    return {"Authorization": f"Bearer {made.json()['data']['token']}"}


def of(headers: dict[str, str]) -> Callable[[httpx.AsyncClient], Awaitable[dict[str, str]]]:
    """Return what shows the same at every server."""

    async def shown(_client: httpx.AsyncClient) -> dict[str, str]:
        await trio.lowlevel.checkpoint()
        return headers

    return shown


PRINCIPALS = {
    "owner": of({**OPERATOR, "X-Owner-ID": "acme"}),
    "operator": of(OPERATOR),
    "machine": of(MACHINE),
    "agent": of_agent,
    "session": of_session,
}


async def knows_nobody(_asked: Asked) -> Given:
    """Answer as Moltbook does for a token that is none."""
    return Given(401, json.dumps({"success": False, "valid": False, "error": "invalid_token"}).encode())


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[str]:
    """Serve, beside Moltbook, which knows nobody, and a provider that has anybody be whom they say."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with little_http(knows_nobody) as origin, provider_process() as provider:
        given = {"MOLTBOOK_BASE_URL": origin, "MOLTBOOK_APP_KEY": "moltdev_key", "PORT": str(port), "PUBLIC_URL": url}
        with serving({**SERVER, **given, **of_process(provider, folder)}):
            yield url


@pytest.mark.parametrize("principal", PRINCIPALS)
async def test_every_answer_is_one_that_the_description_has(principal: str, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "HATCHFARM_API_TOKEN": TOKEN,
        "PYTHONPATH": str(HERE.parents[1]),
        "SCHEMATHESIS_HOOKS": "tests.description.signing_hooks",
    }
    async with served(tmp_path) as url:
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=END_SECONDS) as client:
            shown_by = await PRINCIPALS[principal](client)
        headers = [f"--header={name}: {value}" for name, value in shown_by.items()]
        with trio.fail_after(SECONDS + END_SECONDS):
            done = await trio.run_process(
                [*SCHEMATHESIS, *headers, *ENDLESS, f"{url}/openapi.json"],
                capture_stdout=True,
                stderr=subprocess.STDOUT,
                check=False,
                cwd=tmp_path,
                env=environment,
            )
    shown = done.stdout.decode()
    assert done.returncode == 0, shown
    assert "No issues found" in shown, shown
