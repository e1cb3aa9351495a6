"""Whatever becomes of what is printed: the verdict is in its file, and in the exit code."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from simulator.capacity.driver import Finder
from simulator.capacity.result import SearchRequest, conclude
from simulator.capacity.search import Bounds, Search
from simulator.platform.interruptions import signals_held, stop_signals
from simulator.platform.standard_streams import SteadyStream
from tests.cli.conftest import TIMEOUT_SECONDS
from tests.support.served import COMMAND

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.conftest import Hatchfarm

FAILS = '"requests.total" = ["count>1000000"]'
FAILED = 1


@contextmanager
def printing_to(kind: str) -> Iterator[dict[str, Any]]:
    """Return what standard output and error are to be, as `subprocess` takes it."""
    if kind == "a pipe that nobody reads any more":
        reading, writing = os.pipe()
        os.close(reading)
    else:
        writing = os.open("/dev/full" if kind == "a full disk" else os.devnull, os.O_WRONLY)
    try:
        yield {"stdout": writing, "stderr": writing}
    finally:
        os.close(writing)


def close_standard_streams() -> None:
    for descriptor in range(3):
        os.close(descriptor)


@pytest.mark.parametrize(
    "kind", ["a pipe that nobody reads any more", "a full disk", "nothing at all", "an encoding without the characters"]
)
def test_a_run_keeps_its_verdict_and_exit_code_wherever_it_prints_to(hatchfarm: Hatchfarm, kind: str) -> None:
    path = hatchfarm.folder / hatchfarm.write("tiny.toml", duration="1s", thresholds=FAILS)
    path.write_text(path.read_text("utf-8").replace("Twenty machines", "Zwölf → \\u2028 machines"), "utf-8")
    with printing_to(kind) as streams:
        done = subprocess.run(
            [*COMMAND, "run", "tiny.toml", "--no-reports"],
            cwd=hatchfarm.folder,
            env=hatchfarm.environ({"PYTHONIOENCODING": "ascii"} if "encoding" in kind else {}),
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=TIMEOUT_SECONDS,
            preexec_fn=close_standard_streams if kind == "nothing at all" else None,
            **(streams if "encoding" not in kind else {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}),
        )
    verdict = hatchfarm.verdict()
    assert (done.returncode, verdict["exit_code"]) in {(FAILED, FAILED), (3, 3)}, done
    assert (hatchfarm.folder / "results" / "tiny" / "latest" / "manifest.json").exists()
    if "encoding" in kind:
        assert b"Zw\\xf6lf \\u2192" in done.stdout
        assert b"Reproduce with:" in done.stdout


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_user_error_keeps_its_exit_code_without_a_place_to_say_it(hatchfarm: Hatchfarm, encoding: str) -> None:
    with printing_to("a full disk") as streams:
        done = subprocess.run(
            [*COMMAND, "run", "gibt-es-nicht-ü.toml"],
            cwd=hatchfarm.folder,
            env=hatchfarm.environ({"PYTHONIOENCODING": encoding}),
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=TIMEOUT_SECONDS,
            **streams,
        )
    assert done.returncode == 2


class Failing(io.StringIO):
    """A stream that fails from now on."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number
        self.tried = 0

    def write(self, text: str) -> int:
        del text
        self.tried += 1
        raise OSError(self.number, os.strerror(self.number))

    flush = write  # type: ignore[assignment]  # it fails before it misses its argument


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOSPC, errno.EIO])
def test_a_stream_that_failed_is_not_tried_again(number: int) -> None:
    stream = Failing(number)
    steady = SteadyStream(stream)
    assert [steady.write("x"), steady.write("yy")] == [1, 2]
    steady.flush()
    assert stream.tried == 1


def test_a_terminal_that_does_not_keep_up_is_tried_again() -> None:
    stream = Failing(errno.EAGAIN)
    steady = SteadyStream(stream)
    assert [steady.write("x"), steady.write("yy")] == [1, 2]
    assert stream.tried == 2


def test_signals_that_come_while_results_are_written_are_noted_and_change_nothing() -> None:
    with signals_held() as held:
        assert held.name == ""
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
        assert held.name == "SIGHUP"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_hang_up_that_was_ignored_from_the_start_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert signal.SIGHUP not in stop_signals()
        with signals_held() as held:
            signal.raise_signal(signal.SIGHUP)
        assert held.number is None
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("command", ["replay", "capacity"])
def test_other_commands_see_beforehand_that_results_can_be_written(
    hatchfarm: Hatchfarm, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("it began")

    monkeypatch.setattr("simulator.running.replay.trio.run", never)
    monkeypatch.setattr("simulator.running.run.trio.run", never)
    (hatchfarm.folder / "file").touch()
    given = hatchfarm.write("tiny.toml", duration="1s")
    if command == "replay":
        given = small_trace(hatchfarm.folder)
    refused = hatchfarm.invoke(command, str(given), "--out", "file")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith(f"hatchfarm {command}: results cannot be written to file/")
    assert refused.err.endswith("): give another --out\n")


def small_trace(folder: Path) -> Path:
    from simulator.traces.writing import write_trace  # noqa: PLC0415 - for these only
    from tests.traces.recorded import OWNER_TOKEN, small_recording  # noqa: PLC0415

    recording = small_recording()
    write_trace(folder / "small.ndjson", recording.taken, recording.origin(), OWNER_TOKEN)
    return folder / "small.ndjson"


def test_a_capacity_that_cannot_be_written_is_an_error_without_stray_files(
    hatchfarm: Hatchfarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(finder: Finder, started_at: str) -> object:
        del finder
        asked = SearchRequest("tiny", 9, "its own server", started_at, 0.1, 200, [], {})
        return conclude(asked, Search(Bounds(100, 200, 0.1)), [], "it was told to")

    def write(capacity: object, folder: Path) -> None:
        del capacity
        folder.mkdir()
        (folder / "capacity.part").touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Finder, "find", find)
    monkeypatch.setattr("simulator.capacity.driver.write_capacity", write)
    ended = hatchfarm.invoke("capacity", str(hatchfarm.write("tiny.toml", duration="1s")))
    assert ended.code == 2
    assert ended.lines[-1].endswith("(No space left on device): give another --out")
    assert list((hatchfarm.folder / "results" / "tiny" / "capacity").iterdir()) == []
