"""Whoever measures a server ends it, however that goes; Ctrl-C on their terminal is not the server's."""

from __future__ import annotations

import sys

import psutil
import pytest

from benchmarks.processes import Server

INTERRUPTED = """
import os, signal
os.kill(os.getpid(), signal.SIGINT)
print("Listening on http://127.0.0.1:1", flush=True)
signal.pause()
"""
UNREADABLE = "import signal; print('no list of machines', flush=True); signal.pause()"


def test_an_interrupt_does_not_end_a_server_that_is_measured() -> None:
    with Server([sys.executable, "-c", INTERRUPTED], {}, shows_machines=False) as server:
        assert server.url == "http://127.0.0.1:1"


def test_a_server_whose_start_fails_half_way_is_ended() -> None:
    before = psutil.Process().children()
    with pytest.raises(ValueError, match="Expecting value"):
        Server([sys.executable, "-c", UNREADABLE], {}, shows_machines=True)
    assert psutil.Process().children() == before
