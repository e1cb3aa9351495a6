"""Trials: runs that must say something of a server, made several at once and each in a process of its own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from tests.support.forked import run_forked
from tests.support.trying import try_all

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
    from pathlib import Path

K = TypeVar("K")
INCONCLUSIVE = 3


class Result(NamedTuple):
    """How a trial ended: the run's exit code, its verdict file, and what it printed."""

    exit_code: int
    verdict: dict[str, Any]
    printed: str

    def says_something(self) -> bool:
        """Return whether this machine was not too busy for a verdict."""
        return self.exit_code != INCONCLUSIVE

    def says_all(self, caught_by: frozenset[str], evidence: str = "") -> bool:
        """Return whether one of these checkers found what is looked for, or none of them was kept from looking.

        A busy machine may leave attacks without their end while another checker has found something already, and
        requests without an answer, which may be what another finding would have been of.
        """
        if not self.says_something():
            return False
        doubtful = any(one["status"] == "inconclusive" for one in self.verdict.get("checkers", []))
        return not doubtful or not caught_by or self._shows(caught_by, evidence)

    def _shows(self, caught_by: Collection[str], evidence: str) -> bool:
        return any(name in caught_by and re.search(evidence, output) for name, output in self.failed().items())

    def failed(self) -> dict[str, str]:
        """Return each failed checker's findings, as JSON."""
        return {
            one["name"]: msgspec.json.encode([one["summary"], one["findings"]]).decode()
            for one in self.verdict.get("checkers", [])
            if one["status"] == "fail"
        }

    def assert_caught(self, caught_by: Collection[str], evidence: str) -> None:
        """Assert that the run failed, by one of these checkers, with a finding that says what is looked for."""
        assert self.exit_code == 1, self.printed
        findings = {name: output for name, output in self.failed().items() if name in caught_by}
        assert findings, f"failed: {[*self.failed()]}, not {sorted(caught_by)}\n{self.printed}"
        assert self._shows(caught_by, evidence), findings


async def make_trials(
    keys: Sequence[K],
    folder: Path,
    make: Callable[[K, Path], Awaitable[Result]],
    *,
    at_once: int,
    caught_by: Mapping[K, tuple[Collection[str], str]] = {},
) -> dict[K, Result]:
    """Return each key's result. `make` is given a key and a path that is its trial's alone.

    What said nothing because this machine was too busy is made again; so is what should have been `caught_by` a
    checker with some evidence.
    """
    numbers = {key: number for number, key in enumerate(keys)}

    async def one(key: K, attempt: int) -> Result:
        return await make(key, folder / f"{numbers[key]}-{attempt}")

    def is_known(key: K, result: Result) -> bool:
        checkers, evidence = caught_by.get(key, ((), ""))
        return result.says_all(frozenset(checkers), evidence)

    return await try_all(keys, one, is_known, at_once=at_once)


async def run_trial(
    main: Callable[[], object], before: Sequence[str], scenario: Path, flags: Sequence[str], out: Path,
    environ: Mapping[str, str], name: str = "",
) -> Result:  # fmt: skip
    """Run a scenario file by a program's `main`, without reports, with results in a folder; give what came of it.

    `before` is what stands before the command's own words; `name` is the scenario's, where its file has another.
    """
    printed = out.with_suffix(".txt")
    words = [*before, "run", str(scenario), *flags, "--no-reports", "--out", str(out)]
    code = await run_forked(main, words, environ, printed)
    written = out / (name or scenario.stem) / "latest" / "verdict.json"
    verdict = msgspec.json.decode(written.read_bytes()) if written.exists() else {}
    return Result(code, verdict, printed.read_text("utf-8", "replace"))
