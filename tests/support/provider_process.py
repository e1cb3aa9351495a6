"""An OpenID provider that nobody here wrote, as a process on loopback: the package oidc-provider-mock."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import trio

from tests.support.ports import free_port
from tests.support.waiting import PATIENCE_SECONDS, POLL_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PEOPLE = (
    {"sub": "ada", "email": "ada@example.com", "email_verified": True},
    {"sub": "ben", "email": "ben@example.com", "email_verified": True},
    {"sub": "mallory", "email": "victim@example.com", "email_verified": False},
)


class ProviderProcess(NamedTuple):
    """Where it is: for servers, and for browsers, to which it is another site than 127.0.0.1."""

    origin: str
    page: str


@asynccontextmanager
async def provider_process() -> AsyncIterator[ProviderProcess]:
    """Run one until the block ends."""
    port = free_port()
    claims = [part for one in PEOPLE for part in ("--user-claims", json.dumps(one))]
    command = [sys.executable, "-m", "oidc_provider_mock", "--port", str(port), "--require-nonce", "1", *claims]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with trio.fail_after(PATIENCE_SECONDS):
            while not await _answers(port):
                assert process.poll() is None, "the provider ended at once"
                await trio.sleep(POLL_SECONDS)
        yield ProviderProcess(f"http://127.0.0.1:{port}", f"http://localhost:{port}")
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def _answers(port: int) -> bool:
    try:
        await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
    except OSError:
        return False
    return True
