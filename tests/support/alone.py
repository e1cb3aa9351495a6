"""Having the machine to oneself among the processes that test side by side, when a run found it too busy to judge.

What else the machine does goes on; where this process may, it goes before that meanwhile.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

_Result = TypeVar("_Result")
INCONCLUSIVE = 3
"""The exit code of a run that came to no verdict."""
AGAIN = 4
"""How often at most a run is made once more, alone, that came to no verdict."""
NICENESS = -10
"""Nine times the share of a CPU of what nobody has made nice."""
_GROUP = Path("/proc/self/autogroup")
"""Where the kernel shares CPUs between sessions first, the niceness of this one's."""


def nice() -> int:
    """Return how nice this thread is, as what it starts will be."""
    return os.getpriority(os.PRIO_PROCESS, 0)


def be_as_nice_as(niceness: int) -> None:
    """Have this thread, and what it starts from now on, be so nice, unless it may not."""
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, niceness)


@contextmanager
def before_others() -> Iterator[None]:
    """Go before what is not of the tests, where that is allowed: for root it mostly is."""
    before = nice()
    _be_as_nice_in_all(NICENESS)
    try:
        yield
    finally:
        _be_as_nice_in_all(before)


def _be_as_nice_in_all(niceness: int) -> None:
    be_as_nice_as(niceness)
    with suppress(OSError):
        _GROUP.write_text(str(niceness), encoding="ascii")


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
            with before_others():
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
        return cls._shared.alone() if cls._shared else before_others()


def until_conclusive(run: Callable[[], _Result], code: Callable[[_Result], int]) -> _Result:
    """Run, and AGAIN times more at most, with the machine to itself, where it was too busy for the harness to judge.

    `code` returns the exit code of what came of a run.
    """
    result = run()
    for _ in range(AGAIN):
        if code(result) == INCONCLUSIVE:
            with ThisMachine.alone():
                result = run()
    return result
