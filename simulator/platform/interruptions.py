"""Signals that ask a command to stop: they end its work, and cost neither its result nor its exit code."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable  # noqa: TC003 - a Struct resolves its annotations
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

AGAIN_SECONDS = 0.01
"""After how long a dropped interrupt is repeated, and again if that is dropped as well. Nobody notices so little."""


class HeldSignal(msgspec.Struct):
    """The first signal that came while nothing else took it; None when none did.

    `acknowledge` is called with the name of each, at once, wherever the program stands.
    """

    number: int | None = None
    acknowledge: Callable[[str], None] | None = None

    @property
    def name(self) -> str:
        """Name it, like SIGINT; nothing when none came."""
        return "" if self.number is None else signal.Signals(self.number).name


def stop_signals() -> tuple[signal.Signals, ...]:
    """Name the signals that end a command. A hang-up that whoever started it had ignored (nohup) stays ignored."""
    always = (signal.SIGINT, signal.SIGTERM)
    return always if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (*always, signal.SIGHUP)


@contextmanager
def signals_held(around: HeldSignal | None = None) -> Iterator[HeldSignal]:
    """Note the signals that end a command, and go on: before its work takes them, and while results are written.

    `around` is what somebody who holds them for longer knows already; it is what is noted in, then.
    """
    held = HeldSignal() if around is None else around
    acknowledge = held.acknowledge

    def note(number: int, _: object) -> None:
        held.number = held.number or number
        if held.acknowledge is not None:
            held.acknowledge(signal.Signals(number).name)

    before = {number: signal.signal(number, note) for number in stop_signals()}
    try:
        yield held
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        held.acknowledge = acknowledge


def repeat_dropped_interrupts() -> None:
    """Have an interrupt come again that Python drops: what is raised while it imports or collects garbage may be.

    SIGALRM, the timer of real time and the hook for what is dropped are this process's own from then on.
    """
    before = sys.unraisablehook

    def again(dropped: sys.UnraisableHookArgs) -> None:
        if isinstance(dropped.exc_value, KeyboardInterrupt):
            # Raised here, it would be dropped as well.
            signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
        else:
            before(dropped)

    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    sys.unraisablehook = again


def ignore_stop_signals() -> None:
    """Ignore the signals that would change the exit code: everything is done, and a process takes a while to end."""
    for number in stop_signals():
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def stop_signals_blocked() -> Iterator[None]:
    """Have the signals that end a command wait: a process that is started meanwhile begins with them blocked.

    It loads without being ended by them, until it calls `ignore_blocked_signals`.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_blocked_signals() -> None:
    """Ignore the signals that were blocked when this process began, also those that came since."""
    blocked = stop_signals()
    ignore_stop_signals()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
