"""Why a request has no whole answer: the cause that a history's row holds in place of an HTTP status."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.limits import ANSWER_TIMEOUT_SECONDS, NETWORK_LATENCY_MAX_SECONDS

if TYPE_CHECKING:
    from numpy.typing import NDArray

TENTH_NS = 100 * MILLISECOND_NS
_TENTHS = 1000
RESTED_MIN_NS = 500 * MILLISECOND_NS
"""How long a connection must have been idle before its server may rightly close it as the next request leaves: no
server closes a connection sooner without announcing it. Servers' idle timeouts are whole seconds, and start before the
client has the answer from which it measures the idle time."""
CLOSE_LATE_NS = 250 * MILLISECOND_NS
"""How long after its idle timeout a server may close a connection: a busy server's timer is late, and the server's
measure of the idle time starts before the client's and ends after it."""
CROSSINGS_EACH = 4
"""How many requests may cross the close of an idle connection, for each close observed that crossed no request. A
request crosses a close only if it leaves while the close is in flight, so a server that closes idle connections does it
far more often without a crossing; a server that cuts requests off crosses a request each time. A single crossing is
always accepted."""
CROSSING_MAX_NS = SECOND_NS
"""How long after the request left such a close may arrive: the two cross in flight, so it takes at most one way through
the network, and the time that this process may need to notice it."""
CROSSING_SLOWLY_MAX_NS = CROSSING_MAX_NS + int(NETWORK_LATENCY_MAX_SECONDS * SECOND_NS)
"""The same limit for a network that one of the run's own faults slows down; checkers know of the fault."""


class Loss(IntEnum):
    """Why no whole answer came."""

    UNKNOWN = 0
    """The cause was not recorded: a raw connection of an attack, or a history from before causes were kept."""
    ENDED = 1
    """The run itself gave up on the answer: at its end, or when it stopped a machine or disturbed its own server."""
    UNSENT = 2
    """No connection was made, or the request was not written completely, so the server got no whole request."""
    CLOSING = 3
    """An idle connection was closed without a byte as the request left: a server may do so (RFC 9112 §9.6)."""
    TIMED_OUT = 4
    """No answer, or only a part of it, came within the harness's timeout."""
    CUT = 5
    """The connection was closed or reset before the answer was whole."""
    GARBAGE = 6
    """The bytes received are not an HTTP answer, or are more than one."""


def lost_status(loss: Loss, waited_ns: int) -> int:
    """Return the `status` of a lost answer's row: its cause, and the wait in tenths of a second.

    It is negative, unlike any HTTP status: -5012 is a connection cut off after 1.2 s. Waits above 99.9 s count as
    99.9 s. If the run ended after the harness's timeout for the answer had passed, the cause is `TIMED_OUT`.
    """
    if loss is Loss.ENDED and waited_ns >= int(ANSWER_TIMEOUT_SECONDS * 1e9):
        loss = Loss.TIMED_OUT
    return -(loss * _TENTHS + min(max(0, waited_ns // TENTH_NS), _TENTHS - 1))


def losses_of(status: NDArray[np.int16]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the causes of lost answers, and the longest that each wait can have been, in nanoseconds."""
    code = -np.minimum(status.astype(np.int64), 0)
    return code // _TENTHS, (code % _TENTHS + 1) * TENTH_NS


def loss_of_close(rested_ns: int, longest_rest_ns: int, waited_ns: int, *, nothing_came: bool) -> Loss:
    """Return the cause of a lost answer whose connection was closed or reset: `CLOSING` or `CUT`.

    `rested_ns` is how long the connection had been idle when the request left, negative for a new connection.
    `longest_rest_ns` is the longest idle time after which an answer still came on another connection. Servers close
    idle connections by a timeout, so a server that answered after a much longer idle time had no such reason.
    """
    crossed = nothing_came and waited_ns <= CROSSING_SLOWLY_MAX_NS
    return Loss.CLOSING if crossed and rested_ns >= max(RESTED_MIN_NS, longest_rest_ns - CLOSE_LATE_NS) else Loss.CUT


def describe_loss(loss: Loss, waited_ns: int) -> str:
    """Return a phrase for what came in place of an answer."""
    seconds = f"{waited_ns / 1e9:.1f} s"
    return {
        Loss.TIMED_OUT: f"no whole answer within {seconds}",
        Loss.CUT: f"no whole answer: its connection was cut off within {seconds}",
        Loss.GARBAGE: "what is no HTTP answer, or more than one",
    }.get(loss, "no whole answer")
