"""How a change is marked: it is noted before it is made, and made again after a restart by what made it."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.wire.values import Instant


class Changing(Protocol):
    """What can be changed. `changes` is None where no journal wants to know of it."""

    changes: list[tuple[Any, ...]] | None


Changed = TypeVar("Changed", bound=Changing)
Values = ParamSpec("Values")
CHANGES: dict[str, Callable[..., None]] = {}
"""What each kind of change is made again by, called with what was changed, the moment, and the values noted."""


def change(
    kind: str,
) -> Callable[
    [Callable[Concatenate[Changed, Instant, Values], None]], Callable[Concatenate[Changed, Instant, Values], None]
]:
    """Mark a function as the change of a kind. Its values are what a journal can keep, given by position."""

    def mark(
        function: Callable[Concatenate[Changed, Instant, Values], None],
    ) -> Callable[Concatenate[Changed, Instant, Values], None]:
        @wraps(function)
        def noted(changed: Changed, at: Instant, /, *values: Values.args, **named: Values.kwargs) -> None:
            if changed.changes is not None:
                changed.changes.append((kind, at.wall_ns, *values))
            function(changed, at, *values, **named)

        CHANGES[kind] = noted
        return noted

    return mark
