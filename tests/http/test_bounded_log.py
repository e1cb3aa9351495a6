"""The log cannot be flooded, and what it says of a client cannot pass for anything else."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_server.adapters.bounded_log import BoundedLog, escaped, install
from reference_server.adapters.memory.clocks import SetClock
from reference_server.limits import LOG_LINE_MAX_CHARACTERS, LOG_LINES_PER_SECOND, LOG_TRACE_MAX_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Iterator


class Logged:
    """A logger of its own, and what it wrote."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.clock = SetClock()
        self.handler = BoundedLog(self.written.append, self.clock)
        self.logger = logging.Logger("logged")  # noqa: LOG001 - known to nobody else
        self.logger.addHandler(self.handler)

    @property
    def lines(self) -> list[str]:
        return "".join(self.written).splitlines()


def test_a_line_says_when_and_how_bad() -> None:
    logged = Logged()
    logged.logger.error("The file %s is gone", "/state")
    logged.logger.info("nothing of interest")
    assert logged.lines == ["2026-09-21 14:13:20 ERROR The file /state is gone"]


def test_one_place_logs_so_often_a_second_and_drowns_no_other() -> None:
    logged = Logged()
    for number in range(1_000):
        logged.logger.warning("provoked %d", number)
    logged.logger.error("what matters")
    assert [line.split(" ", 3)[3] for line in logged.lines] == [
        *(f"provoked {number}" for number in range(LOG_LINES_PER_SECOND)),
        "what matters",
    ]


def test_what_was_left_out_is_counted_and_said() -> None:
    logged = Logged()

    def provoke(times: int) -> None:
        for _ in range(times):
            logged.logger.warning("provoked")

    provoke(LOG_LINES_PER_SECOND + 7)
    logged.clock.advance(1.0)
    provoke(1)
    assert logged.lines[-2:] == [
        "2026-09-21 14:13:21 WARNING 7 more lines like the following or the last were left out",
        "2026-09-21 14:13:21 WARNING provoked",
    ]
    provoke(LOG_LINES_PER_SECOND + 1)
    logged.handler.close()
    assert logged.lines[-1] == "WARNING 2 more lines like the following or the last were left out"


@given(st.text() | st.text(alphabet="\r\n\x00\x1b\x85\u2028\u202e\ud800\x7fa"))
def test_whatever_a_client_says_stays_on_its_line(stated: str) -> None:
    logged = Logged()
    logged.logger.warning("A client said %s", stated)
    (line,) = logged.written
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    line.encode()
    assert escaped(escaped(stated)) == escaped(stated)


def test_a_line_and_a_traceback_have_a_longest_length() -> None:
    logged = Logged()

    def fail(depth: int) -> None:
        if depth:
            fail(depth - 1)
        raise ValueError("x\n" * 100_000 + "the end\x1b")

    try:
        fail(50)
    except ValueError:
        logged.logger.exception("y" * 100_000)
    first, *trace = logged.lines
    assert len(first) < LOG_LINE_MAX_CHARACTERS + 100
    assert first.endswith(f"... ({100_000 - LOG_LINE_MAX_CHARACTERS} characters left out)")
    assert trace[-1] == "  the end\\x1b"
    assert LOG_TRACE_MAX_CHARACTERS <= sum(len(line) + 1 for line in trace) < LOG_TRACE_MAX_CHARACTERS + 100


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root of all loggers, as it was afterwards."""
    logger = logging.getLogger()
    handlers, level = list(logger.handlers), logger.level
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)


def test_every_library_logs_through_it(root: logging.Logger) -> None:
    written: list[str] = []
    install(written.append, SetClock())
    for name in ("hatchfarm", "hypercorn.error", "reference_server.http.quart_app", "asyncio", "h2"):
        logging.getLogger(name).error("of %s", name)
    assert len(written) == 5
    assert len(root.handlers) == 1
