"""How a state is changed: each change is noted for the journal before it is made, and is recovered by what made it.

A change is a function of a state, a moment and plain values, marked `@change`: called, it first notes its kind, the
moment and the values where a journal wants them, and only then changes anything. A state that is frozen refuses the
note, and stays as it is. Recovery calls the same function with what was noted, so the two cannot disagree. Whatever
else a change causes (an index, something evicted) follows from its values and the state, and happens in it.
"""

from __future__ import annotations

from enum import IntEnum
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeAlias, TypeVar

import msgspec

from reference_server.wire.values import Instant

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Kind(IntEnum):
    """The kinds of changes that journals name by numbers: never renumbered. Later kinds are named by words."""

    MACHINE = 0
    CERTIFICATE = 1
    POLICY = 2
    ACTIVATION = 3
    CONSENT = 4
    REVOCATION = 5
    HEARTBEAT = 6
    EVENT = 7
    FAILURE = 8
    LAG = 9


class Frozen(Exception):  # noqa: N818 - what a decision meets, not a fault of its own
    """Nothing may be changed now."""


class Changing(Protocol):
    """What can be changed. `changes` is None where no journal wants to know of it."""

    changes: list[tuple[Any, ...]] | None
    frozen: bool


Changed = TypeVar("Changed", bound=Changing)
Values = ParamSpec("Values")
if TYPE_CHECKING:
    ChangeFunction: TypeAlias = Callable[Concatenate[Changed, Instant, Values], None]
_recoveries: dict[int | str, Callable[..., None]] = {}
_fencing: set[int | str] = set()


def note(state: Changing, kind: int | str, at: Instant, *values: Any) -> None:
    """Note a change for the journal, before it is made. Raises Frozen where none may be."""
    if state.frozen or state.changes is None:
        raise Frozen
    state.changes.append((kind, at.wall_ns, *values))


def recovery(kind: int | str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Recover changes of a kind by this function, called with the state, the moment and the values noted.

    Only where the change is not recovered by itself. A kind is given away once.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        if kind in _recoveries:
            raise ValueError(f"{kind!r} names two kinds of changes")
        _recoveries[kind] = function
        return function

    return register


def change(
    kind: int | str, *, fencing: bool = False
) -> Callable[[ChangeFunction[Changed, Values]], ChangeFunction[Changed, Values]]:
    """Mark a function as the change of a kind: it is noted when it is called, and recovered by being called again.

    The values are what a journal can keep (MessagePack), given by position. After a `fencing` change a heartbeat that
    was right before may not be accepted any more, so instances that share the state decide it anew.
    """

    def mark(function: ChangeFunction[Changed, Values]) -> ChangeFunction[Changed, Values]:
        @wraps(function)
        def noted(state: Changed, at: Instant, /, *values: Values.args, **named: Values.kwargs) -> None:
            if named:
                raise TypeError(f"{kind!r} is given {', '.join(named)} by name, which no journal keeps")
            if state.changes is not None:
                note(state, kind, at, *values)
            function(state, at, *values, **named)  # none, but the types ask for them

        recovery(kind)(noted)
        if fencing:
            _fencing.add(kind)
        return noted

    return mark


def is_fencing(noted: Sequence[Any]) -> bool:
    """Return whether a noted change needs a fencing token."""
    return noted[0] in _fencing


def recover_change(state: Changing, now: Instant, noted: Sequence[Any]) -> None:
    """Make a change again as a journal kept it: a kind, when it was by the wall clock (Unix ns), and the values.

    Raises KeyError for a kind that is none of this version's.
    """
    kind, wall_ns, *values = noted
    _recoveries[kind](state, moment_then(now, wall_ns), *values)


def encode_changes(changes: list[tuple[Any, ...]]) -> bytes:
    """Write what was changed together as one group for a journal."""
    return msgspec.msgpack.encode(changes)


def moment_then(now: Instant, wall_ns: int) -> Instant:
    """Return where on today's monotonic clock a wall time was; not past now, if the wall clock was set back since."""
    return Instant(wall_ns, now.monotonic_ns - max(0, now.wall_ns - wall_ns))
