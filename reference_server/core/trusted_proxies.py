"""The client address of a request that comes through proxies (contract §6)."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from reference_server.limits import FORWARDED_ADDRESS_MAX_CHARACTERS, FORWARDED_ADDRESSES_KEPT, FORWARDED_HOPS_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reference_server.wire.values import Request

FORWARDED_FOR = "x-forwarded-for"
_WITH_PORT = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}")


class _Address(NamedTuple):
    """A normalised address (IPv4-mapped IPv6 as IPv4), and whether it belongs to a trusted proxy."""

    text: str
    trusted: bool


class TrustedProxies:
    """The networks (CIDR) of the trusted proxies. False if there are none.

    Each proxy appends its client's address to `X-Forwarded-For`. So the header is reliable from the right up to the
    first address that is not a trusted proxy's: that client wrote the rest.
    """

    def __init__(self, networks: Sequence[str]) -> None:
        by_size: dict[tuple[int, int], set[int]] = {}
        for network in map(ip_network, networks):
            host_bits = network.max_prefixlen - network.prefixlen
            found = by_size.setdefault((network.version, host_bits), set())
            found.add(int(network.network_address) >> host_bits)
        self._networks = tuple((version, host_bits, found) for (version, host_bits), found in by_size.items())
        self._read = lru_cache(FORWARDED_ADDRESSES_KEPT)(self._parse)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def trusts(self, address: str) -> bool:
        """Return whether an address belongs to a trusted proxy."""
        found = self._read(address) if self._networks else None
        return found is not None and found.trusted

    def client_of(self, peer: str, forwarded_for: str) -> str:
        """Return the client address of a request that came from the address `peer`.

        An entry that is no address cannot be followed: the proxy that wrote it counts as the client then.
        """
        if not self.trusts(peer):
            return peer
        client = peer
        for text in reversed(forwarded_for.rsplit(",", FORWARDED_HOPS_MAX)[-FORWARDED_HOPS_MAX:]):
            stripped = text.strip(" \t")
            found = self._read(stripped) if len(stripped) <= FORWARDED_ADDRESS_MAX_CHARACTERS else None
            if found is None:
                break
            client = found.text
            if not found.trusted:
                break
        return client

    def see_through(self, request: Request) -> Request:
        """Return the request with its real client address, if it came through a trusted proxy."""
        if not self.trusts(request.client):
            return request
        forwarded_for = ",".join(value for name, value in request.headers if name == FORWARDED_FOR)
        client = self.client_of(request.client, forwarded_for)
        return msgspec.structs.replace(request, client=client, proxied=True)

    def _parse(self, text: str) -> _Address | None:
        with_port = _WITH_PORT.fullmatch(text)
        try:
            address = ip_address((with_port[1] or with_port[2]) if with_port else text.partition("%")[0])
        except ValueError:
            return None
        if isinstance(address, IPv6Address):
            address = address.ipv4_mapped or address
        number, version = int(address), address.version
        trusted = any(
            version == of_version and number >> host_bits in found for of_version, host_bits, found in self._networks
        )
        return _Address(str(address), trusted)
