"""The settings of proxies in front of the server: who they are, and what they say of whom they bring (contract §11)."""

from __future__ import annotations

from ipaddress import IPv6Network, ip_network

from reference_server.limits import TRUSTED_PROXIES_MAX, TRUSTED_PROXIES_WIDEST_BITS
from reference_server.setting_rows import Setting, flag

_IPV4_IN_IPV6 = IPv6Network("::ffff:0:0/96")


def _network(text: str) -> str:
    if "%" in text:
        raise ValueError  # a zone is this machine's own name for a network
    network = ip_network(text)  # one with bits set behind its prefix is none: which of both was meant?
    if network.prefixlen < TRUSTED_PROXIES_WIDEST_BITS[network.version]:
        raise ValueError
    if isinstance(network, IPv6Network) and network.overlaps(_IPV4_IN_IPV6):
        raise ValueError  # such addresses are read as IPv4, so it would never be found
    return str(network)


def _networks(text: str) -> tuple[str, ...]:
    networks = tuple(dict.fromkeys(_network(part.strip()) for part in text.split(",") if part.strip()))
    if not 0 < len(networks) <= TRUSTED_PROXIES_MAX:
        raise ValueError
    return networks


PROXY_SETTINGS: tuple[Setting, ...] = (
    Setting(
        "TRUSTED_PROXIES",
        "trusted_proxies",
        _networks,
        f"addresses or networks (CIDR), separated by commas, at most {TRUSTED_PROXIES_MAX:,}, none wider than /"
        f"{TRUSTED_PROXIES_WIDEST_BITS[4]} (IPv6: /{TRUSTED_PROXIES_WIDEST_BITS[6]}): whoever is in one may name any "
        "address as its own, so 0.0.0.0/0 would let every client choose whom its requests are counted for",
        "proxies whose X-Forwarded-For names the client: limits count for the right-most address that is not theirs",
    ),
    flag(
        "PROXY_PROTOCOL",
        "proxy_protocol",
        "connections from TRUSTED_PROXIES begin with a PROXY protocol header, version 1 or 2, which names the client",
    ),
)
