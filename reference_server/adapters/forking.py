"""Work in a forked child: it has all memory as it is now, however long it takes, and costs this process nothing."""

from __future__ import annotations

import gc
import os
import select
import signal
from contextlib import suppress
from threading import Lock
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


class Child:
    """A child at work. Call it to wait for its end, in a thread; `end` may be called from any other meanwhile."""

    def __init__(self, number: int, signs: int, stop: int, silence_seconds: float, end_seconds: float) -> None:
        self._number = number
        self._signs = signs
        self._stop = stop
        self._silence_seconds = silence_seconds
        self._end_seconds = end_seconds
        self._lock = Lock()
        self._over = False

    def end(self) -> None:
        """Have it ended now, whatever it has done, and whoever waits for it told so."""
        with self._lock:
            if not self._over:
                os.eventfd_write(self._stop, 1)

    def __call__(self) -> str:
        """Wait for its end, and return what was wrong; nothing when all was done.

        One that does not get on for so long, or is to be ended, is killed, and waited for no longer than that takes.
        """
        try:
            trouble = self._awaited(self._silence_seconds, self._stop)
            if trouble:
                os.kill(self._number, signal.SIGKILL)
                if self._awaited(self._end_seconds):
                    return f"{trouble}, and cannot even be ended"
        finally:
            with self._lock:
                self._over = True
                os.close(self._signs)
                os.close(self._stop)
        _, status = os.waitpid(self._number, 0)
        if trouble:
            return f"{trouble}, and was ended"
        code = os.waitstatus_to_exitcode(status)
        if code == 0:
            return ""
        return os.strerror(code) if 0 < code < _FAULT else f"exit code {code}"

    def _awaited(self, silence_seconds: float, stop: int | None = None) -> str:
        """Wait until it has ended, which closes its end of the pipe. Return why that is given up; nothing else."""
        poll = select.poll()
        for file in {self._signs, self._signs if stop is None else stop}:
            poll.register(file, select.POLLIN)
        while ready := poll.poll(silence_seconds * 1000):
            if any(file == stop for file, _ in ready):
                return "it was not waited for"
            if not os.read(self._signs, _PIPE_BYTES):
                return ""
        return f"it hung for {silence_seconds:g} s"


def fork(
    work: Work,
    inherited: int | None = None,
    silence_seconds: float = CHILD_SILENCE_SECONDS,
    end_seconds: float = CHILD_END_SECONDS,
) -> Child:
    """Have a child do it, which keeps `inherited` of this process's files; by default none. Raises OSError.

    One that does not get on for `silence_seconds` is ended, which may take `end_seconds`.
    """
    parent = os.getpid()
    files = [*os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)]
    try:
        files.append(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
        child = os.fork()
    except OSError:
        for file in files:
            os.close(file)
        raise
    signs, tells, stop = files
    if child == 0:
        _be_child(work, parent, tells, inherited)
    os.close(tells)
    return Child(child, signs, stop, silence_seconds, end_seconds)


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
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has SIGHUP be
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
