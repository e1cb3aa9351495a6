"""Whom a request comes from behind proxies, by what they say and what anybody may have said before them."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_server.core.trusted_proxies import TrustedProxies
from reference_server.limits import FORWARDED_HOPS_MAX
from reference_server.wire.values import Request
from tests.support.tiers import examples

NETWORKS = ("10.0.0.0/8", "192.0.2.7/32", "fc00::/7")
PROXIES = TrustedProxies(NETWORKS)


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        ("198.51.100.1", "203.0.113.9", "198.51.100.1"),
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "1.2.3.4, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "203.0.113.9, 192.0.2.7,10.9.9.9", "203.0.113.9"),
        ("10.0.0.1", "192.0.2.7, 10.9.9.9", "192.0.2.7"),
        ("10.0.0.1", "203.0.113.9, unknown, 10.9.9.9", "10.9.9.9"),
        ("10.0.0.1", "203.0.113.9, ", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9:4711", "203.0.113.9"),
        ("10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
        ("10.0.0.1", "2001:0DB8::0001", "2001:db8::1"),
        ("10.0.0.1", "::ffff:203.0.113.9", "203.0.113.9"),
        ("::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("fd00::1", "203.0.113.9", "203.0.113.9"),
        ("fe80::1%eth0", "203.0.113.9", "fe80::1%eth0"),
        ("10.0.0.1", "203.0.113.9" + " " * 70, "203.0.113.9"),
        ("10.0.0.1", "x" * 70, "10.0.0.1"),
        ("", "203.0.113.9", ""),
    ],
)
def test_the_right_most_address_that_is_no_proxys_counts(peer: str, forwarded_for: str, client: str) -> None:
    assert PROXIES.client_of(peer, forwarded_for) == client


ADDRESSES = st.one_of(
    st.ip_addresses(network="10.0.0.0/8"),
    st.just(ip_address("192.0.2.7")),
    st.ip_addresses(v=4),
    st.ip_addresses(v=6),
).map(str)


@settings(deadline=None, max_examples=examples(100))
@given(ADDRESSES, st.lists(ADDRESSES, max_size=FORWARDED_HOPS_MAX), st.text(max_size=30))
def test_what_the_first_untrusted_hop_says_changes_nothing(peer: str, hops: list[str], claimed: str) -> None:
    """By a plain reading of the same networks: nobody but a trusted proxy moves the answer."""
    client = peer
    for hop in reversed(hops):
        if not any(ip_address(client) in ip_network(network) for network in NETWORKS):
            break
        client = str(ip_address(hop))
    trusted = any(ip_address(client) in ip_network(network) for network in NETWORKS)
    assert PROXIES.client_of(peer, ", ".join(hops)) == client
    if not trusted:
        assert PROXIES.client_of(peer, ", ".join([claimed, *hops]) if hops else claimed) == client


def test_no_more_hops_are_looked_at_than_there_may_be() -> None:
    hops = [f"10.0.0.{number}" for number in range(FORWARDED_HOPS_MAX + 5)]
    assert PROXIES.client_of("10.1.1.1", ",".join(["203.0.113.9", *hops])) == hops[-FORWARDED_HOPS_MAX]


def test_headers_of_one_name_are_one_list() -> None:
    headers = (("x-forwarded-for", "203.0.113.9"), ("host", "h"), ("x-forwarded-for", "10.0.0.2"))
    for peer, client in (("10.0.0.1", "203.0.113.9"), ("198.51.100.1", "198.51.100.1")):
        seen = PROXIES.see_through(Request("GET", "/", headers=headers, client=peer))
        assert (seen.client, seen.proxied) == (client, peer == "10.0.0.1")


def test_without_proxies_nobody_is_trusted() -> None:
    nobody = TrustedProxies(())
    assert not nobody
    assert not nobody.trusts("127.0.0.1")
    assert nobody.client_of("127.0.0.1", "203.0.113.9") == "127.0.0.1"
