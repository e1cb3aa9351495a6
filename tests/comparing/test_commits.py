"""Two commits: found by any name, unpacked once, each with the packages its lock asks for, measured in processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.commits import FIGURES, SAME, compare_commits, measure_server
from benchmarks.environments import Checkout, checkout, fits, is_checkout
from benchmarks.measuring import BenchmarkError
from simulator.comparing.alternating import Rounds
from simulator.comparing.deciding import Says
from tests.support.tiers import SOAK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.cli.conftest import Hatchfarm

ROOT = Path(__file__).parents[2]
LOCK = "one==1.2 \\\n    --hash=sha256:00\ntwo==3 ; sys_platform == 'win32' \\\n    --hash=sha256:11\n"
UNIVERSAL = LOCK + "one==1.3 ; python_version >= '3.20' \\\n"


@pytest.mark.parametrize(
    ("lock", "installed", "expected"),
    [
        (LOCK, {"one": "1.2"}, True),
        (LOCK, {"one": "1.2", "two": "3"}, True),
        (LOCK, {"one": "1.2", "two": "4"}, False),
        (LOCK, {"one": "1.3"}, False),
        (UNIVERSAL, {"one": "1.3"}, True),
        (LOCK, {}, False),
        ("", {}, False),
    ],
)
def test_an_environment_fits_that_has_just_what_is_pinned(
    lock: str, installed: dict[str, str], *, expected: bool
) -> None:
    assert fits(lock, installed.get) is expected


def git(folder: Path, *words: str) -> str:
    who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    done = subprocess.run(
        ["git", "-C", str(folder), *words],  # noqa: S607 - the user's own git
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **who},
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with two commits, of which the second can be measured."""
    if not shutil.which("git"):
        pytest.skip("needs git")
    folder = tmp_path / "repository"
    (folder / "benchmarks").mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    (folder / "README").write_text("first")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    (folder / "benchmarks" / "servers.py").write_text("second = True\n")
    (folder / "requirements.lock").write_text(LOCK)
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "second")
    return folder


def test_a_commit_is_unpacked_once_by_its_hash(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.environments.fits", lambda *_: True)
    found = checkout("main", repository, tmp_path / "cache", print)
    commit = git(repository, "rev-parse", "main")
    assert found == Checkout(f"main ({commit[:12]})", tmp_path / "cache" / "sources" / commit, sys.executable)
    assert (found.source / "benchmarks" / "servers.py").read_text() == "second = True\n"
    (found.source / "mark").touch()
    assert checkout(commit[:10], repository, tmp_path / "cache", print).source == found.source
    assert (found.source / "mark").exists()


def test_a_folder_is_measured_as_it_stands(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.environments.fits", lambda *_: True)
    monkeypatch.chdir(repository)
    (repository / "benchmarks" / "servers.py").write_text("changed = True\n")
    assert checkout(".", repository, tmp_path / "cache", print) == Checkout(". as it is", repository, sys.executable)


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        ("nothing", "nothing is no commit of "),
        ("--output=x", "--output=x is no commit of "),
        ("main~1", "main~1 has no benchmarks/servers.py or requirements.lock: it cannot be measured"),
    ],
)
def test_what_cannot_be_measured_is_refused(repository: Path, tmp_path: Path, reference: str, problem: str) -> None:
    with pytest.raises(BenchmarkError) as refused:
        checkout(reference, repository, tmp_path / "cache", print)
    assert str(refused.value).startswith(problem)


def test_an_environment_that_cannot_be_made_is_said_and_is_not_taken_for_whole(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    notes: list[str] = []
    monkeypatch.setattr("sys.executable", str(tmp_path / "no-python"))
    for _ in range(2):
        with pytest.raises(BenchmarkError, match=r"could not be made: .*no-python"):
            checkout("main", repository, cache, notes.append)
    assert len(notes) == 2
    assert all("making the environment of " in note for note in notes)


def test_rounds_of_two_checkouts_are_compared_by_each_of_their_figures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[str] = []

    def measure(version: Checkout, seconds: float) -> Sequence[float]:
        asked.append(version.name)
        assert seconds == 0.5
        return (100.0, 20.0, 70.0) if version.name == "old" else (100.0, 25.0, 70.0)

    monkeypatch.setattr("benchmarks.commits.measure_server", measure)
    monkeypatch.setattr("benchmarks.commits.pin", lambda *_: None)
    old, new = (Checkout(name, tmp_path / name, sys.executable) for name in ("old", "new"))
    comparison = compare_commits(old, new, 0.5, Rounds(first=8, most=8), 3, "now", lambda _: None)
    assert [line.decision.says for line in comparison.lines] == [Says.NO_DIFFERENCE, Says.SLOWER, Says.NO_DIFFERENCE]
    assert (comparison.exit_code, comparison.before, comparison.after) == (1, "old", "new")
    assert asked.count("old") == asked.count("new") == 16
    assert {one for one, other in zip(asked[::2], asked[1::2], strict=True) if one != other} == {"old", "new"}


def test_a_version_that_is_compared_with_itself_is_measured_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("benchmarks.commits.measure_server", lambda *_: (100.0, 20.0, 70.0))
    monkeypatch.setattr("benchmarks.commits.pin", lambda *_: None)
    main, head, other = (Checkout(name, tmp_path / name[:4], sys.executable) for name in ("main", "main^0", "other"))
    shown: list[str] = []
    comparison = compare_commits(main, head, 0.5, Rounds(first=8, most=8), 3, "now", shown.append)
    assert (shown[0], comparison.notes, comparison.exit_code) == (SAME, [SAME], 0)
    comparison = compare_commits(main, other, 0.5, Rounds(first=8, most=8), 3, "now", shown.append)
    assert (shown.count(SAME), comparison.notes) == (1, [])


def test_a_server_is_measured_in_a_process_of_its_own_source(tmp_path: Path) -> None:
    """The one test of these that starts one: what is measured is what lies in its folder."""
    assert is_checkout(ROOT)
    for name in ("benchmarks", "reference_server", "simulator"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    figures = measure_server(Checkout("copy", tmp_path, sys.executable), 0.2)
    assert len(figures) == len(FIGURES)
    assert all(one > 0 for one in figures)
    (tmp_path / "reference_server" / "app.py").write_text("raise RuntimeError('not here')\n")
    with pytest.raises(BenchmarkError, match="did not start"):
        measure_server(Checkout("broken", tmp_path, sys.executable), 0.2)


@pytest.mark.parametrize("flag", ["--json", "--html", "--junit"])
def test_what_could_not_be_written_is_not_measured(
    hatchfarm: Hatchfarm, monkeypatch: pytest.MonkeyPatch, flag: str
) -> None:
    monkeypatch.setattr("simulator.commands.compare._measured", lambda *_: pytest.fail("it was measured"))
    (hatchfarm.folder / "file").touch()
    refused = hatchfarm.invoke("compare", "one", "other", flag, "file/x")
    why = f"hatchfarm compare: file/x cannot be written (Not a directory): give another {flag}\n"
    assert (refused.code, refused.out, refused.err) == (2, "", why)


def test_two_kinds_are_not_compared_and_unknown_commits_are_a_usage_error(hatchfarm: Hatchfarm) -> None:
    (hatchfarm.folder / "a.json").write_text("{}")
    refused = hatchfarm.invoke("compare", "a.json", "no-such-thing")
    assert (refused.code, refused.err) == (
        2,
        "hatchfarm compare: a.json is a benchmark's result, no-such-thing is a commit: two of a kind are compared\n",
    )
    refused = hatchfarm.invoke("compare", "no-such-thing", "HEAD")
    assert refused.code == 2
    assert refused.err.startswith("hatchfarm compare: no-such-thing is no commit of ")
    assert hatchfarm.invoke("compare", "a.json", "a.json", "--rounds", "50").code == 2


DECIDES = "reference_server/core/heartbeats.py"
DECISION = "    heartbeat = decode_heartbeat(body)\n"
"""Where the decision of a heartbeat begins."""


def with_a_cost(text: str) -> str:
    """Return the module that decides heartbeats, where each costs a tenth more."""
    assert text.count(DECISION) == 1
    return text.replace(DECISION, f"    sum(range(300))\n{DECISION}")


def test_a_cost_can_still_be_planted() -> None:
    """What is compared in `make soak` alone would else not be missed when the decision moves."""
    assert with_a_cost((ROOT / DECIDES).read_text()).count("sum(range(300))") == 1


if SOAK:  # minutes of two cores

    def test_a_commit_is_no_slower_than_itself_and_a_planted_cost_is_caught(tmp_path: Path) -> None:
        """Live, on whatever this machine is doing meanwhile."""
        for name in ("benchmarks", "reference_server", "simulator"):
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "requirements.lock", tmp_path)
        (tmp_path / DECIDES).write_text(with_a_cost((ROOT / DECIDES).read_text()))
        here, planted = Checkout("here", ROOT, sys.executable), Checkout("planted", tmp_path, sys.executable)
        same = compare_commits(here, here, 1.0, Rounds(), 1, "now", print)
        assert same.exit_code != 1
        worse = compare_commits(here, planted, 1.0, Rounds(), 1, "now", print)
        assert worse.exit_code == 1
