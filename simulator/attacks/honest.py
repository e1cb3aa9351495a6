"""An honest client beside a long attack: its waiting times show how busy the server is."""

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
"""The total wait of an honest client above which the server counts as busy, perhaps for want of CPU. A server that
closes hundreds of connections may then be late by several times that, which proves nothing."""
ROUND_TRIP_MAX_SECONDS = 0.25
"""The part of each answer's time that counts as the round trip, at most."""
WATCHING_ASKS, WATCHING_EVERY_SECONDS = 12, 1.0
"""The least number of requests, and the greatest interval between them, while a server is watched: it may stand still
at any moment, and may close idle connections."""


def honest_client(
    context: ScriptContext, seconds: float, every_seconds: float, patience_seconds: float, client: int = 0
) -> Wire:
    """Return a client that requests `/health` every `every_seconds` for `seconds`, on one connection."""
    asks = max(2, int(seconds / every_seconds))
    return _asking(context, asks, every_seconds, max(seconds, asks * every_seconds) + patience_seconds, client)


def watching_client(
    context: ScriptContext, seconds: float, patience_seconds: float, client: int = 0, asks: int = WATCHING_ASKS
) -> Wire:
    """Return a client that sends evenly spaced requests for `seconds`, far below its address's rate limit."""
    most = context.defences.allows(int(seconds * SECOND_NS)) // 2
    asks = max(2, min(max(asks, math.ceil(seconds / WATCHING_EVERY_SECONDS) + 1), most))
    return _asking(context, asks, seconds / (asks - 1), seconds + patience_seconds, client)


def _asking(context: ScriptContext, asks: int, every_seconds: float, patience_seconds: float, client: int) -> Wire:
    health = http_message("GET", "/health", context.host, {})
    last = http_message("GET", "/health", context.host, {"Connection": "close"})
    parts = (*((health, every_seconds) for _ in range(asks - 1)), (last, 0.0))
    return Wire(parts, granted(OK, "it is honest"), patience_seconds=patience_seconds, client=client)


def waited_seconds(client: Wire, outcome: WireOutcome) -> float:
    """Return the total wait of an honest client in seconds; infinite if it did not get all its answers.

    A server that stands still repeatedly, each time for a moment, is late by the sum of these. The round trip, which is
    part of each wait, is subtracted.
    """
    asked = _answered(client, outcome)
    way_ns = min([int(ROUND_TRIP_MAX_SECONDS * SECOND_NS), *(at_ns - part_ns for at_ns, part_ns in asked)])
    waited_ns = seen_ns = 0
    for at_ns, part_ns in asked:
        waited_ns += max(0, at_ns - max(part_ns + way_ns, seen_ns))
        seen_ns = max(seen_ns, at_ns)
    return waited_ns / SECOND_NS if asked else math.inf


def longest_wait_seconds(client: Wire, outcome: WireOutcome) -> float:
    """Return the longest wait of an honest client in seconds; infinite if it did not get all its answers."""
    return max((at_ns - part_ns for at_ns, part_ns in _answered(client, outcome)), default=math.inf) / SECOND_NS


def _answered(client: Wire, outcome: WireOutcome) -> list[tuple[int, int]]:
    """Return when each request was answered and sent; an empty list if the number of answers differs."""
    asked = len(client.parts)
    if sum(one.status == OK for one in outcome.answers) < asked or len(outcome.parts_ns) < asked:
        return []
    return [(one.at_ns, part_ns) for one, part_ns in zip(outcome.answers, outcome.parts_ns, strict=False)]
