"""Programs of the project as users start them, for tests that need several at once: servers, Locust, runs, workers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

from tests.support.alone import until_conclusive
from tests.support.served import COMMAND, served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

ROOT = Path(__file__).parent.parent.parent
HATCHFARM = COMMAND
LOCUST = (sys.executable, "-m", "locust", "-f", str(ROOT / "simulator" / "load" / "locustfile.py"))
TOKEN = "token-of-the-tests-of-conducted-load"
SAMPLE = re.compile(r"^(\w+(?:\{[^}]*\})?) (\S+)$", re.MULTILINE)


def environ(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment without settings of ours, and with what is given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HATCHFARM_", "LOCUST_"))}
    return {**kept, "HATCHFARM_API_TOKEN": TOKEN, "PYTHONPATH": str(ROOT), **(more or {})}


@contextmanager
def running(
    command: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path = ROOT
) -> Iterator[subprocess.Popen[str]]:
    """Run a program whose environment is this one's without settings of ours; nothing is left of it afterwards."""
    with subprocess.Popen(
        command,
        cwd=cwd,
        env=environ(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def serving(settings: Mapping[str, str]) -> Iterator[str]:
    """Run `hatchfarm serve` on a free port; gives its URL."""
    with served(environ(settings), stderr=subprocess.STDOUT) as (_, url):
        yield url


def conclusively(run: Callable[[], int]) -> int:
    """Run until there is a verdict, a few times at most; gives the exit code."""
    return until_conclusive(run, int)


def metrics(url: str) -> dict[str, float]:
    """Read what a server counts, each sample by its name and labels."""
    with urlopen(Request(f"{url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"})) as answer:  # noqa: S310 - ours
        return {name: float(value) for name, value in SAMPLE.findall(answer.read().decode())}
