"""What an attack knows of the server's clock: how far it may be off the harness's own, by what the server shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from simulator.attacks.acting import OK, require
from simulator.attacks.script import PrerequisiteError, Send, granted
from simulator.contract.answers import Operation
from simulator.fleet.clocks import clock_bounds
from simulator.fleet.requests import http_message

if TYPE_CHECKING:
    from simulator.attacks.script import Outcome, Script, ScriptContext

WINDOW_NS = 90_000_000_000
"""How far a heartbeat's timestamp may be off (contract §4, check 5)."""


class ServerClock(msgspec.Struct, frozen=True):
    """What the server's clock showed is the harness's wall clock plus something from `low_ns` to `high_ns`.

    `epoch_ns` is the Unix time of the run's start on the harness's clock.
    """

    epoch_ns: int
    low_ns: int
    high_ns: int

    def inside(self, stamp_ns: int, outcome: Outcome) -> bool:
        """Return whether a heartbeat stamped so was inside the window, whenever the server judged it."""
        return stamp_ns - self._earliest_ns(outcome) <= WINDOW_NS and self._latest_ns(outcome) - stamp_ns <= WINDOW_NS

    def outside(self, stamp_ns: int, outcome: Outcome) -> bool:
        """Return whether it was outside, whenever the server judged it."""
        return stamp_ns - self._latest_ns(outcome) > WINDOW_NS or self._earliest_ns(outcome) - stamp_ns > WINDOW_NS

    def _earliest_ns(self, outcome: Outcome) -> int:
        return self.epoch_ns + outcome.sent_ns + self.low_ns

    def _latest_ns(self, outcome: Outcome) -> int:
        return self.epoch_ns + outcome.answered_ns + self.high_ns


def read_server_clock(context: ScriptContext, *, client: int = 0) -> Script[ServerClock]:
    """Read the server's clock once, from its health page (contract §3). Raises PrerequisiteError."""
    epoch_ns = context.wall() - context.now()
    request = http_message("GET", "/health", context.host, {})
    outcome = yield from require(Send(request, granted(OK), Operation.OTHER, client=client), "read the server's clock")
    try:
        text = str(msgspec.json.decode(outcome.body)["timestamp"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PrerequisiteError(f"read the server's clock: a health page without {error}") from None
    bounds = clock_bounds(text, epoch_ns + outcome.sent_ns, epoch_ns + outcome.answered_ns)
    if bounds is None:
        raise PrerequisiteError(f"read the server's clock: {text!r} is no timestamp")
    return ServerClock(epoch_ns, bounds.low_ns, bounds.high_ns)
