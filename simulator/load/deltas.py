"""What a history has gained since it was last looked at, as bytes; and putting such pieces together again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from simulator.history.packed import plainly
from simulator.history.rows import ROW
from simulator.history.tables import TABLES
from simulator.load.messages import FrameError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulator.history.rows import History

WHOLE = frozenset({"troubles", "campaigns", "deviations", "closes_at_rest"})
"""Tables whose records change after they were made: they are sent whole, each replacing what was known."""

_Delta: Any = msgspec.defstruct(
    "_Delta", [("rows", bytes), *((name, kind | None, None) for name, kind in TABLES.items())]
)
_encode = msgspec.msgpack.Encoder(enc_hook=plainly).encode
_decode = msgspec.msgpack.Decoder(_Delta).decode


class Cursor:
    """Takes from a history what is new in it. Its rows are taken out, its tables stay: their records are numbered."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._taken: dict[str, int] = {}
        self._machines: dict[int, Any] = {}

    def rows(self) -> NDArray[Any]:
        """Take the rows, of dtype `ROW`, since they were last taken."""
        return self._history.drain()

    def delta(self, rows: NDArray[Any]) -> bytes:
        """Write rows, and what the tables have gained since the last call."""
        gained = {}
        for name in TABLES:
            table = getattr(self._history, name)
            if isinstance(table, dict):
                new: Any = {key: one for key, one in table.items() if self._machines.get(key) is not one}
                self._machines.update(new)
            elif name in WHOLE:
                new = table
            else:
                new = table[self._taken.get(name, 0) :]
                self._taken[name] = len(table)
            if new:
                gained[name] = new
        return _encode(_Delta(rows.tobytes(), **gained))


def apply_delta(history: History, data: bytes) -> NDArray[Any]:
    """Add what a delta holds to a history; returns its rows. Raises FrameError when it is none."""
    try:
        delta = _decode(data)
    except (msgspec.DecodeError, ValueError) as error:
        raise FrameError(f"no piece of a history: {error}") from None
    if len(delta.rows) % ROW.itemsize:
        raise FrameError("rows of another version's history")
    rows = np.frombuffer(delta.rows, dtype=ROW)
    if len(rows):
        history.extend(rows)
    for name in TABLES:
        gained, table = getattr(delta, name), getattr(history, name)
        if gained is None:
            continue
        if isinstance(table, dict):
            table.update(gained)
        elif name in WHOLE:
            table[:] = gained
        else:
            table.extend(gained)
    return rows
