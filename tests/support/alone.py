"""Having the machine to oneself among the processes that test side by side, when a run found it too busy to judge."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, ClassVar, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

_Result = TypeVar("_Result")
INCONCLUSIVE = 3
"""The exit code of a run that came to no verdict."""


class SharedMachine:
    """One process's part in a machine that it shares with those that have the same folder.

    Each holds a lock together with the others while it tests. Whoever wants the machine alone waits until the others'
    tests of now are over, and no other one begins meanwhile. The locks end with the process, and no child has them.
    """

    def __init__(self, folder: Path) -> None:
        self._queue = os.open(folder / "queue.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._machine = os.open(folder / "machine.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Test beside others."""
        self._join()
        try:
            yield
        finally:
            fcntl.lockf(self._machine, fcntl.LOCK_UN)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Test while nobody else does, within `together`."""
        fcntl.lockf(self._machine, fcntl.LOCK_UN)  # two who want to be alone would wait for each other
        fcntl.lockf(self._queue, fcntl.LOCK_EX)
        fcntl.lockf(self._machine, fcntl.LOCK_EX)
        fcntl.lockf(self._queue, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.lockf(self._machine, fcntl.LOCK_UN)
            self._join()

    def _join(self) -> None:
        fcntl.lockf(self._queue, fcntl.LOCK_EX)
        fcntl.lockf(self._machine, fcntl.LOCK_SH)
        fcntl.lockf(self._queue, fcntl.LOCK_UN)


class ThisMachine:
    """The machine as the tests of this process have it, which share it where they have been told to."""

    _shared: ClassVar[SharedMachine | None] = None

    @classmethod
    def share(cls, folder: Path) -> None:
        """Share it with all that name the same folder."""
        cls._shared = SharedMachine(folder)

    @classmethod
    def together(cls) -> AbstractContextManager[None]:
        """Test beside others."""
        return cls._shared.together() if cls._shared else nullcontext()

    @classmethod
    def alone(cls) -> AbstractContextManager[None]:
        """Test while nobody else does."""
        return cls._shared.alone() if cls._shared else nullcontext()


def until_conclusive(run: Callable[[], _Result], code: Callable[[_Result], int]) -> _Result:
    """Run, and twice more at most, with the machine to itself, where it was too busy for the harness to judge.

    `code` returns the exit code of what came of a run.
    """
    result = run()
    for _ in range(2):
        if code(result) == INCONCLUSIVE:
            with ThisMachine.alone():
                result = run()
    return result
