"""Fixtures of runs against the double that answers as the published API says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from simulator.bundle.verify import read_bundle
from simulator.judging.judging import judge_run
from simulator.judging.verdict_file import RunVerdict
from tests.support.tiers import SOAK

if TYPE_CHECKING:
    from simulator.contract.profiles import Profile

ROOT = Path(__file__).parent.parent.parent
END_SECONDS = 1500 if SOAK else 500
"""For a run, of which several may be made at once: less than a test may take."""


class Ran(NamedTuple):
    """A run: its exit code, what it printed, and its bundle."""

    exit_code: int
    printed: str
    folder: Path

    @property
    def verdict(self) -> RunVerdict:
        """The verdict that was written."""
        return msgspec.json.decode((self.folder / "verdict.json").read_bytes(), type=RunVerdict)

    def judged_by(self, profile: Profile) -> RunVerdict:
        """The same history by another measure."""
        record, history = read_bundle(self.folder)
        return judge_run(msgspec.structs.replace(record, profile=profile), history)


def run_on_double(scenario: Path, out: Path, *options: str) -> Ran:
    """Run a scenario whose own servers are doubles, by the published profile."""
    command = [sys.executable, "-m", "tests.published.run_on_double", "run", str(scenario)]
    ended = subprocess.run(
        [*command, "--profile", "published", "--no-reports", "--out", str(out), *options],
        env={**os.environ, "PYTHONPATH": str(ROOT), "WORKER_STATUS_STATE_FILE": ""},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=END_SECONDS,
    )
    folders = sorted(out.glob("*/latest"))
    return Ran(ended.returncode, ended.stdout + ended.stderr, folders[-1] if folders else out)
