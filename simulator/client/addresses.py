"""What a target's server can tell addresses by: one's token bucket is used up, and another one looks.

A server behind a published container port or a proxy sees all machines of a run at one address. Requests for the health
page are harmless, take a token each (contract §6), and are few.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec
import trio

from reference_server.wire.units import SECOND_NS
from simulator.attacks.defences import defences_of
from simulator.client.connection import ControlConnection, LostError
from simulator.limits import ADDRESS_PROBE_BURST_MAX, ADDRESS_PROBE_MAX_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from simulator.client.target import Target

OK, TOO_MANY = HTTPStatus.OK, HTTPStatus.TOO_MANY_REQUESTS
LOOKS = 8
"""Requests of the second address: more than a bucket refills meanwhile."""
TIMES_OVER, SPARE = 2, 20
"""How many bursts, and requests beyond, the first address uses at most: a bucket refills while it is used up."""
NOT_KNOWN = "whether the target tells the machines' addresses apart is not known"
SAY_ADDRESSES = "--shared-address or --own-addresses says it"
RATE_TOLERANCE = 1.05
"""By how much faster a bucket may refill than it is said to: clocks differ, and tokens are rounded."""


class Probe(msgspec.Struct, frozen=True):
    """One request for the health page: its status, and when it was sent and answered."""

    status: int
    sent_ns: int
    answered_ns: int


class Finding(msgspec.Struct, frozen=True):
    """What was found out: whether addresses are told apart, None where that is not known, and why it is not."""

    apart: bool | None
    why: str = ""


def compare_addresses(first: Sequence[Probe], second: Sequence[Probe], refill_per_second: float) -> Finding:
    """Return what two addresses got from a server, the first until it was refused, and then the second.

    Those of one bucket have no more tokens than it gained since it was empty; those of two have all of the second's.
    """
    refused = next((one for one in first if one.status == TOO_MANY), None)
    if refused is None:
        return Finding(None, f"{len(first)} requests in a row from one address were not too many")
    if not second or any(one.status not in {OK, TOO_MANY} for one in (*first, *second)):
        return Finding(None, "its health page was not answered as it must be")
    seconds = (second[-1].answered_ns - refused.sent_ns) / SECOND_NS
    gained = 1 + math.floor(refill_per_second * seconds * RATE_TOLERANCE)
    served = sum(one.status == OK for one in second)
    if served > gained:
        return Finding(apart=True)
    if served < len(second):
        return Finding(apart=False)
    return Finding(None, f"it answers too slowly to tell a bucket of its own from one that gained {gained} tokens")


async def find_out(target: Target, burst: int, refill_per_second: float, now: Callable[[], int]) -> Finding:
    """Return whether a target tells apart the loopback addresses of a run, as far as a few requests show it.

    `now` gives nanoseconds, which also choose addresses that no run before has used.
    """
    if burst > ADDRESS_PROBE_BURST_MAX:
        return Finding(None, f"a burst of {burst:,} requests is more than is used up to see it")
    number = now() // 1000 % (1 << 15)
    sources = [f"127.7.{128 * half + (number >> 8)}.{number & 255}" for half in (0, 1)]
    first: list[Probe] = []
    second: list[Probe] = []
    with trio.move_on_after(ADDRESS_PROBE_MAX_SECONDS), suppress(LostError):
        async with ControlConnection(target, sources[0]) as one, ControlConnection(target, sources[1]) as other:
            await other.connect()
            while len(first) < TIMES_OVER * burst + SPARE and (not first or first[-1].status != TOO_MANY):
                first.append(await _ask(one, now))
            served = sum(probe.status == OK for probe in first)
            # A bucket of its own has as many tokens for the second address as the first one's had, surely.
            second = [await _ask(other, now) for _ in range(min(LOOKS, served))]
    return compare_addresses(first, second, refill_per_second)


async def _ask(connection: ControlConnection, now: Callable[[], int]) -> Probe:
    sent_ns = now()
    answer = await connection.request("GET", "/health", {}, rooted=True)
    return Probe(answer.status, sent_ns, now())


async def with_known_addresses(target: Target, stated: str, settings: Mapping[str, str]) -> tuple[Target, str]:
    """Return a target with what is known of how it tells addresses apart, and a warning where it shows too little.

    `stated` is what its user says of them, `settings` are the server's, as far as they are known. What a proxy far away
    makes of this machine's one address nothing shows. Where all share a bucket it is left to fill up again, for at
    most as long as looking takes.
    """
    if stated:
        return target, ""
    if not target.own_addresses:
        return msgspec.structs.replace(target, addresses_known=False), ""
    limits = defences_of(settings)
    found = await find_out(target, limits.burst, limits.refill_per_second, time.monotonic_ns)
    if found.apart:
        return target, ""
    if found.apart is None:
        return msgspec.structs.replace(target, addresses_known=False), f"{NOT_KNOWN} ({found.why}): {SAY_ADDRESSES}"
    await trio.sleep(min(ADDRESS_PROBE_MAX_SECONDS, limits.burst / limits.refill_per_second))
    return msgspec.structs.replace(target, own_addresses=False), ""
