"""Why a request has no whole answer: what a history's row says of it where others have a status."""

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
"""How long a connection must have rested before its server may rightly close it as the next request leaves: no server
gives up a connection sooner that it did not say it would close. Such deadlines are whole seconds, and begin before
the answer is here that the rest begins with."""
CLOSE_LATE_NS = 250 * MILLISECOND_NS
"""By how much later than its deadline a server may close what rests: its timer is late where it is busy, and its
measure of a rest begins before the client's and ends after it."""
CROSSINGS_EACH = 4
"""How many requests may cross the close of a resting connection for each close that was seen to cross none. A request
crosses one only where it leaves within the moment that the close is on its way, so a server that closes what rests is
seen at it far more often than it is met; one that cuts requests off is met each time. A single crossing is believed."""
CROSSING_MAX_NS = SECOND_NS
"""By when such a close has come, once the request has left: the two cross on the way, so it takes no longer than one
way, and as long as this process may need to see it."""
CROSSING_SLOWLY_MAX_NS = CROSSING_MAX_NS + int(NETWORK_LATENCY_MAX_SECONDS * SECOND_NS)
"""The same through a network that a fault of the run's own slows down, which checkers know of."""


class Loss(IntEnum):
    """Why no whole answer came."""

    UNKNOWN = 0
    """Nobody noted it, or nobody can: a raw connection of an attack, or a history of before causes were kept."""
    ENDED = 1
    """The run itself gave up on it: at its end, or as it stopped a machine or disturbed its own server."""
    UNSENT = 2
    """No connection could be made, or not all of the request be written to it, so nothing was asked."""
    CLOSING = 3
    """A connection that had rested was closed without a byte as the request left: a server may (RFC 9112 §9.6)."""
    TIMED_OUT = 4
    """Nothing, or not all of it, came within the harness's patience."""
    CUT = 5
    """The connection was closed or reset before the answer was whole."""
    GARBAGE = 6
    """What came is no HTTP answer, or more than one."""


def lost_status(loss: Loss, waited_ns: int) -> int:
    """Return what a lost answer's row has for a status: its cause, and for how many tenths of a second it was waited.

    Negative, so that it is no status of HTTP: -5012 is a connection cut off after 1.2 s. Waits above 99.9 s count as
    that. What the end of a run cut off after all of the harness's patience has timed out like any other.
    """
    if loss is Loss.ENDED and waited_ns >= int(ANSWER_TIMEOUT_SECONDS * 1e9):
        loss = Loss.TIMED_OUT
    return -(loss * _TENTHS + min(max(0, waited_ns // TENTH_NS), _TENTHS - 1))


def losses_of(status: NDArray[np.int16]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the causes of lost answers, and for how many nanoseconds each was waited at most."""
    code = -np.minimum(status.astype(np.int64), 0)
    return code // _TENTHS, (code % _TENTHS + 1) * TENTH_NS


def loss_of_close(rested_ns: int, longest_rest_ns: int, waited_ns: int, *, nothing_came: bool) -> Loss:
    """Return why an answer is missing whose connection was closed or reset.

    `rested_ns` is how long the connection had rested when the request left, negative for a new one, and
    `longest_rest_ns` after how long a rest an answer still came on another. A server that closes what rests does so
    by its length, so one that answered after a much longer rest had no such reason.
    """
    crossed = nothing_came and waited_ns <= CROSSING_SLOWLY_MAX_NS
    return Loss.CLOSING if crossed and rested_ns >= max(RESTED_MIN_NS, longest_rest_ns - CLOSE_LATE_NS) else Loss.CUT


def describe_loss(loss: Loss, waited_ns: int) -> str:
    """Return in words what came in place of an answer."""
    seconds = f"{waited_ns / 1e9:.1f} s"
    return {
        Loss.TIMED_OUT: f"no whole answer within {seconds}",
        Loss.CUT: f"no whole answer: its connection was cut off within {seconds}",
        Loss.GARBAGE: "what is no HTTP answer, or more than one",
    }.get(loss, "no whole answer")
