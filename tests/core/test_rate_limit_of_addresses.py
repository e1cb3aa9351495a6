"""The rate limit against a plain token bucket, and what counts as one client (contract §6)."""

from __future__ import annotations

from fractions import Fraction
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_server.core.rate_limit import TokenBuckets, client_key
from reference_server.wire.values import Request
from tests.core.server_under_test import SECOND, Server
from tests.support.tiers import examples

REFILLS = st.sampled_from([0.001, 0.3, 1.0, 3.0, 5.0, 7.0, 1000.0, 999_999.0])
BURSTS = st.integers(1, 30)
WAITS = st.lists(st.one_of(st.just(0), st.integers(0, 3), st.integers(0, 2 * SECOND)), min_size=1, max_size=80)
FAST = settings(max_examples=examples(150), deadline=None)


class PlainBucket:
    """Tokens counted one by one, exactly."""

    def __init__(self, token_ns: int, burst: int) -> None:
        self._refill = Fraction(1, token_ns)
        self._burst = burst
        self._tokens = Fraction(burst)
        self._at = 0

    def take(self, now: int) -> int:
        self._tokens = min(Fraction(self._burst), self._tokens + (now - self._at) * self._refill)
        self._at = now
        if self._tokens >= 1:
            self._tokens -= 1
            return 0
        missing = (1 - self._tokens) / self._refill
        return -(-missing.numerator // missing.denominator)


@FAST
@given(refill=st.sampled_from([1.0, 2.0, 5.0, 8.0, 1000.0, 0.5]), burst=BURSTS, waits=WAITS)
def test_a_bucket_answers_like_the_plain_one(refill: float, burst: int, waits: list[int]) -> None:
    buckets = TokenBuckets(refill, burst, 100)
    plain = PlainBucket(round(SECOND / refill), burst)
    now = 0
    for wait in waits:
        now += wait
        assert buckets.take("client", now) == plain.take(now)


@FAST
@given(refill=REFILLS, burst=BURSTS, waits=WAITS, patience=st.booleans())
def test_no_interval_has_more_than_burst_and_refill(
    refill: float,
    burst: int,
    waits: list[int],
    patience: bool,  # noqa: FBT001 - drawn
) -> None:
    """A patient client, who comes back the very moment it may, gets the most there is."""
    buckets = TokenBuckets(refill, burst, 100)
    taken, now = [], 0
    for wait in waits:
        now += wait
        missing = buckets.take("client", now)
        if missing and patience:
            now += missing
            missing = buckets.take("client", now)
            assert missing == 0
        if not missing:
            taken.append(now)
    for first, start in enumerate(taken):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + Fraction(refill) * (taken[last] - start) / SECOND


@FAST
@given(refill=REFILLS, burst=BURSTS, waits=WAITS)
def test_the_wait_is_sufficient_and_no_longer_than_needed(refill: float, burst: int, waits: list[int]) -> None:
    now = 0
    taken = []
    for wait in waits:
        now += wait
        taken.append(now)
        buckets, early = TokenBuckets(refill, burst, 100), TokenBuckets(refill, burst, 100)
        for moment in taken[:-1]:
            assert buckets.take("client", moment) == early.take("client", moment)
        missing = buckets.take("client", now)
        if missing:
            assert early.take("client", now + missing - 1) > 0
            assert buckets.take("client", now + missing) == 0
            return


@FAST
@given(keys=st.lists(st.integers(0, 40), max_size=200), buckets_max=st.integers(2, 12))
def test_the_number_of_buckets_is_bounded(keys: list[int], buckets_max: int) -> None:
    buckets = TokenBuckets(1.0, 1, buckets_max)
    for key in keys:
        buckets.take(str(key), 0)
        assert len(buckets) <= buckets_max


@FAST
@given(others=st.lists(st.integers(0, 3), max_size=100))
def test_buckets_of_few_clients_are_never_forgotten(others: list[int]) -> None:
    """While there is room for all of them, each keeps its own count: only its first request passes."""
    buckets = TokenBuckets(0.001, 1, 8)
    seen: set[int] = set()
    for other in others:
        assert (buckets.take(str(other), 0) == 0) is (other not in seen)
        seen.add(other)


def test_a_client_in_constant_use_outlives_the_turnover_of_the_others() -> None:
    buckets = TokenBuckets(0.001, 1, 10)
    assert buckets.take("busy", 0) == 0
    for other in range(100):
        buckets.take(f"other {other}", 0)
        assert buckets.take("busy", 0) > 0


# -- who is one client


@FAST
@given(address=st.ip_addresses(v=4))
def test_ipv4_counts_by_address_also_when_mapped(address: IPv4Address) -> None:
    assert client_key(str(address)) == str(address)
    assert client_key(f"::ffff:{address}") == str(address)
    assert client_key(IPv6Address(f"::ffff:{address}").exploded) == str(address)


@FAST
@given(address=st.ip_addresses(v=6), host=st.integers(0, 2**64 - 1), other=st.ip_addresses(v=6))
def test_ipv6_counts_by_64(address: IPv6Address, host: int, other: IPv6Address) -> None:
    network = ip_network((address, 64), strict=False)
    neighbour = IPv6Address(int(network.network_address) + host)
    if address.ipv4_mapped is None and neighbour.ipv4_mapped is None:
        assert client_key(str(neighbour)) == client_key(address.exploded) == client_key(f"{address}%eth0")
    if other not in network:
        assert client_key(str(other)) != client_key(str(address))


@pytest.mark.parametrize("client", ["", "unix", "not:an:address", "1:2"])
def test_a_client_that_is_no_address_counts_as_itself(client: str) -> None:
    assert client_key(client) == client


# -- through the whole API


def ask(server: Server, client: str = "198.51.100.7", method: str = "GET", path: str = "/health") -> int:
    return server.request(Request(method, path, client=client)).status


def limited(*, rate_limit_burst: int = 20, rate_limit_refill_per_second: float = 5.0) -> Server:
    return Server(rate_limit_burst=rate_limit_burst, rate_limit_refill_per_second=rate_limit_refill_per_second)


def test_twenty_at_once_then_five_a_second() -> None:
    server = limited()
    assert [ask(server) for _ in range(22)] == [200] * 20 + [429] * 2
    server.pass_time(SECOND)
    assert [ask(server) for _ in range(6)] == [200] * 5 + [429]


@pytest.mark.parametrize("path", ["/health", "/nowhere", "/v1/policies", "/metrics", "/v1/workers/a/heartbeat"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_every_request_counts_whatever_becomes_of_it(path: str, method: str) -> None:
    server = limited(rate_limit_burst=1)
    assert ask(server, method=method, path=path) != 429
    assert ask(server) == 429


def test_options_is_free() -> None:
    server = limited(rate_limit_burst=1)
    assert [ask(server, method="OPTIONS") for _ in range(50)] == [200] * 50
    assert [ask(server), ask(server)] == [200, 429]
    assert ask(server, method="OPTIONS") == 200


def test_lane_and_routes_share_one_limit() -> None:
    server = limited(rate_limit_burst=2)
    assert ask(server, "127.0.0.1") == 200
    assert [server.lane("wrk_a", "t", "c", b"").status for _ in range(2)] == [400, 429]
    assert ask(server, "127.0.0.1") == 429


def test_clients_do_not_share_their_limits_unless_they_share_a_64() -> None:
    server = limited(rate_limit_burst=1)
    clients = ["198.51.100.7", "198.51.100.8", "2001:db8:0:1::1", "2001:db8:0:2::1"]
    assert [ask(server, client) for client in clients] == [200] * 4
    sharing = ["::ffff:198.51.100.7", "2001:db8:0:1:ffff:ffff:ffff:ffff", "2001:db8:0:2::1%eth0"]
    assert [ask(server, client) for client in sharing] == [429] * 3


@FAST
@given(
    refill=st.sampled_from([0.3, 0.7, 1.0, 3.0, 5.0]),
    burst=st.integers(1, 3),
    waits=st.lists(st.integers(0, 2 * SECOND), max_size=20),
)
def test_retry_after_is_the_fewest_whole_seconds_that_suffice(refill: float, burst: int, waits: list[int]) -> None:
    server = limited(rate_limit_burst=burst, rate_limit_refill_per_second=refill)
    for wait in waits:
        server.pass_time(wait)
        answer = server.request(Request("GET", "/health"))
        if answer.status == 429:
            assert answer.error == (429, "rate limit exceeded")
            seconds = int(answer.headers["retry-after"])
            assert seconds >= 1
            server.pass_time((seconds - 1) * SECOND)
            assert ask(server, "127.0.0.1") == 429
            server.pass_time(SECOND)
            assert ask(server, "127.0.0.1") == 200


def test_a_refused_request_costs_no_token() -> None:
    """A client that keeps hammering is served again as soon as one that waits."""
    server = limited(rate_limit_burst=1, rate_limit_refill_per_second=1.0)
    assert ask(server) == 200
    for _ in range(9):
        server.pass_time(SECOND // 10)
        assert ask(server) == 429
    server.pass_time(SECOND // 10)
    assert ask(server) == 200


def test_refused_requests_and_buckets_are_shown_in_the_metrics() -> None:
    server = limited(rate_limit_burst=1)
    assert [ask(server) for _ in range(4)] == [200, 429, 429, 429]
    shown = server.metrics()
    assert (shown["hatchfarm_rate_limited_total"], shown["hatchfarm_rate_limit_buckets"]) == (3, 2)


def test_only_the_monotonic_clock_refills() -> None:
    server = limited(rate_limit_burst=1)
    assert ask(server) == 200
    server.step_wall(3600 * SECOND)
    assert ask(server) == 429
