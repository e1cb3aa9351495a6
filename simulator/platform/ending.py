"""What a run still waits for at its end, for whoever gives it up. It loads no Trio: processes of Locust count, too."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    import trio


class Ending:
    """The waits of a run's end: for last answers, accounts, lists, its servers. What comes after each goes on."""

    def __init__(self) -> None:
        self._waits: list[trio.CancelScope] = []
        self.given_up = False

    @contextmanager
    def wait(self, scope: trio.CancelScope) -> Iterator[None]:
        """Wait within this scope until it is over, or given up: then it ends at its next await, without an error."""
        self._waits.append(scope)
        if self.given_up:
            scope.cancel()
        try:
            with scope:
                yield
        finally:
            self._waits.remove(scope)

    async def wait_for(self, ended: Callable[[], Awaitable[object]], seconds: float, hurried_seconds: float) -> bool:
        """Wait for something so long, or so much less once it is given up. Return whether it has come."""
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
        """End each wait at once, also those that begin later."""
        self.given_up = True
        for scope in self._waits:
            scope.cancel()
