"""The addresses of a target's name, the one that answers first in front (RFC 8305)."""

from __future__ import annotations

import ipaddress
import selectors
import socket
import time
from contextlib import ExitStack, suppress
from itertools import zip_longest

from simulator.limits import ADDRESSES_MAX, RESOLVE_MAX_SECONDS

ATTEMPT_DELAY_SECONDS = 0.25
"""How long one address may take before the next is tried beside it (RFC 8305 §5)."""


class UnknownHostError(Exception):
    """A name without any address; the message says why."""


def resolve(host: str, port: int, seconds_max: float = RESOLVE_MAX_SECONDS) -> tuple[str, ...]:
    """Return the addresses of a name, best first. Raises UnknownHostError.

    Where there are several, those are tried, each a little later than the one before, and the first to take a
    connection, within `seconds_max`, is in front. With none that does they are in the order in which they would be
    tried.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise UnknownHostError(f"the host is not known ({error.strerror})") from None
    except UnicodeError:  # what the encoding of host names cannot write: empty and overlong parts
        raise UnknownHostError(f"{host[:80]!r} is no host name") from None
    addresses = in_order(list(dict.fromkeys(str(one[4][0]) for one in found)))[:ADDRESSES_MAX]
    if len(addresses) == 1:
        return tuple(addresses)
    first = _quickest(addresses, port, seconds_max)
    return tuple(addresses) if first is None else (first, *(one for one in addresses if one != first))


def in_order(addresses: list[str]) -> list[str]:
    """Return addresses in the order in which they are tried: as the resolver prefers them, one kind after the other.

    Those of IPv4 that are this machine's own come first: it has millions of them, so that each machine has its own.
    """
    own = [one for one in addresses if ":" not in one and ipaddress.ip_address(one).is_loopback]
    rest = [one for one in addresses if one not in own]
    if not rest:
        return own
    preferred = [one for one in rest if (":" in one) == (":" in rest[0])]
    others = [one for one in rest if one not in preferred]
    return [*own, *(one for pair in zip_longest(preferred, others) for one in pair if one is not None)]


def _quickest(addresses: list[str], port: int, seconds_max: float) -> str | None:
    """Return the address that takes a connection first; None when none does in time."""
    until = time.monotonic() + seconds_max
    waiting = list(addresses)
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        while waiting or selector.get_map():
            if waiting:
                _attempt(waiting.pop(0), port, stack, selector)
            left = until - time.monotonic()
            if left <= 0:
                return None
            if not selector.get_map():
                continue  # that one failed at once
            for key, _ in selector.select(min(left, ATTEMPT_DELAY_SECONDS) if waiting else left):
                sock: socket.socket = key.data[1]
                if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                    return str(key.data[0])
                selector.unregister(sock)
    return None


def _attempt(address: str, port: int, stack: ExitStack, selector: selectors.BaseSelector) -> None:
    """Begin to connect to an address; nothing is registered where that fails at once."""
    with suppress(OSError):
        sock = stack.enter_context(socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET))
        sock.setblocking(False)  # noqa: FBT003 - the socket API's own flag
        with suppress(BlockingIOError):
            sock.connect((address, port))
        selector.register(sock, selectors.EVENT_WRITE, (address, sock))
