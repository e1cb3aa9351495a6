"""Work in a forked child: it has all memory as it is now, however long it takes, and costs this process nothing."""

from __future__ import annotations

import gc
import os
import select
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from reference_server.limits import CHILD_END_SECONDS, CHILD_SILENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    Work = Callable[[Callable[[], bool]], bool]
    """Is given what says whether its parent still lives, and calls it as often as it gets on; says whether all was
    done."""

CHILD_NICENESS = 10
_STANDARD_FILES = 3
_FAULT = 255
_PIPE_BYTES = 65_536


def fork(work: Work, inherited: int | None = None, silence_seconds: float = CHILD_SILENCE_SECONDS) -> Callable[[], str]:
    """Let a child do it, which keeps `inherited` of this process's files; by default none. Raises OSError.

    Gives what waits for its end, and says what was wrong; nothing when all was done. A child that does not get on for
    `silence_seconds` is ended.
    """
    parent = os.getpid()
    signs, tells = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        child = os.fork()
    except OSError:
        os.close(signs)
        os.close(tells)
        raise
    if child == 0:
        _be_child(work, parent, tells, inherited)
    os.close(tells)

    def wait() -> str:
        try:
            hung = not _ends(signs, silence_seconds)
            if hung:
                os.kill(child, signal.SIGKILL)
                if not _ends(signs, CHILD_END_SECONDS):
                    return f"it hung for {silence_seconds:g} s, and cannot even be ended"
        finally:
            os.close(signs)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if hung:
            return f"it hung for {silence_seconds:g} s, and was ended"
        if code == 0:
            return ""
        return os.strerror(code) if 0 < code < _FAULT else f"exit code {code}"

    return wait


def _ends(signs: int, silence_seconds: float) -> bool:
    """Wait until a child has ended, which closes its end of the pipe. False once it told nothing for so long."""
    poll = select.poll()
    poll.register(signs, select.POLLIN)
    while poll.poll(silence_seconds * 1000):
        if not os.read(signs, _PIPE_BYTES):
            return True
    return False


def _be_child(work: Work, parent: int, tells: int, inherited: int | None) -> NoReturn:
    """Do the work, and end.

    A child shares its parent's sockets and locks until it closes them, and its memory until either writes to it.
    """
    code = _FAULT

    def parent_lives() -> bool:
        with suppress(BlockingIOError):  # enough was told that nobody has read yet
            os.write(tells, b".")
        return os.getppid() == parent

    try:
        gc.disable()  # a collection would touch, and so copy, all of it
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in range(_STANDARD_FILES):
            os.dup2(nothing, standard)
        after = _STANDARD_FILES
        for kept in sorted({tells, tells if inherited is None else inherited}):
            os.closerange(after, kept)
            after = kept + 1
        os.closerange(after, os.sysconf("SC_OPEN_MAX"))
        os.nice(CHILD_NICENESS)
        if work(parent_lives):
            code = 0
    except OSError as error:
        code = error.errno or _FAULT
    finally:
        os._exit(code)
