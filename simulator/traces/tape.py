"""The recorder of a run: every exchange as it was sent and answered, in memory, until the run has ended.

On the hot path it appends one tuple of references to what the run holds anyway. It is bounded in bytes: a full tape
stops for good, so that what it holds has no gaps, and says how many exchanges it left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from simulator.attacks.script import Wire
from simulator.contract.answers import Answer, Operation
from simulator.history.rows import NEVER_NS
from simulator.limits import TAPE_MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

TAKEN_BYTES = 400
"""What an exchange costs besides its request and answer: the tuple, its numbers, and both objects' own heads."""


class Taken(msgspec.Struct, frozen=True):
    """One exchange. Times are nanoseconds from the start of the run; before it they are negative.

    `answered_ns` is `NEVER_NS` and `answer` None when no whole answer came. `source` is the address it came from, empty
    where all share one; `campaign` and `machine` count as the history's do. `wire` says how the request was written
    where that was not all at once on a connection that stays open.
    """

    planned_ns: int
    sent_ns: int
    answered_ns: int
    source: str
    campaign: int
    machine: int
    operation: Operation
    request: bytes
    answer: bytes | None
    expected: Answer
    got: Answer
    wire: Wire | None = None


_Row = tuple[int, int, int, str, int, int, int, bytes, bytes | None, int, int, Wire | None]


class Tape:
    """Takes exchanges while there is room. `left_out` counts those that came when there was none.

    `started_unix_ns` is the wall time from which exchanges count.
    """

    def __init__(self, max_bytes: int = TAPE_MAX_BYTES) -> None:
        self._room_bytes = max_bytes
        self._rows: list[_Row] = []
        self.left_out = 0
        self.started_unix_ns = 0

    def take(  # noqa: PLR0917 - once a request: keywords would cost more than the row
        self,
        planned_ns: int,
        sent_ns: int,
        answered_ns: int,
        source: str | None,
        campaign: int,
        machine: int,
        operation: Operation,
        request: bytes,
        answer: bytes | None,
        expected: Answer,
        got: Answer,
        wire: Wire | None = None,
    ) -> None:
        """Take one exchange, once its outcome is known."""
        self._room_bytes -= len(request) + len(answer or b"") + TAKEN_BYTES
        if self._room_bytes < 0:
            self._room_bytes = -1  # for good: a smaller one that would still fit would hide the gap
            self.left_out += 1
            return
        # Plain numbers: a row that holds an enumeration's member stays with the garbage collector for good.
        self._rows.append(
            (
                planned_ns, sent_ns, answered_ns, source or "", campaign, machine, int(operation), request, answer,
                int(expected), int(got), wire,
            ),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self._rows)

    def start(self, now_ns: int, wall_ns: int) -> None:
        """Count time from here on: `now_ns` is this moment as what was taken so far counts it, `wall_ns` Unix time."""
        self.started_unix_ns = wall_ns
        self._rows = [
            (row[0] - now_ns, row[1] - now_ns, row[2] if row[2] == NEVER_NS else row[2] - now_ns, *row[3:])
            for row in self._rows
        ]

    def exchanges(self) -> Sequence[Taken]:
        """Return what was taken, in the order it was sent."""
        taken = [
            Taken(*row[:6], Operation(row[6]), row[7], row[8], Answer(row[9]), Answer(row[10]), row[11])
            for row in self._rows
        ]
        return sorted(taken, key=lambda one: one.sent_ns)
