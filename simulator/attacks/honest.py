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
BUSY_IN_ALL_SECONDS = 0.5
"""A server that makes an honest client wait for longer in all has much to do, and little CPU maybe. With hundreds of
connections to close it may be late by several times that, which proves nothing."""
ROUND_TRIP_MAX_SECONDS = 0.25
"""What each answer takes is the way to the server and back, up to this."""
WATCHING_ASKS, WATCHING_EVERY_SECONDS = 12, 1.0
"""So many at least in all the time in which a server is to do something, and not further apart: it may stand still at
any moment of it, and close what rests for long."""


def honest_client(
    context: ScriptContext, seconds: float, every_seconds: float, patience_seconds: float, client: int = 0
) -> Wire:
    """Make a client that asks for the health page at intervals, for so many seconds, on one connection."""
    asks = max(2, int(seconds / every_seconds))
    return _asking(context, asks, every_seconds, max(seconds, asks * every_seconds) + patience_seconds, client)


def watching_client(
    context: ScriptContext, seconds: float, patience_seconds: float, client: int = 0, asks: int = WATCHING_ASKS
) -> Wire:
    """Make a client that asks evenly from the beginning of a time to its end, far from its address' limit."""
    most = context.defences.allows(int(seconds * SECOND_NS)) // 2
    asks = max(2, min(max(asks, math.ceil(seconds / WATCHING_EVERY_SECONDS) + 1), most))
    return _asking(context, asks, seconds / (asks - 1), seconds + patience_seconds, client)


def _asking(context: ScriptContext, asks: int, every_seconds: float, patience_seconds: float, client: int) -> Wire:
    health = http_message("GET", "/health", context.host, {})
    last = http_message("GET", "/health", context.host, {"Connection": "close"})
    parts = (*((health, every_seconds) for _ in range(asks - 1)), (last, 0.0))
    return Wire(parts, granted(OK, "it is honest"), patience_seconds=patience_seconds, client=client)


def waited_seconds(client: Wire, outcome: WireOutcome) -> float:
    """Return for how much of the time an honest client had to wait; endlessly when it did not get all its answers.

    A server that stands still again and again, each time for a moment, is late by all of these together. The way to
    it, which is in all of them, is left out.
    """
    asked = _answered(client, outcome)
    way_ns = min([int(ROUND_TRIP_MAX_SECONDS * SECOND_NS), *(at_ns - part_ns for at_ns, part_ns in asked)])
    waited_ns = seen_ns = 0
    for at_ns, part_ns in asked:
        waited_ns += max(0, at_ns - max(part_ns + way_ns, seen_ns))
        seen_ns = max(seen_ns, at_ns)
    return waited_ns / SECOND_NS if asked else math.inf


def longest_wait_seconds(client: Wire, outcome: WireOutcome) -> float:
    """Return the longest that an honest client waited for an answer; endlessly when it did not get all of them."""
    return max((at_ns - part_ns for at_ns, part_ns in _answered(client, outcome)), default=math.inf) / SECOND_NS


def _answered(client: Wire, outcome: WireOutcome) -> list[tuple[int, int]]:
    """Return when each request was answered and sent; nothing where not all were, as some answer unasked."""
    asked = len(client.parts)
    if sum(one.status == OK for one in outcome.answers) < asked or len(outcome.parts_ns) < asked:
        return []
    return [(one.at_ns, part_ns) for one, part_ns in zip(outcome.answers, outcome.parts_ns, strict=False)]
