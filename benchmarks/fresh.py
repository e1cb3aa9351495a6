"""Measuring in a fresh process: what one measurement leaves behind in memory, no other finds there."""

from __future__ import annotations

import gc
import os
import select
import signal
import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

import msgspec

from benchmarks.measuring import BenchmarkError, Measurement, Subject, as_measurement
from benchmarks.processes import STOP_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

LOOK_SECONDS = 0.25
"""How often whoever waits is called meanwhile: a clock on a screen moves smoothly enough."""
AGAIN_SECONDS = 2 * STOP_SECONDS
"""What an interrupted measurement may take to end its servers, before it is interrupted again, which leaves them."""


def in_fresh_process(subject: Subject, meanwhile: Callable[[], object]) -> Measurement:
    """Measure a subject in a process forked from this one, which has measured nothing.

    `meanwhile` is called a few times a second until it is done. What it raised, that it ended otherwise than it should,
    or could not be started, is the measurement's problem.
    """
    receiving, sending = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    # What Python does right after a fork loses an interrupt: none comes before there is somebody whom it ends.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        try:
            pid = os.fork()
        except OSError as error:
            os.close(receiving)
            os.close(sending)
            return Measurement(problem=f"no process can be started ({error.strerror})")
        if pid == 0:
            os.close(receiving)
            _measure_and_end(subject, sending, mask)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    os.close(sending)
    try:
        written = _read_all(receiving, meanwhile)
    except BaseException:
        _interrupt(pid)
        raise
    finally:
        os.close(receiving)
        _, status = os.waitpid(pid, 0)
    if not written:
        return Measurement(problem=f"a measurement ended with {os.waitstatus_to_exitcode(status)} and said nothing")
    return msgspec.json.decode(written, type=Measurement)


def _interrupt(pid: int) -> None:
    """Have a child end what it has started, and itself. What collects garbage drops what is raised: hence again."""
    os.kill(pid, signal.SIGINT)  # it is there, or nobody has asked yet how it ended
    try:
        ended = os.pidfd_open(pid)
    except OSError:
        return  # it cannot be waited for and told again: it is waited for
    try:
        with suppress(ProcessLookupError):
            while not select.select([ended], [], [], AGAIN_SECONDS)[0]:
                os.kill(pid, signal.SIGINT)
    finally:
        os.close(ended)


def _read_all(receiving: int, meanwhile: Callable[[], object]) -> bytes:
    written = b""
    while True:
        ready, _, _ = select.select([receiving], [], [], LOOK_SECONDS)
        if ready:
            data = os.read(receiving, 65_536)
            if not data:
                return written
            written += data
        meanwhile()


def _measure_and_end(subject: Subject, sending: int, mask: set[signal.Signals | int]) -> NoReturn:
    """Measure, say what came of it, and end without what a process does at its end: that is the parent's to do.

    Signals are blocked until here, and `mask` is what is to be blocked from here on.
    """
    code = 1
    try:
        gc.collect()
        gc.freeze()  # what the parent made is not this measurement's
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        try:
            measured = as_measurement(subject.measure())
            code = 0
        except BenchmarkError as error:
            measured = Measurement(problem=str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the other measurements still count
            traceback.print_exc()
            measured = Measurement(problem=f"{type(error).__name__}: {error}")
        os.write(sending, msgspec.json.encode(measured))
    finally:
        os._exit(code)
