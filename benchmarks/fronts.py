"""What stands in front of a server that is measured: HAProxy, which keeps a pool of connections to it."""

from __future__ import annotations

import shutil
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from benchmarks.measuring import BenchmarkError
from benchmarks.processes import CLIENT_CORE, pin

if TYPE_CHECKING:
    from collections.abc import Iterator

TRUSTING = {"TRUSTED_PROXIES": "127.0.0.1"}
"""With these settings a server counts requests for whom the proxy brings, as one behind a proxy is to."""
POOL_CONNECTIONS = 64
"""To the server, whatever comes from clients."""
CLIENTS_MAX = 2_000
"""Connections of clients, each of which takes two files: HAProxy does not start where it may not open so many."""
END_SECONDS = 10.0


@contextmanager
def behind_haproxy(url: str) -> Iterator[str]:
    """Put HAProxy in front of a server of plain HTTP/1.1, on the client's core. Yield where it listens.

    Raises BenchmarkError where it is not installed.
    """
    if shutil.which("haproxy") is None:
        raise BenchmarkError("needs haproxy: on Debian, apt-get install haproxy")
    with TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        config = Path(folder) / "haproxy.cfg"
        config.write_text(
            f"global\n  maxconn {CLIENTS_MAX}\n  nbthread 1\n"
            "defaults\n  mode http\n  timeout connect 60s\n  timeout client 60s\n  timeout server 60s\n"
            f"listen front\n  bind fd@{listener.fileno()}\n  option forwardfor\n  http-reuse always\n"
            f"  server behind {urlsplit(url).netloc} maxconn {POOL_CONNECTIONS}\n",
            encoding="utf-8",
        )
        process = subprocess.Popen(  # noqa: S603 - our own command
            ["haproxy", "-db", "-q", "-f", str(config)],  # noqa: S607 - wherever it is installed
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
        )
        pin(process.pid, CLIENT_CORE)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            process.kill()
            process.wait(END_SECONDS)
