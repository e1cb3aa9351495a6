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

from benchmarks.measuring import BenchmarkError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LOOK_SECONDS = 0.25
"""How often whoever waits is called meanwhile: a clock on a screen moves smoothly enough."""


class _Measurement(msgspec.Struct, frozen=True):
    """What a fresh process says: its values, or why it has none."""

    values: tuple[float, ...] = ()
    problem: str = ""


def in_fresh_process(measure: Callable[[], Sequence[float]], meanwhile: Callable[[], object]) -> tuple[float, ...]:
    """Measure in a process forked from this one, which has measured nothing; return the values.

    `meanwhile` is called a few times a second until it is done. Raises BenchmarkError where the measurement did, ended
    otherwise than it should, or said nothing.
    """
    receiving, sending = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os.close(receiving)
        _measure_and_end(measure, sending)
    os.close(sending)
    try:
        written = _read_all(receiving, meanwhile)
    except BaseException:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)  # so that it ends what it has started
        raise
    finally:
        os.close(receiving)
        _, status = os.waitpid(pid, 0)
    if not written:
        raise BenchmarkError(f"a measurement ended with {os.waitstatus_to_exitcode(status)} and said nothing")
    measured = msgspec.json.decode(written, type=_Measurement)
    if measured.problem:
        raise BenchmarkError(measured.problem)
    return measured.values


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


def _measure_and_end(measure: Callable[[], Sequence[float]], sending: int) -> NoReturn:
    """Measure, say what came of it, and end without what a process does at its end: that is the parent's to do."""
    code = 1
    try:
        gc.collect()
        gc.freeze()  # what the parent made is not this measurement's
        try:
            measured = _Measurement(tuple(measure()))
            code = 0
        except BenchmarkError as error:
            measured = _Measurement(problem=str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the other measurements still count
            traceback.print_exc()
            measured = _Measurement(problem=f"{type(error).__name__}: {error}")
        os.write(sending, msgspec.json.encode(measured))
    finally:
        os._exit(code)
