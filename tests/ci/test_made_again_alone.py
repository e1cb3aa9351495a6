"""What is made again after a run of all tests, and what it takes to pass then."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.support import again

if TYPE_CHECKING:
    from pathlib import Path


def keep(folder: Path, failed: list[str], ended: list[int] | None) -> None:
    """Write what pytest keeps of a session."""
    for name, kept in (("cache/lastfailed", dict.fromkeys(failed, True)), ("hatchfarm/ended", ended)):
        (folder / name).parent.mkdir()
        (folder / name).write_bytes(msgspec.json.encode(kept))


@pytest.mark.parametrize(
    ("failed", "ended", "results", "code", "word"),
    [
        (["a"], [1, 0], {}, 0, "UNSTEADY: a "),
        (["a", "b"], [1, 0], {"b": [True, True, False]}, 1, "BROKEN: b"),
        (["a"], [1, 0], {"a": [False]}, 1, "BROKEN: a"),
        ([], [1, 0], {}, 1, "0 tests failed"),
        ([str(number) for number in range(again.TESTS_MAX + 1)], [1, 0], {}, 1, "6 tests failed"),
        (["a"], [1, 2], {}, 1, "it skipped tests"),
        (["a"], [3, 0], {}, 1, "did not end by itself"),
        (["a"], None, {}, 1, "did not end by itself"),
    ],
)
def test_few_pass_when_each_passes_every_time(
    failed: list[str],
    ended: list[int] | None,
    results: dict[str, list[bool]],
    code: int,
    word: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made: list[str] = []

    def run_alone(test: str) -> bool:
        made.append(test)
        left = results.get(test, [])
        return left.pop(0) if left else True

    keep(tmp_path, failed, ended)
    assert again.main(tmp_path, run_alone) == code
    assert word in capsys.readouterr().out
    assert code or made == [test for test in failed for _ in range(again.TIMES)]


def test_a_session_that_left_nothing_is_not_excused(tmp_path: Path) -> None:
    assert again.main(tmp_path) == 1


def test_a_test_is_made_in_a_process_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "test_one.py"
    file.write_text("def test_wrong(): assert False\n", encoding="utf-8")
    assert not again.run_alone(f"{file}::test_wrong")


def test_a_test_of_this_project_can_pass_alone() -> None:
    """Its conftest keeps how a session ended, and this one keeps nothing."""
    assert again.run_alone("tests/wire/test_exposition.py")
