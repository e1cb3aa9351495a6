"""Token buckets of client addresses (contract §6)."""

from __future__ import annotations

import math
from ipaddress import IPv6Address, ip_address

from reference_server.wire.units import SECOND_NS

_IPV6_PREFIX_BITS = 64


def client_key(client: str) -> str:
    """Return the key of a client address's bucket: the address for IPv4, its /64 for IPv6."""
    if ":" not in client:
        return client
    try:
        address = ip_address(client.partition("%")[0])
    except ValueError:
        return client
    if not isinstance(address, IPv6Address):
        return client
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{int(address) >> _IPV6_PREFIX_BITS:x}/64"


class TokenBuckets:
    """Token buckets by key, each stored as a single number: the moment at which it would be full again (GCRA).

    Memory is bounded by two generations: when the current one is full it becomes the old one, and buckets that are not
    used before the next change are forgotten. A forgotten bucket counts as full, which an unused one soon is anyway.
    """

    def __init__(self, refill_per_second: float, burst: int, buckets_max: int) -> None:
        # Rounded up, so that not even a nanosecond more than the refill is granted.
        self._token_ns = math.ceil(SECOND_NS / refill_per_second)
        self._allowance_ns = (burst - 1) * self._token_ns
        self._generation_max = max(1, buckets_max // 2)
        self._full_at: dict[str, int] = {}
        self._old_full_at: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._full_at) + len(self._old_full_at)

    def is_exhausted(self, key: str, monotonic_ns: int) -> bool:
        """Return whether the bucket has no token, without taking one."""
        full_at = self._full_at.get(key) or self._old_full_at.get(key, 0)
        return full_at - self._allowance_ns > monotonic_ns

    def take(self, key: str, monotonic_ns: int) -> int:
        """Take one token. Return 0, or the nanoseconds until there is one."""
        full_at = self._full_at.get(key)
        if full_at is None:
            full_at = self._old_full_at.pop(key, monotonic_ns)
            if len(self._full_at) >= self._generation_max:
                self._old_full_at, self._full_at = self._full_at, {}
        if full_at <= monotonic_ns:
            self._full_at[key] = monotonic_ns + self._token_ns
            return 0
        wait_ns = full_at - self._allowance_ns - monotonic_ns
        if wait_ns > 0:
            self._full_at[key] = full_at
            return wait_ns
        self._full_at[key] = full_at + self._token_ns
        return 0
