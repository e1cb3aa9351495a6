from __future__ import annotations

import ipaddress
import socket
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from simulator.client import target as target_module
from simulator.client.target import (
    SCRAPER_ADDRESS,
    Target,
    TargetError,
    attacker_source,
    bound_socket,
    can_bind,
    machine_source,
    owner_source,
    parse_target,
)
from simulator.limits import MACHINES_MAX, OWNERS_MAX

LOOPBACK = parse_target("http://127.0.0.1:8080", "t")
SHARED = msgspec.structs.replace(LOOPBACK, own_addresses=False)


@pytest.mark.parametrize(
    ("url", "url_read", "address", "port"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080", "127.0.0.1", 8080),
        ("http://127.0.0.1", "http://127.0.0.1:80", "127.0.0.1", 80),
        ("https://127.0.0.1", "https://127.0.0.1:443", "127.0.0.1", 443),
        ("http://127.0.0.1:9/", "http://127.0.0.1:9", "127.0.0.1", 9),
        ("http://[::1]:8080", "http://[::1]:8080", "::1", 8080),
    ],
)
def test_a_targets_url_is_read(url: str, url_read: str, address: str, port: int) -> None:
    target = parse_target(url, "token")
    assert (target.url, target.address, target.port) == (url_read, address, port)
    assert (target.tls is not None) == url.startswith("https")
    assert target.authority == url_read.partition("//")[2]
    assert target.own_addresses == (address == "127.0.0.1")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("127.0.0.1:8080", "write it like http://127.0.0.1:8080"),
        ("ftp://127.0.0.1", "write it like"),
        ("http://", "write it like"),
        ("http://127.0.0.1:port", "--target http://127.0.0.1:port"),
        ("http://127.0.0.1:70000", "--target http://127.0.0.1:70000"),
        ("http://[::1", "--target"),
        ("", "write it like"),
    ],
)
def test_a_url_that_is_none_is_refused_with_the_way_out(url: str, says: str) -> None:
    with pytest.raises(TargetError) as refusal:
        parse_target(url, "t")
    assert says in str(refusal.value)


def test_an_unknown_host_is_called_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_args: Any, **_options: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(TargetError, match="the host is not known"):
        parse_target("http://hatchfarm.invalid", "t")


def test_a_target_never_shows_its_token() -> None:
    assert "s3cret" not in repr(parse_target("http://127.0.0.1:8080", "s3cret"))


def test_a_remote_target_is_spoken_to_from_the_machines_one_address(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: found)
    target = parse_target("http://hatchfarm.example", "t")
    assert not target.own_addresses
    assert machine_source(target, 5) is None


def test_where_loopback_has_one_address_all_machines_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target_module, "can_bind", lambda _address: False)
    assert not parse_target("http://127.0.0.1:8080", "t").own_addresses


indices = st.integers(0, 15).flatmap(lambda high: st.integers(high << 16, min((high + 1) << 16, MACHINES_MAX) - 1))


@given(one=indices, other=indices)
@example(one=0, other=128 * 256)
@example(one=5, other=5 + (1 << 16))
def test_machines_have_addresses_of_their_own(one: int, other: int) -> None:
    first, second = machine_source(LOOPBACK, one), machine_source(LOOPBACK, other)
    assert (first == second) == (one == other)
    assert ipaddress.ip_address(str(first)).is_loopback
    assert machine_source(SHARED, one) is None


@given(
    machine=indices,
    owner=st.integers(0, OWNERS_MAX - 1),
    attacker=st.integers(0, 400_000),
)
def test_machines_owners_attackers_and_the_scraper_never_share_an_address(
    machine: int,
    owner: int,
    attacker: int,
) -> None:
    """Else one's requests would use up the other's rate limit."""
    sources = {
        machine_source(LOOPBACK, machine),
        owner_source(LOOPBACK, owner),
        attacker_source(LOOPBACK, attacker),
        SCRAPER_ADDRESS,
        "127.0.0.1",
    }
    assert len(sources) == 5


def test_a_bound_socket_speaks_from_its_address_and_never_blocks() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        target: Target = msgspec.structs.replace(LOOPBACK, port=listener.getsockname()[1])
        with bound_socket(target, "127.16.3.4") as sock:
            assert sock.gettimeout() == 0
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            sock.connect_ex((target.address, target.port))
            accepted, client = listener.accept()
            accepted.close()
    assert client[0] == "127.16.3.4"


def test_an_address_that_is_not_this_machines_is_refused_and_leaks_nothing() -> None:
    with pytest.raises(OSError, match="assign"):
        bound_socket(LOOPBACK, "192.0.2.1")
    assert not can_bind("192.0.2.1")
    assert can_bind("127.16.0.1")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://127.0.0.1:8080/?a=b", "a query or fragment is sent to nobody"),
        ("http://127.0.0.1:8080?", "a query or fragment is sent to nobody"),
        ("http://127.0.0.1:8080/#", "a query or fragment is sent to nobody"),
        ("http://127.0.0.1:8080/api/v1", "the API's own"),
        ("http://127.0.0.1:0", "nothing listens on port 0"),
        ("http://127.0.0.1:80\n80", "a space or control character"),
        ("http://a..b", "'a..b' is no host name"),
        ("http://" + "a" * 64, "is no host name"),
    ],
)
def test_whatever_of_a_url_would_be_dropped_is_refused(url: str, says: str) -> None:
    with pytest.raises(TargetError) as refused:
        parse_target(url, "token")
    assert says in str(refused.value)


@pytest.mark.parametrize("url", ["http://user:SECRET@127.0.0.1:8080", "http://SECRET@127.0.0.1:x", "SECRET@h"])
def test_credentials_in_a_url_are_refused_and_not_shown(url: str) -> None:
    with pytest.raises(TargetError, match="credentials in the URL") as refused:
        parse_target(url, "token")
    assert "SECRET" not in str(refused.value)


@pytest.mark.parametrize("token", ["SECRET\n", "SECRET TWO", "SECRET\u2028", "SECRÉT", "\0SECRET"])
def test_a_token_that_no_header_can_carry_is_refused_before_it_is_sent_and_not_shown(token: str) -> None:
    with pytest.raises(TargetError, match="printable ASCII") as refused:
        parse_target("http://127.0.0.1:8080/", token)
    assert "SECR" not in str(refused.value)
