"""What a run still waits for at its end, for whoever gives it up."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator


class Ending:
    """The waits of a run's end: for last answers, for accounts and audit lists. What comes after each goes on."""

    def __init__(self) -> None:
        self._waits: list[trio.CancelScope] = []
        self.given_up = False

    @contextmanager
    def wait(self) -> Iterator[None]:
        """Wait within this until it is over, or given up: then it ends at its next await, and no error is raised."""
        with trio.CancelScope() as scope:
            self._waits.append(scope)
            if self.given_up:
                scope.cancel()
            try:
                yield
            finally:
                self._waits.remove(scope)

    def give_up(self) -> None:
        """End each wait at once, also those that begin later."""
        self.given_up = True
        for scope in self._waits:
            scope.cancel()
