"""A HAProxy of the test's own in front of servers on loopback; it ends with the block that it was started for."""

from __future__ import annotations

import shutil
import socket
import subprocess
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

needs_haproxy = pytest.mark.skipif(
    shutil.which("haproxy") is None, reason="needs haproxy: on Debian, apt-get install haproxy"
)
HEAD = """
global
    maxconn 100
defaults
    timeout connect 60s
    timeout client 60s
    timeout server 60s
    timeout check 60s
"""
POOL = "mode http\n    option forwardfor\n    http-reuse always"
"""Requests of all clients go through connections that are kept, each with the client's address in a header."""
THROUGH = "mode tcp"
"""Bytes go through as they are, TLS too."""


def _listen(number: int, listener: socket.socket, how: str, server: str) -> str:
    return f"listen l{number}\n    {how}\n    bind fd@{listener.fileno()}\n    server s {server}\n"


@asynccontextmanager
async def haproxy(*ways: tuple[str, str]) -> AsyncIterator[Sequence[tuple[str, int]]]:
    """Start one; yield where it listens for each way, which says how, and to which server, with its options."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64)) for _ in ways]
        parts = [
            _listen(number, listener, *way) for number, (listener, way) in enumerate(zip(listeners, ways, strict=True))
        ]
        config = folder / "haproxy.cfg"
        await trio.Path(config).write_text(HEAD + "".join(parts))
        process = await trio.lowlevel.open_process(
            ["haproxy", "-db", "-q", "-f", str(config)],
            pass_fds=[listener.fileno() for listener in listeners],
            stdin=subprocess.DEVNULL,
        )
        try:
            yield [listener.getsockname()[:2] for listener in listeners]
        finally:
            process.kill()
            await process.wait()
