"""Where output files go: through links, into pipes and devices, beside other people's files, and how they are found."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from simulator.commands.reports import find_bundle
from simulator.errors import BundleError
from simulator.judging.verdict_file import point_latest
from simulator.platform.output_files import write_whole
from tests.cli.conftest import Hatchfarm, until_conclusive

if TYPE_CHECKING:
    from tests.support.forked import Finished

HALVES = (b"one ", b"two")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_link_is_followed_and_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    real, link = tmp_path / "far" / "real", tmp_path / "link"
    link.symlink_to(real)
    for _ in range(2):  # to what is not there yet, and to what is
        write_whole(link, HALVES)
        assert link.is_symlink()
        assert real.read_bytes() == b"one two"
    assert names(real.parent) == ["real"]


def test_in_a_bundle_a_link_is_replaced_and_what_it_led_to_left(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_bytes(b"precious")
    link.symlink_to(real)
    write_whole(link, HALVES, follow=False)
    assert (real.read_bytes(), link.read_bytes(), link.is_symlink()) == (b"precious", b"one two", False)


def test_a_pipe_is_written_into_and_stays_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write_whole(pipe, HALVES, private=True)
    reader.join()
    assert got == [b"one two"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_device_is_written_into_and_stays_one() -> None:
    write_whole(Path(os.devnull), HALVES)
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)
    with pytest.raises(OSError, match="No space left"):
        write_whole(Path("/dev/full"), HALVES)


def test_what_is_open_already_is_written_into(tmp_path: Path) -> None:
    path = tmp_path / "open"
    with path.open("wb") as file:
        before = os.fstat(file.fileno()).st_ino
        write_whole(Path(f"/dev/fd/{file.fileno()}"), HALVES)
    assert (path.stat().st_ino, path.read_bytes()) == (before, b"one two")


@pytest.mark.parametrize("name", ["trace.ndjson.tmp", ".trace.ndjson.tmp", "trace.ndjson.part"])
def test_what_is_called_like_the_file_and_a_bit_more_is_somebodys(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"precious")
    write_whole(tmp_path / "trace.ndjson", HALVES)
    assert (tmp_path / name).read_bytes() == b"precious"
    assert len(names(tmp_path)) == 2


def test_a_file_that_cannot_be_made_whole_leaves_what_there_was(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")

    def parts() -> list[bytes]:
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write_whole(path, (part for _ in "x" for part in parts()))
    assert (path.read_bytes(), names(tmp_path)) == (b"before", ["file"])


@pytest.mark.parametrize("private", [True, False])
def test_only_a_private_file_is_its_owners_alone(tmp_path: Path, *, private: bool) -> None:
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "file", HALVES, private=private)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == (0o600 if private else 0o640)


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_latest_that_is_somebodys_own_is_said_and_left(tmp_path: Path, kind: str) -> None:
    run, latest = tmp_path / "2026-01-01T00-00-00.000", tmp_path / "latest"
    run.mkdir()
    if kind == "folder":
        latest.mkdir()
    else:
        latest.touch()
    assert point_latest(run) == f"{latest} is no link: it was left as it is, and the newest run is {run.name}"
    assert names(tmp_path) == [run.name, "latest"]
    assert not latest.is_symlink()


def test_latest_leads_to_the_run_even_where_it_led_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "latest").symlink_to("gone")
    assert point_latest(tmp_path / "run") == ""
    assert (tmp_path / "latest").resolve() == (tmp_path / "run").resolve()


def a_run(folder: Path, started_at: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "verdict.json").write_bytes(msgspec.json.encode({"started_at": started_at}))
    return folder.resolve()


def test_the_newest_run_is_found_by_when_it_began(tmp_path: Path) -> None:
    """Not by names, which people change, nor by links, which two runs at once leave to the one that ends last."""
    a_run(tmp_path / "one" / "zz renamed", "2026-01-01T00:00:00.000+00:00")
    newest = a_run(tmp_path / "one" / "aa renamed", "2026-01-03T00:00:00.000+00:00")
    other = a_run(tmp_path / "two" / "2027", "2026-01-02T23:59:00.000-00:00")
    (tmp_path / "one" / "latest").symlink_to("zz renamed")
    (tmp_path / "two" / "broken").mkdir()
    (tmp_path / "two" / "broken" / "verdict.json").write_text("[]", "utf-8")
    assert find_bundle("latest", tmp_path) == newest
    assert find_bundle(str(tmp_path / "one"), tmp_path) == newest
    assert find_bundle(str(tmp_path / "two"), tmp_path) == other
    assert find_bundle(str(other / "verdict.json"), tmp_path) == other
    with pytest.raises(BundleError, match="there are no results"):
        find_bundle("latest", tmp_path / "two")


def test_a_scenario_is_read_once_so_a_pipe_works_and_its_bytes_are_in_the_bundle(hatchfarm: Hatchfarm) -> None:
    text = (hatchfarm.folder / hatchfarm.write("tiny.toml", duration="1s")).read_bytes()
    pipe = hatchfarm.folder / "pipe.toml"
    os.mkfifo(pipe)

    def run() -> Finished:
        writer = threading.Thread(target=lambda: pipe.write_bytes(text))
        writer.start()
        done = hatchfarm.run("run", "pipe.toml", "--no-reports")
        writer.join()
        return done

    done = until_conclusive(run)
    assert done.code == 0, done
    assert (hatchfarm.folder / "results" / "tiny" / "latest" / "scenario.toml").read_bytes() == text
