"""Work in a forked child: it has all memory as it is now, however long it takes, and costs this process nothing."""

from __future__ import annotations

import gc
import os
import signal
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

    Work = Callable[[Callable[[], bool]], bool]
    """Is given what says whether its parent still lives; says whether all was done."""

CHILD_NICENESS = 10
_STANDARD_FILES = 3
_FAULT = 255


def fork(work: Work, inherited: int = _STANDARD_FILES - 1) -> Callable[[], str]:
    """Let a child do it, which keeps `inherited` of this process's files; by default none. Raises OSError.

    Gives what waits for its end, and says what was wrong; nothing when all was done.
    """
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _be_child(work, parent, inherited)

    def wait() -> str:
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code == 0:
            return ""
        return os.strerror(code) if 0 < code < _FAULT else f"exit code {code}"

    return wait


def _be_child(work: Work, parent: int, inherited: int) -> NoReturn:
    """Do the work, and end.

    A child shares its parent's sockets and locks until it closes them, and its memory until either writes to it.
    """
    code = _FAULT
    try:
        gc.disable()  # a collection would touch, and so copy, all of it
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in range(_STANDARD_FILES):
            os.dup2(nothing, standard)
        os.closerange(_STANDARD_FILES, inherited)
        os.closerange(inherited + 1, os.sysconf("SC_OPEN_MAX"))
        os.nice(CHILD_NICENESS)
        if work(lambda: os.getppid() == parent):
            code = 0
    except OSError as error:
        code = error.errno or _FAULT
    finally:
        os._exit(code)
