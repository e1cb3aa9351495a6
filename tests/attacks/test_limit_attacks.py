"""Attacks on rate limits and on the transport: nothing on a right server, and the wrong one is found."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from reference_server.adapters.clock import SystemClock
from reference_server.core.rate_limit import TokenBuckets
from reference_server.wire.units import SECOND_NS
from simulator.attacks import limits
from simulator.attacks.defences import Defences, defences_of
from simulator.contract.answers import Answer, Operation
from simulator.history.rows import NO_MACHINE
from tests.attacks.live import OPEN, play_live, play_patiently, written, wrong_server
from tests.attacks.playing import read_request
from tests.simulator.conftest import serving
from tests.support.beside import side_by_side
from tests.support.trying import tried_again_alone, tried_again_where_undecided

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.attacks.live import Connection, Played, Talk

QUICK = Defences(burst=10, refill_per_second=10.0)
"""A bucket that is full again within a second, so that edges come soon."""
SETTINGS = {"rate_limit_burst": 10, "rate_limit_refill_per_second": 10.0}
WINDOW_NS = 500_000_000
HASTY = Defences(burst=10, refill_per_second=10 * SECOND_NS / WINDOW_NS)
"""As much in a window as a bucket gains in it, so that only what is around an edge exceeds it."""
NAMES = ["limit.burst", "limit.window-edge", "limit.spoofed-ip"]


# --- a right server


@pytest.mark.parametrize("name", NAMES)
@tried_again_where_undecided
async def test_nothing_is_found_on_a_right_server(name: str) -> None:
    async with serving(**SETTINGS) as (api, target):
        (await play_patiently(name, target, defences=QUICK)).see_that_all_is_well()
        assert api.state.rate_limited


@tried_again_where_undecided
async def test_the_defaults_of_the_contract_hold_for_a_burst() -> None:
    async with serving() as (_, target):
        (await play_patiently("limit.burst", target)).see_that_all_is_well()


@pytest.mark.parametrize("name", NAMES)
async def test_a_limit_that_is_raised_out_of_reach_is_not_tried(name: str) -> None:
    async with serving(**OPEN) as (api, target):
        played = await play_live(name, target, defences=Defences(burst=1_000_000, refill_per_second=1e6))
        assert not api.heard
    assert "1,000,000 at once, out of reach" in played.campaign.not_tried


async def test_a_limit_that_is_never_reached_decides_nothing() -> None:
    """As where it refills as fast as it is asked."""
    async with serving(**OPEN) as (_, target):
        played = await play_live("limit.burst", target, defences=Defences(burst=10, refill_per_second=1e6))
    assert played.claims["never-more"] == [None]
    assert "never came over the limit" in played.stated


async def test_a_shared_address_proves_only_that_not_too_much_passes() -> None:
    """Others may have used the bucket, so neither a refusal nor a wait that was too short says anything."""
    async with serving(**SETTINGS) as (_, target):
        played = await play_live("limit.burst", target, defences=QUICK, own_addresses=False)
    held = {"never-more": [True], "never-fewer": [None], "options-served": [True]}
    held |= {"retry-after": [True], "retry-served": [None], "refill": [True]}
    assert played.claims == held, played.stated


async def test_every_request_of_these_is_a_row_that_counts() -> None:
    async with serving(**SETTINGS) as (api, target):
        played = await play_live("limit.burst", target, defences=QUICK)
    rows = played.history.rows()
    assert len(rows) == len(api.heard)
    asked = Counter(rows["expected"].tolist())
    assert asked.keys() == {Answer.ACCEPTED, Answer.WITHIN_LIMIT}
    assert asked[Answer.ACCEPTED] == limits.PREFLIGHTS
    assert asked[Answer.WITHIN_LIMIT] > 31
    assert set(rows["got"].tolist()) == {Answer.ACCEPTED, Answer.RATE_LIMITED}


# --- wrong servers


def limited_by(
    key: Callable[[Connection, bytes], str],
    *,
    retry_after: str | None = "1",
    burst: int = 10,
    refill: float = 10.0,
    free: bytes = b"OPTIONS ",
) -> Talk:
    """Make a server whose buckets are found by a key of the test's own. What begins as is `free` takes no token."""
    buckets = TokenBuckets(refill, burst, 10_000)

    async def talk(connection: Connection) -> None:
        while message := await connection.message():
            if message.startswith(free) or buckets.take(key(connection, message), time.monotonic_ns()) == 0:
                await connection.send(connection.handle(message))
                continue
            reported = () if retry_after is None else (f"retry-after: {retry_after}",)
            await connection.send(written(429, b'{"success":false,"error":"rate limit exceeded"}', *reported))

    return talk


def header_of(message: bytes, *names: str) -> str:
    """Return the first of some headers that is there."""
    headers = dict(read_request(message, "").headers)
    return next((headers[name] for name in names if name in headers), "")


def one_for_all(_connection: Connection, _message: bytes) -> str:
    return "all"


async def play_limited(name: str, talk: Talk, defences: Defences = QUICK, **numbers: Any) -> Played:
    """Play an attack against a server with limits of its own."""
    async with wrong_server(talk) as target:
        return await play_live(name, target, defences=defences, numbers=numbers)


@pytest.mark.parametrize("name", ["limit.burst", "limit.spoofed-ip"])
@tried_again_alone
async def test_a_server_without_limits_is_found(name: str) -> None:
    async with serving(**OPEN) as (_, target):
        played = await play_live(name, target, defences=QUICK)
    assert played.broken, played.stated
    assert "allowed" in played.stated


@tried_again_alone
async def test_a_bucket_for_each_connection_is_found() -> None:
    played = await play_limited("limit.burst", limited_by(lambda connection, _: str(connection.number)))
    assert played.broken == {"never-more"}, played.stated


@tried_again_alone
async def test_a_bucket_that_is_too_large_by_two_is_found() -> None:
    played = await play_limited("limit.burst", limited_by(one_for_all, burst=60, refill=0.001))
    assert "never-more" in played.broken, played.stated


@tried_again_alone
async def test_a_bucket_that_is_too_small_is_found() -> None:
    played = await play_limited("limit.burst", limited_by(one_for_all, burst=3))
    assert played.broken == {"never-fewer"}, played.stated


@tried_again_alone
async def test_a_bucket_that_refills_a_little_too_fast_is_found() -> None:
    played = await play_limited("limit.burst", limited_by(one_for_all, refill=11.5))
    assert played.broken == {"refill"}, played.stated


@tried_again_alone
async def test_a_limit_for_what_browsers_ask_first_is_found() -> None:
    played = await play_limited("limit.burst", limited_by(one_for_all, free=b"HEAD "))
    assert played.broken == {"options-served"}, played.stated


@pytest.mark.parametrize("retry_after", [None, "0", "soon", "1.5", "-1"])
@tried_again_alone
async def test_a_refusal_that_does_not_say_how_long_to_wait_is_found(retry_after: str | None) -> None:
    played = await play_limited("limit.burst", limited_by(one_for_all, retry_after=retry_after))
    assert played.broken == {"retry-after"}, played.stated


@tried_again_alone
async def test_a_wait_that_is_told_too_short_is_found() -> None:
    played = await play_limited("limit.burst", limited_by(one_for_all, refill=0.1))
    assert played.broken == {"retry-served"}, played.stated


@pytest.mark.parametrize(
    "header", ["x-forwarded-for", "x-real-ip", "forwarded", "true-client-ip", "cf-connecting-ip", "x-client-ip"]
)
@tried_again_alone
async def test_a_server_that_believes_a_claimed_address_is_found(header: str) -> None:
    def believed(connection: Connection, message: bytes) -> str:
        return header_of(message, header) or connection.client

    played = await play_limited("limit.spoofed-ip", limited_by(believed))
    assert played.broken == {"one-bucket"}, played.stated


async def test_where_a_bucket_gains_more_than_is_asked_for_nothing_is_known_of_claimed_addresses() -> None:
    """As where a busy machine answers so late that one bucket would have let all of them through."""
    gains = Defences(burst=10, refill_per_second=1e6)
    played = await play_limited("limit.spoofed-ip", limited_by(one_for_all), gains)
    assert not played.broken
    assert "too long to tell" in played.stated


@pytest.mark.parametrize("from_first", [False, True], ids=["windows by the clock", "windows from the first request"])
@side_by_side
async def test_a_limiter_that_counts_by_windows_is_found(
    from_first: bool,  # noqa: FBT001 - a parameter
) -> None:
    """As many as a bucket holds in every window: twice as many around the end of one."""
    counts: dict[tuple[str, int], int] = {}
    opened: dict[str, int] = {}

    async def by_windows(connection: Connection) -> None:
        while message := await connection.message():
            client, now = connection.client, SystemClock().now()
            at_ns = now.monotonic_ns - opened.setdefault(client, now.monotonic_ns) if from_first else now.wall_ns
            window = client, at_ns // WINDOW_NS
            counts[window] = counts.get(window, 0) + 1
            allowed = counts[window] <= QUICK.burst
            await connection.send(connection.handle(message) if allowed else written(429, b"{}", "retry-after: 1"))

    played = await play_limited("limit.window-edge", by_windows, HASTY, window_ns=WINDOW_NS)
    assert {"first-request-window" if from_first else "clock-window", "learned-window"} <= played.broken, played.stated


@pytest.mark.parametrize("phase", [0.25, 0.75])
@side_by_side
async def test_a_limiter_by_windows_of_a_phase_and_length_of_its_own_is_found(
    phase: float,
) -> None:
    """Neither a clock nor a first request tells where its windows end, and no guess their length: refusals do.

    At most phases, what passes while an edge is learned is too much already. Where the first request opens a window it
    is not: `windows from the first request` needs the two bursts around a learned edge.
    """
    counts: dict[tuple[str, int], int] = {}
    length_ns = WINDOW_NS + 57_000_000
    start_ns = time.monotonic_ns() - int(phase * length_ns)

    async def by_windows(connection: Connection) -> None:
        while message := await connection.message():
            window = connection.client, (time.monotonic_ns() - start_ns) // length_ns
            counts[window] = counts.get(window, 0) + 1
            allowed = counts[window] <= QUICK.burst
            await connection.send(connection.handle(message) if allowed else written(429, b"{}", "retry-after: 2"))

    played = await play_limited("limit.window-edge", by_windows, HASTY, window_ns=WINDOW_NS)
    assert "learned-window" in played.broken, played.stated


# --- what is worked out


def test_defences_are_the_contracts_unless_settings_say_otherwise() -> None:
    assert defences_of({}) == Defences(20, 5.0, 10.0, 30.0)
    reported = {
        "RATE_LIMIT_BURST": "7",
        "RATE_LIMIT_REFILL_PER_SECOND": "0.5",
        "HTTP_HEADER_TIMEOUT_SECONDS": "1",
        "HTTP_BODY_TIMEOUT_SECONDS": "2.5",
    }
    assert defences_of(reported) == Defences(7, 0.5, 1.0, 2.5)


def test_a_bucket_allows_what_it_holds_and_gains_and_one_more() -> None:
    bucket = Defences(burst=20, refill_per_second=5.0)
    assert [bucket.allows(int(seconds * SECOND_NS)) for seconds in (0, 0.19, 0.2, 2)] == [21, 21, 22, 31]


def test_the_number_of_requests_follows_the_burst_and_is_bounded() -> None:
    assert limits.requests_for(Defences(burst=20)) == 60
    assert limits.requests_for(Defences(burst=limits.REQUESTS_MAX - 1)) == limits.REQUESTS_MAX


# --- transport


async def test_plain_http_that_claims_to_be_https_is_refused_by_a_side_server() -> None:
    """What is done there counts for nothing on the main server: no operation, no machine, no event, no owner."""
    async with serving() as (api, target), serving(require_https=True) as (side_api, side):
        played = await play_live("tls.spoofed-proto", target, sides={"tls.spoofed-proto": side})
        assert not api.heard
        assert {one.status for one in side_api.heard} == {200, 426}
    assert (played.campaign.completed, played.wrong) == (1, 0)
    rows = played.history.rows()
    assert len(rows) == len(side_api.heard)
    assert set(rows["operation"].tolist()) == {Operation.OTHER}
    assert set(rows["machine"].tolist()) == {NO_MACHINE}
    assert not played.history.owners
    assert not played.history.effects


@tried_again_alone
async def test_a_server_that_trusts_any_proxy_is_found() -> None:
    trusting = {"require_https": True, "trust_proxy_headers": True}
    async with serving() as (_, target), serving(**trusting) as (_, side):
        played = await play_live("tls.spoofed-proto", target, sides={"tls.spoofed-proto": side})
    assert played.wrong >= 3


async def test_without_a_side_server_it_is_not_tried_and_says_why() -> None:
    async with serving() as (_, target):
        played = await play_live("tls.spoofed-proto", target)
    assert played.campaign.fired == 0
    assert "REQUIRE_HTTPS=true" in played.campaign.not_tried
