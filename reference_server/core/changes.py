"""Changes of a state: each is noted for the journal before it is made, and recovered by the same function.

A change is a function of a state, a moment and plain values, marked `@change`. When it is called, it first notes its
kind, the moment and the values if there is a journal, and then changes the state. A frozen state refuses the note and
stays unchanged. Recovery calls the same function with the noted values, so the two cannot disagree. All other effects
of a change (on an index, or evictions) must follow from its values and the state, and belong into the function.
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
    """Kinds of changes that journals name by number; never renumbered. Later kinds are named by words."""

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
    """Raised when a change is needed while the state is frozen."""


class Changing(Protocol):
    """A state that can be changed. `changes` collects the notes; it is None without a journal."""

    changes: list[tuple[Any, ...]] | None
    frozen: bool


Changed = TypeVar("Changed", bound=Changing)
Values = ParamSpec("Values")
if TYPE_CHECKING:
    ChangeFunction: TypeAlias = Callable[Concatenate[Changed, Instant, Values], None]
_recoveries: dict[int | str, Callable[..., None]] = {}
_fencing: set[int | str] = set()


def note(state: Changing, kind: int | str, at: Instant, *values: Any) -> None:
    """Note a change for the journal, before it is made. Raises Frozen if the state is frozen."""
    if state.frozen or state.changes is None:
        raise Frozen
    state.changes.append((kind, at.wall_ns, *values))


def recovery(kind: int | str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Mark a function that recovers changes of a kind. It is called with the state, the moment and the noted values.

    Only for kinds whose change does not recover itself. Each kind has one function.
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
    """Mark a function as the change of a kind: calling it notes the change, and recovery calls it again.

    Values are positional, of types that MessagePack has. After a `fencing` change, a heartbeat that was verified before
    may have become invalid, so instances that share the state decide it again.
    """

    def mark(function: ChangeFunction[Changed, Values]) -> ChangeFunction[Changed, Values]:
        @wraps(function)
        def noted(state: Changed, at: Instant, /, *values: Values.args, **named: Values.kwargs) -> None:
            if named:
                raise TypeError(f"{kind!r} is given {', '.join(named)} by name, which no journal keeps")
            if state.changes is not None:
                note(state, kind, at, *values)
            function(state, at, *values, **named)  # always empty: the type variable requires them

        recovery(kind)(noted)
        if fencing:
            _fencing.add(kind)
        return noted

    return mark


def is_fencing(noted: Sequence[Any]) -> bool:
    """Return whether a noted change is a fencing one."""
    return noted[0] in _fencing


def recover_change(state: Changing, now: Instant, noted: Sequence[Any]) -> None:
    """Make a journal's change again: its kind, its wall time (Unix ns), and its values.

    Raises KeyError for a kind that this version does not have.
    """
    kind, wall_ns, *values = noted
    _recoveries[kind](state, moment_then(now, wall_ns), *values)


def encode_changes(changes: list[tuple[Any, ...]]) -> bytes:
    """Encode changes that were made together as one group of a journal."""
    return msgspec.msgpack.encode(changes)


def moment_then(now: Instant, wall_ns: int) -> Instant:
    """Return a past wall time as an instant of this process's monotonic clock, at most `now` if it was set back."""
    return Instant(wall_ns, now.monotonic_ns - max(0, now.wall_ns - wall_ns))
