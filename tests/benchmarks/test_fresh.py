"""Each measurement has a process of its own, and whatever becomes of that is said."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from benchmarks.fresh import in_fresh_process
from benchmarks.measuring import BenchmarkError

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def test_what_a_measurement_leaves_behind_no_other_finds() -> None:
    left: list[int] = []

    def measure() -> tuple[float, float]:
        left.append(1)
        return float(len(left)), float(os.getpid())

    first, second = (in_fresh_process(measure, lambda: None) for _ in range(2))
    assert (first[0], second[0], left) == (1, 1, [])
    assert len({first[1], second[1], os.getpid()}) == 3


def fails() -> Sequence[float]:
    """Raise what a measurement raises."""
    raise BenchmarkError("the server stopped answering")


def crashes() -> Sequence[float]:
    """Raise what it should not."""
    raise LookupError("x")


def dies() -> Sequence[float]:
    """End as a process that was killed for its memory."""
    os._exit(9)


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (fails, "^the server stopped answering$"),
        (crashes, "^LookupError: x$"),
        (dies, "^a measurement ended with 9 and said nothing$"),
    ],
)
def test_a_measurement_without_values_says_why(
    measure: object, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BenchmarkError, match=message):
        in_fresh_process(measure, lambda: None)  # type: ignore[arg-type]
    capfd.readouterr()


def test_whoever_stops_waiting_ends_the_measurement() -> None:
    receiving, sending = os.pipe()

    def waits() -> Sequence[float]:
        os.close(receiving)
        while True:
            os.write(sending, b"x")  # until the pipe is full, or nobody reads it

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        in_fresh_process(waits, stop)
    os.close(sending)
    assert os.read(receiving, 1 << 20).strip(b"x") == b""
    os.close(receiving)
