"""Taking new connections from listening sockets, as many as may come in."""

from __future__ import annotations

import errno
import socket as stdlib_socket
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.http.admission import Admission

ACCEPT_BATCH = 16
"""Connections taken before others are served: half a millisecond of work."""
FULL_PAUSE_SECONDS = 0.1
"""How long to wait while nobody may come in; the backlog keeps clients waiting until somebody leaves."""


async def accept(
    listener: stdlib_socket.socket, admission: Admission, welcome: Callable[[stdlib_socket.socket, str], object]
) -> None:
    """Call `welcome` with each new connection's socket, non-blocking, and its client's address, until cancelled."""
    while True:
        await trio.lowlevel.wait_readable(listener)
        for _ in range(ACCEPT_BATCH):
            if admission.full:
                await trio.sleep(FULL_PAUSE_SECONDS)
                break
            try:
                socket, address = listener.accept()
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}:
                    await trio.sleep(FULL_PAUSE_SECONDS)
                break
            socket.setblocking(False)  # noqa: FBT003 - the socket API's own flag
            socket.setsockopt(stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_NODELAY, 1)
            welcome(socket, address[0])
        else:
            await trio.lowlevel.checkpoint()
