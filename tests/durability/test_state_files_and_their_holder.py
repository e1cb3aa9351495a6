"""What a server has of a state file while it serves: the lock, the journal, the key; and what a start does without."""

from __future__ import annotations

import errno
import logging
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from reference_server.adapters.clock import SystemClock
from reference_server.adapters.entropy import SystemEntropy
from reference_server.adapters.files.state_files import StateFiles
from reference_server.adapters.forking import fork
from reference_server.adapters.memory.entropy import SeededEntropy
from reference_server.app import make_api
from reference_server.core.snapshots import snapshot
from reference_server.ports import JournalError
from reference_server.settings import SettingsError
from tests.core.server_under_test import STARTED, TOKEN
from tests.support.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from reference_server.operations.api import Api

GROUP = b"\x90"
"""A group of no changes, as MessagePack."""


def start(path: Path, seed: str = "seed") -> Api:
    """Start a server's state on a state file, as `hatchfarm serve` does."""
    return make_api(
        {"HATCHFARM_API_TOKEN": TOKEN, "HATCHFARM_STATE_FILE": str(path)}, SeededEntropy(seed), SystemClock()
    )


def stop(api: Api) -> None:
    """End it as kill -9 does: nothing more is written."""
    assert api.journal is not None
    api.journal.close()


def kept_in(folder: Path) -> list[Path]:
    """Return the state files and journals in a folder."""
    return [file for file in folder.iterdir() if not file.name.endswith((".lock", ".signing-key"))]


def refused(path: Path) -> str:
    """Return what a start says that refuses, which changes neither the state file nor a journal."""
    before = {file.name: file.read_bytes() for file in kept_in(path.parent)}
    with pytest.raises(SettingsError) as caught:
        start(path, "another")
    assert {file.name: file.read_bytes() for file in kept_in(path.parent)} == before
    return str(caught.value)


def snapshot_anew(api: Api) -> None:
    """Compact the journal, as an orderly stop does."""
    journal = api.journal
    assert journal is not None
    journal.begin_snapshot(snapshot(api.state, STARTED, journal.next_segment))()
    journal.rotate()
    journal.publish()


# -- a journal without its state file


@pytest.mark.parametrize("how", ["just started", "changed", "stopped in order", "started twice"])
def test_a_journal_whose_state_file_is_gone_is_never_begun_anew(tmp_path: Path, how: str) -> None:
    """Though no change is in it: what the state file held is lost, and only people may say that it does not matter."""
    path = tmp_path / "state.json"
    api = start(path)
    assert api.journal is not None
    if how == "changed":
        api.journal.append(GROUP)
    elif how == "stopped in order":
        snapshot_anew(api)
    stop(api)
    if how == "started twice":
        stop(start(path))
    path.unlink()
    message = refused(path)
    assert "which is missing: bring it back" in message
    assert "move the journal away" in message


def test_a_journal_beside_an_older_state_file_is_refused_though_it_has_no_group(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    api = start(path)
    older = path.read_bytes()
    stop(api)
    for segment in tmp_path.glob("*.journal-*"):
        segment.unlink()
    api = start(path)
    snapshot_anew(api)
    stop(api)
    path.write_bytes(older)
    assert "is the journal of another state file" in refused(path)


def test_a_first_start_that_was_cut_off_before_its_state_file_is_begun_again(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    journal = StateFiles(str(path), SystemEntropy(), 0)
    assert journal.read() is None
    journal.start()
    journal.close()
    assert len([*tmp_path.glob("*.journal-*")]) == 1
    stop(start(path))
    assert path.exists()


# -- the lock


@pytest.mark.parametrize("removed", [[], ["*.lock"], ["*.lock", "state.json"], ["*.lock", "*.journal-*"]], ids="+".join)
def test_a_state_file_in_use_is_refused_whatever_was_removed(tmp_path: Path, removed: list[str]) -> None:
    path = tmp_path / "state.json"
    api = start(path)
    for pattern in removed:
        for file in tmp_path.glob(pattern):
            file.unlink()
    with pytest.raises(SettingsError, match="is in use by another server"):
        start(path, "another")
    stop(api)


@pytest.mark.parametrize("compacted", [False, True])
@pytest.mark.parametrize("link", ["symbolic", "folder", "hard"])
def test_a_state_file_in_use_is_refused_through_any_link(tmp_path: Path, link: str, *, compacted: bool) -> None:
    """A hard link is another file once a snapshot has taken the place of the one that it led to."""
    path, other = tmp_path / "state.json", tmp_path / "elsewhere" / "linked.json"
    api = start(path)
    if compacted:
        snapshot_anew(api)
    if link == "folder":
        (tmp_path / "elsewhere").symlink_to(tmp_path)
        other = tmp_path / "elsewhere" / "state.json"
    else:
        other.parent.mkdir()
        other.symlink_to(path) if link == "symbolic" else other.hardlink_to(path)
    with pytest.raises(SettingsError, match="is in use by another server"):
        start(other, "another")
    stop(api)
    stop(start(other, "another"))


def test_what_a_symbolic_link_leads_to_is_what_is_written(tmp_path: Path) -> None:
    path, link = tmp_path / "kept" / "state.json", tmp_path / "link.json"
    path.parent.mkdir()
    link.symlink_to(path)
    api = start(link)
    snapshot_anew(api)
    stop(api)
    assert link.is_symlink()
    assert path.exists()
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["link.json"]


@pytest.mark.parametrize("how", ["removed", "replaced", "moved"])
def test_nothing_is_acknowledged_in_a_journal_that_another_took_the_place_of(tmp_path: Path, how: str) -> None:
    """It would survive nothing; and a snapshot of it is never put in the place of another server's."""
    path = tmp_path / "state.json"
    api = start(path)
    journal = api.journal
    assert journal is not None
    (segment,) = tmp_path.glob(f"*.journal-{journal.segment}")
    written = journal.begin_snapshot([b"{}"])
    written()
    if how == "moved":
        segment.rename(tmp_path / "away")
    else:
        segment.unlink()
    if how == "replaced":
        segment.touch()
    before = path.read_bytes()
    with pytest.raises(JournalError, match="was removed, or another file put in its place"):
        journal.append(GROUP)
    with pytest.raises(JournalError, match="was removed, or another file put in its place"):
        journal.publish()
    assert path.read_bytes() == before
    stop(api)


def test_a_start_that_refuses_lets_go_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.touch(0o600)
    for _ in range(2):
        assert "it is not JSON" in refused(path)


# -- the signing key


def test_a_key_made_at_a_start_is_kept_beside_the_state_file(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    api = start(path)
    keys = api.state.signer.jwk_set
    kept = tmp_path / "state.json.signing-key"
    assert kept.stat().st_mode & 0o777 == 0o600
    stop(api)
    again = start(path, "another")
    assert again.state.signer.jwk_set == keys
    stop(again)
    kept.chmod(0o644)
    assert "signing-key (mode 0644): `chmod 600" in refused(path)


def test_certificates_that_were_signed_with_another_key_are_said_to_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, others_state: bytes
) -> None:
    path = tmp_path / "state.json"
    path.touch(0o600)
    path.write_bytes(others_state)
    stop(start(path))
    assert [record.levelno for record in caplog.records if "signed with another key" in record.message] == [
        logging.WARNING
    ]
    caplog.clear()
    empty = tmp_path / "empty.json"
    stop(start(empty))
    stop(start(empty))
    assert "signed with another key" not in caplog.text


# -- children that write snapshots


def hang() -> bool:
    signal.pause()
    return True


def work(do: Callable[[], bool]) -> Callable[[Callable[[], bool]], bool]:
    return lambda parent_lives: parent_lives() and do()


def test_a_child_that_hangs_is_ended_and_said_to_have_hung() -> None:
    assert fork(work(hang), silence_seconds=0.1, end_seconds=PATIENCE_SECONDS)() == "it hung for 0.1 s, and was ended"


def test_a_child_that_nobody_waits_for_any_more_is_ended_at_once() -> None:
    """Before it is waited for, and meanwhile, from another thread; once it is over that does nothing."""
    child = fork(work(hang), silence_seconds=60, end_seconds=PATIENCE_SECONDS)
    child.end()
    assert child() == "it was not waited for, and was ended"
    child.end()
    other = fork(work(hang), silence_seconds=60, end_seconds=PATIENCE_SECONDS)
    with ThreadPoolExecutor(1) as pool:
        waited = pool.submit(other)
        other.end()
        assert waited.result() == "it was not waited for, and was ended"
    other.end()


def test_where_no_process_can_be_started_a_start_says_so_and_the_next_one_finds_all_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_fork() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    path = tmp_path / "state.json"
    with monkeypatch.context() as patched:
        patched.setattr(os, "fork", no_fork)
        with pytest.raises(SettingsError) as caught:
            start(path)
    why = "no process can be started to write a snapshot (Resource temporarily unavailable)"
    assert str(caught.value).startswith(f"HATCHFARM_STATE_FILE: {path}: {why}: allow its user more processes")
    stop(start(path))


def test_a_child_that_stopped_is_ended_too() -> None:
    def stop_itself() -> bool:
        os.kill(os.getpid(), signal.SIGSTOP)
        return True

    assert (
        fork(work(stop_itself), silence_seconds=0.1, end_seconds=PATIENCE_SECONDS)()
        == "it hung for 0.1 s, and was ended"
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_child_takes_no_signal_as_its_parent_does(number: signal.Signals) -> None:
    """What the server does by one is to stop in order, which is not for a child to do."""

    def signal_itself() -> bool:
        os.kill(os.getpid(), number)
        return True

    before = signal.signal(number, lambda *_: None)
    try:
        assert fork(work(signal_itself))() == f"exit code -{number}"
    finally:
        signal.signal(number, before)


def test_a_child_that_gets_on_is_waited_for_however_long_it_takes() -> None:
    """It tells far more than fits into a pipe that nobody reads yet, and then more."""
    wait = fork(lambda parent_lives: all(parent_lives() for _ in range(70_000)), silence_seconds=30)
    assert wait() == ""
    assert fork(work(lambda: False), silence_seconds=30)() == "exit code 255"


def test_no_file_is_left_open_by_children() -> None:
    before = os.listdir("/proc/self/fd")  # noqa: PTH208 - names alone
    for _ in range(3):
        fork(work(lambda: True))()
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208 - names alone


def test_a_child_keeps_the_file_that_it_is_to_write_and_no_other() -> None:
    file, other = os.memfd_create("kept"), os.memfd_create("other")

    def write() -> bool:
        os.write(file, b"written")
        try:
            os.fstat(other)
        except OSError:
            return True
        return False

    assert fork(work(write), file)() == ""
    assert os.pread(file, 100, 0) == b"written"
    os.close(file)
    os.close(other)
