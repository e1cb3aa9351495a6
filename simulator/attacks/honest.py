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


def longest_wait_seconds(client: Wire, outcome: WireOutcome) -> float:
    """Return the longest that an honest client waited for an answer; endlessly when it did not get all of them."""
    if sum(one.status == OK for one in outcome.answers) < len(client.parts):
        return math.inf
    waits = (one.at_ns - part_ns for one, part_ns in zip(outcome.answers, outcome.parts_ns, strict=False))
    return max(waits) / SECOND_NS
