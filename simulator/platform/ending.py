"""The waits at the end of a run, and giving them up. Does not import Trio: Locust's processes use it as well."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    import trio


class Ending:
    """The waits at a run's end: for answers, accounts, audit lists, servers. Giving up skips waits, not later steps."""

    def __init__(self) -> None:
        self._waits: list[trio.CancelScope] = []
        self.given_up = False

    @contextmanager
    def wait(self, scope: trio.CancelScope) -> Iterator[None]:
        """Make `scope` cancellable by `give_up` for the block, which then ends at its next await without error."""
        self._waits.append(scope)
        if self.given_up:
            scope.cancel()
        try:
            with scope:
                yield
        finally:
            self._waits.remove(scope)

    async def wait_for(self, ended: Callable[[], Awaitable[object]], seconds: float, hurried_seconds: float) -> bool:
        """Wait for `ended` up to `seconds`, or `hurried_seconds` after `give_up`; return whether it was in time."""
        import trio  # noqa: PLC0415 - as above

        come = False
        with self.wait(trio.move_on_after(seconds)):
            await ended()
            come = True
        if self.given_up and not come:
            with trio.move_on_after(hurried_seconds):
                await ended()
                come = True
        return come

    def give_up(self) -> None:
        """End every wait at once, including those that begin later."""
        self.given_up = True
        for scope in self._waits:
            scope.cancel()
