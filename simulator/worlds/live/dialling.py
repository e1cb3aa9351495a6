"""Opening the connections of a shard: connecting and TLS handshakes on non-blocking sockets."""

from __future__ import annotations

import os
import selectors
import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING

from simulator.client.link import LinkState
from simulator.client.target import bound_socket

if TYPE_CHECKING:
    from simulator.client.link import Link
    from simulator.client.target import Target
    from simulator.worlds.progress import Progress


def dial(link: Link, target: Target, selector: selectors.BaseSelector) -> None:
    """Start connecting to the target's next address. Raises OSError."""
    address, port = link.next_place(target)
    link.sock = bound_socket(target, link.source, address)
    with suppress(BlockingIOError):
        link.sock.connect((address, port))
    link.state = LinkState.CONNECTING
    selector.register(link.sock, selectors.EVENT_WRITE, link)


def shake_hands(link: Link, target: Target, selector: selectors.BaseSelector, progress: Progress) -> bool:
    """Continue opening a connection that is ready; return whether it is up. Raises OSError.

    Machines count as connected before the TLS handshake.
    """
    sock = link.sock
    if sock is None:
        return False
    if link.state is LinkState.CONNECTING:
        problem = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if problem:
            raise OSError(problem, os.strerror(problem))
        selector.unregister(sock)
        if target.tls is not None:
            sock = target.tls.wrap_socket(sock, server_hostname=target.host, do_handshake_on_connect=False)
            link.sock = sock
        link.state = LinkState.HANDSHAKING
        selector.register(sock, selectors.EVENT_READ, link)
        if link.machine is not None:
            progress.connect()
    if isinstance(sock, ssl.SSLSocket):
        try:
            sock.do_handshake()
        except ssl.SSLWantReadError:
            return False
    link.state = LinkState.READY
    return True
