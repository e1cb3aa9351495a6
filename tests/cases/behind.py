"""A server of this project's own behind one of the programs in `inputs/`, as the cases were found."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cli.conftest import serve_until_stopped
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

INPUTS = Path(__file__).parent / "inputs"
TOKEN = "token-of-the-cases"
PAUSE_SECONDS = 0.05
ATTEMPTS_MAX = 1200
"""A minute, for a machine that is busy."""


@contextmanager
def behind(program: str, *arguments: str, settings: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run a server, and before it `program LISTEN UPSTREAM arguments…`; gives the URL of what is in front."""
    with serve_until_stopped({"HATCHFARM_API_TOKEN": TOKEN, **(settings or {})}) as (_, url):
        port = free_port()
        upstream = url.rpartition(":")[2]
        command = [sys.executable, str(INPUTS / program), str(port), upstream, *arguments]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as front:
            try:
                _wait_for(front, port)
                yield f"http://127.0.0.1:{port}"
            finally:
                front.kill()


def _wait_for(front: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(ATTEMPTS_MAX):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        with suppress(subprocess.TimeoutExpired):
            raise AssertionError(f"it ended with {front.wait(PAUSE_SECONDS)} and never listened")
    raise AssertionError("it never listened")
