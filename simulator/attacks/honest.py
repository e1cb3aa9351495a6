"""One honest client beside an attack that takes its time: how long it waits says how busy the server is meanwhile."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import TYPE_CHECKING

from reference_server.wire.units import SECOND_NS
from simulator.attacks.script import Wire, granted
from simulator.fleet.requests import http_message

if TYPE_CHECKING:
    from simulator.attacks.script import ScriptContext, WireOutcome

OK = HTTPStatus.OK
BUSY_SECONDS = 1.0
"""A server that makes an honest client wait for longer has much to do, and little CPU maybe: that it is late with
other things by a second or two proves nothing."""
BUSY_IN_ALL_SECONDS = 0.5
"""The same of all its waits together. One with hundreds of connections to close may be late by several times that."""
WATCHING_ASKS = 12
"""So many in all the time in which a server is to do something: it may stand still at any moment of it."""


def honest_client(
    context: ScriptContext, seconds: float, every_seconds: float, patience_seconds: float, client: int = 0
) -> Wire:
    """Make a client that asks for the health page at intervals, for so many seconds, on one connection."""
    asks = max(2, int(seconds / every_seconds))
    health = http_message("GET", "/health", context.host, {})
    last = http_message("GET", "/health", context.host, {"Connection": "close"})
    parts = (*((health, every_seconds) for _ in range(asks - 1)), (last, 0.0))
    patience_seconds += max(seconds, asks * every_seconds)
    return Wire(parts, granted(OK, "it is honest"), patience_seconds=patience_seconds, client=client)


def watching_client(
    context: ScriptContext, seconds: float, patience_seconds: float, client: int = 0, asks: int = WATCHING_ASKS
) -> Wire:
    """Make a client that asks evenly over all of a time, as often as does not come near its address' limit."""
    asks = max(2, min(asks, context.defences.burst // 2))
    return honest_client(context, seconds, seconds / asks, patience_seconds, client)


def waited_seconds(client: Wire, outcome: WireOutcome) -> float:
    """Return for how much of the time an honest client had to wait; endlessly when it did not get all its answers.

    A server that stands still again and again, each time for a moment, is late by all of these together.
    """
    if sum(one.status == OK for one in outcome.answers) < len(client.parts):
        return math.inf
    waited_ns = seen_ns = 0
    for answer, part_ns in zip(outcome.answers, outcome.parts_ns, strict=False):
        waited_ns += max(0, answer.at_ns - max(part_ns, seen_ns))
        seen_ns = max(seen_ns, answer.at_ns)
    return waited_ns / SECOND_NS


def longest_wait_seconds(client: Wire, outcome: WireOutcome) -> float:
    """Return the longest that an honest client waited for an answer; endlessly when it did not get all of them."""
    if sum(one.status == OK for one in outcome.answers) < len(client.parts):
        return math.inf
    waits = (one.at_ns - part_ns for one, part_ns in zip(outcome.answers, outcome.parts_ns, strict=False))
    return max(waits) / SECOND_NS
