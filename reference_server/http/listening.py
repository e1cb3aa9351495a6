"""Where connections come in: listening sockets, and what they speak TLS with. Both are there before any is taken."""

from __future__ import annotations

import errno
import socket as stdlib_socket
import ssl
from typing import TYPE_CHECKING

from reference_server.limits import LISTEN_BACKLOG, SEND_BUFFER_BYTES

if TYPE_CHECKING:
    from reference_server.settings import Settings

_NO_SUCH_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
PROTOCOLS = ("h2", "http/1.1")
CIPHERS = "ECDHE+AESGCM"
"""Of TLS 1.2; all of TLS 1.3 are as good. Every other suite of TLS 1.2 is on HTTP/2's list of bad ones (RFC 9113)."""


class ListenError(Exception):
    """The server cannot start listening; the message says what to do about it."""


def open_listeners(settings: Settings) -> list[stdlib_socket.socket]:
    """Bind the listening sockets. Raises ListenError, saying what to do."""
    where = f"{settings.host}:{settings.port}"
    try:
        found = stdlib_socket.getaddrinfo(
            settings.host,
            settings.port,
            type=stdlib_socket.SOCK_STREAM,
            flags=stdlib_socket.AI_PASSIVE,
        )
    except (stdlib_socket.gaierror, UnicodeError) as error:  # the latter for what is no host name at all
        reason = getattr(error, "strerror", None) or "no host name is like that"
        raise ListenError(f"HOST: {settings.host!r} is no address of this machine ({reason})") from None
    listeners: list[stdlib_socket.socket] = []
    problem: OSError | None = None
    for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
        # One port for all: where it is to be a free one, the first picks it.
        port = listeners[0].getsockname()[1] if listeners else settings.port
        both = family == stdlib_socket.AF_INET6 and address[0] == "::" and stdlib_socket.has_dualstack_ipv6()
        try:
            listener = stdlib_socket.create_server(
                (address[0], port, *address[2:]), family=family, backlog=LISTEN_BACKLOG, dualstack_ipv6=both
            )
        except OSError as error:
            if error.errno in _NO_SUCH_ADDRESS:
                problem = error  # a name may well have an address of a family that is turned off here
                continue
            for listener in listeners:
                listener.close()
            listeners, problem = [], error
            break
        # Connections have it from their listener.
        listener.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        listener.setblocking(False)  # noqa: FBT003 - the socket API's own flag
        listeners.append(listener)
    if not listeners and problem is not None:
        raise ListenError(
            f"cannot listen on {where} ({problem.strerror}): free the port, or set PORT to another (0 picks one)",
        ) from None
    return listeners


def make_tls_context(settings: Settings) -> ssl.SSLContext | None:
    """Return what connections speak TLS with; None where the settings want none. Raises ListenError."""
    if not settings.tls_cert_file:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 9113 §9.2
    context.options = ssl.OP_NO_COMPRESSION  # RFC 9113 §9.2.1; nothing else, so an end that is cut off is an error
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(list(PROTOCOLS))
    try:
        context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file)
    except (OSError, ValueError) as error:
        pair = f"{settings.tls_cert_file} with {settings.tls_key_file}"
        raise ListenError(
            f"TLS_CERT_FILE and TLS_KEY_FILE: cannot use {pair} ({error})",
        ) from None
    return context
