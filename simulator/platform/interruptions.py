"""Handling of signals that ask a command to stop: its work ends, and its result and exit code are kept."""

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
"""The delay after which a dropped interrupt is repeated, until one is not dropped; too short to be noticed."""


class HeldSignal(msgspec.Struct):
    """The first signal that came while signals were held, or None.

    `acknowledge` is called at once with each signal's name, from the signal handler.
    """

    number: int | None = None
    acknowledge: Callable[[str], None] | None = None

    @property
    def name(self) -> str:
        """The signal's name, like SIGINT, or an empty text."""
        return "" if self.number is None else signal.Signals(self.number).name


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that end a command. SIGHUP is left out if it was ignored at the start, as by nohup."""
    always = (signal.SIGINT, signal.SIGTERM)
    return always if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (*always, signal.SIGHUP)


@contextmanager
def signals_held(around: HeldSignal | None = None) -> Iterator[HeldSignal]:
    """Record the signals that end a command and go on: before its work handles them, and while results are written.

    `around` is the record of an enclosing `signals_held`, if there is one; signals are then recorded in that.
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
    """Repeat an interrupt that Python dropped: exceptions raised during imports or garbage collection may be dropped.

    From then on, SIGALRM, the real-time timer and `sys.unraisablehook` belong to this function.
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
    """Ignore the signals that would change the exit code: the work is done, but ending the process takes a while."""
    for number in stop_signals():
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def stop_signals_blocked() -> Iterator[None]:
    """Block the signals that end a command. A process that is started meanwhile inherits the blocked signals.

    Such a process can load without being ended by them, until it calls `ignore_blocked_signals`.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_blocked_signals() -> None:
    """Ignore the signals that were blocked when this process started, including pending ones."""
    blocked = stop_signals()
    ignore_stop_signals()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
