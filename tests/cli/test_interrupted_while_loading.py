"""Ctrl-C before a command has begun its work: one line, and the exit code that shells give it."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from tests.cli.conftest import Hatchfarm

PROGRAM = """
import os, signal, sys
from simulator.__main__ import main

class Interrupter:
    def find_spec(self, name, *_):
        if name == MODULE:
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, {handler})
sys.meta_path.insert(0, Interrupter())
MODULE = sys.argv.pop(1)
main()
"""

DROPPING = """
import signal, weakref
from simulator.commands import cli

def app():
    things = [set()]
    kept = weakref.ref(things[0], lambda _: signal.raise_signal(signal.SIGINT))
    things.clear()  # what such a callback raises is dropped
    signal.pause()

cli.app = app
cli.main()
"""

LOADED_BY_PLAYERS = """
import os, signal
from simulator.__main__ import main

if __name__ == "__main__":
    main()
else:  # a process that plays loads what started it
    os.killpg(0, int(os.environ["NUMBER"]))
"""


def start(hatchfarm: Hatchfarm, handler: str, module: str, *words: str) -> tuple[int, str, str]:
    """Run the command, interrupted where it loads a module; gives its exit code and what it printed."""
    return run(hatchfarm, PROGRAM.format(handler=handler), module, *words)


def run(hatchfarm: Hatchfarm, program: str, *words: str, **environ: str) -> tuple[int, str, str]:
    """Run a program in a process group of its own; gives its exit code and what it printed."""
    path = hatchfarm.folder / "program.py"
    path.write_text(program, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(path), *words],
        cwd=hatchfarm.folder,
        env=hatchfarm.environ() | environ,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
        start_new_session=True,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("module", ["simulator.commands.cli", "simulator.scenario.remarks"])
def test_an_interrupt_while_it_loads_ends_a_command_in_a_line(hatchfarm: Hatchfarm, module: str) -> None:
    """The first is loaded by every command, the other by the one that needs it."""
    path = hatchfarm.write("tiny.toml", duration="1s")
    ended = start(hatchfarm, "signal.default_int_handler", module, "validate", str(path))
    assert ended == (128 + signal.SIGINT, "", "hatchfarm: interrupted\n")


def test_an_interrupt_that_whoever_started_it_had_ignored_stays_ignored(hatchfarm: Hatchfarm) -> None:
    path = hatchfarm.write("tiny.toml", duration="1s")
    ended = start(hatchfarm, "signal.SIG_IGN", "simulator.commands.cli", "validate", str(path))
    assert ended == (0, "tiny.toml: right\n", "")


def test_an_interrupt_that_python_drops_comes_again(hatchfarm: Hatchfarm) -> None:
    assert run(hatchfarm, DROPPING) == (128 + signal.SIGINT, "", "hatchfarm: interrupted\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_while_processes_load_that_play_ends_a_search(hatchfarm: Hatchfarm, number: signal.Signals) -> None:
    """Ctrl-C and a hang-up are for each process of a group: those that play leave it to the one that searches."""
    words = ("fuzz", "--jobs", "2", "--seeds", "1..200")
    code, printed, errors = run(hatchfarm, LOADED_BY_PLAYERS, *words, NUMBER=str(int(number)))
    assert (code, errors) == (3, "")
    assert printed.splitlines()[1].startswith("INTERRUPTED ")
