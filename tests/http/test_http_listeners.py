"""Where a server listens: on every address that its HOST means, and on one port."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

import pytest

from reference_server.http.listening import ListenError, open_listeners
from reference_server.limits import SEND_BUFFER_BYTES
from reference_server.settings import Settings

IPV6 = socket.has_dualstack_ipv6()
NAME = "several.test"


@pytest.fixture
def two_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a name have two addresses of this machine, one of them twice, and one of a family that is turned off."""

    def found(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        assert host == NAME
        inet = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in ("127.0.0.1", "127.0.0.2")]
        off = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port))
        return [inet[0], inet[0], off, inet[1]]

    monkeypatch.setattr(socket, "getaddrinfo", found)


def names(listeners: list[socket.socket]) -> list[tuple[str, int]]:
    """Return where each listens, and close it."""
    try:
        return [listener.getsockname()[:2] for listener in listeners]
    finally:
        for listener in listeners:
            listener.close()


@pytest.mark.usefixtures("two_addresses")
def test_a_name_with_several_addresses_listens_on_all_that_there_are_on_one_port() -> None:
    first, second = names(open_listeners(Settings(host=NAME, port=0)))
    assert (first[0], second[0]) == ("127.0.0.1", "127.0.0.2")
    assert first[1] == second[1] > 0


@pytest.mark.usefixtures("two_addresses")
def test_a_port_that_is_taken_on_one_of_them_is_refused_and_the_others_are_let_go() -> None:
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match=r"^cannot listen on several\.test:"):
            open_listeners(Settings(host=NAME, port=port))
        socket.create_server(("127.0.0.1", port)).close()


@pytest.mark.skipif(not IPV6, reason="no IPv6 here")
def test_the_unspecified_address_of_ipv6_listens_on_both_families() -> None:
    (listener,) = open_listeners(Settings(host="::", port=0))
    with listener:
        port = listener.getsockname()[1]
        for address in ("127.0.0.1", "::1"):
            with socket.create_connection((address, port), timeout=10):
                listener.setblocking(True)  # noqa: FBT003 - the socket API's own flag
                listener.accept()[0].close()


def test_a_client_that_does_not_read_leaves_little_in_the_kernel() -> None:
    """A connection takes a few hundred kilobytes of answers, and then no more until they are read."""
    (listener,) = open_listeners(Settings(port=0))
    with listener, socket.create_connection(listener.getsockname()) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.setblocking(True)  # noqa: FBT003 - the socket API's own flag
        accepted = listener.accept()[0]
        with accepted:
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * SEND_BUFFER_BYTES
            accepted.setblocking(False)  # noqa: FBT003 - as above
            taken = 0
            with suppress(BlockingIOError):
                while taken < 1 << 24:
                    taken += accepted.send(bytes(1 << 16))
    assert taken < 1 << 21
