"""Whoever measures a server ends it, however that goes; Ctrl-C on their terminal is not the server's."""

from __future__ import annotations

import os
import sys

import psutil
import pytest

from benchmarks.processes import Server, benchmark_server

UNREADABLE = "import signal; print('no list of machines', flush=True); signal.pause()"


def test_an_interrupt_at_the_terminal_is_not_for_a_server_that_is_measured() -> None:
    before = psutil.Process().children()
    with benchmark_server("lane", 1):
        (server,) = (one for one in psutil.Process().children() if one not in before)
        assert os.getsid(server.pid) != os.getsid(0)  # a terminal interrupts a group of its own session


def test_a_server_whose_start_fails_half_way_is_ended() -> None:
    before = psutil.Process().children()
    with pytest.raises(ValueError, match="Expecting value"):
        Server([sys.executable, "-c", UNREADABLE], {}, shows_machines=True)
    assert psutil.Process().children() == before
