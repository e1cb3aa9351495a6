"""A small run in virtual time: `python small_run.py SEED ...` prints the digest of each seed's history."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console

from simulator.bundle.verify import verify_bundle
from simulator.history.tables import history_digest, read_history
from simulator.running.run import RunRequest
from simulator.running.virtual import execute_virtually
from simulator.scenario.loading import parse_scenario

if TYPE_CHECKING:
    from simulator.history.rows import History

SCENARIO = """
version = 1
name = "small"
duration = "20s"
[server.settings]
WORKER_STATUS_STALE_SECONDS = 4
[fleet]
machines = 6
owners = 2
heartbeat_interval = "1s"
stages = [{ duration = "1s", target = 6 }]
silence = [{ share = 0.2, at = "6s", duration = "6s" }]
[[attacks]]
name = "replay.exact"
start = "3s"
duration = "10s"
rate = 1
share = 0.9
[[attacks]]
name = "skew.behind"
start = "3s"
duration = "10s"
rate = 1
share = 0.9
[[attacks]]
name = "consent.after-revoke"
start = "3s"
duration = "2s"
rate = 1
[[attacks]]
name = "owner.header-mismatch"
start = "3s"
duration = "2s"
rate = 1
[market]
agents = 2
[thresholds]
"heartbeat.accepted" = ["rate>0.99"]
"alerts.stale_workers.fired" = ["count>=1"]
"server.memory" = ["max<1MB"]
"""


class Played(msgspec.Struct):
    """What came of a run: its exit code, the digest of its history, that, its verdict, and all that it printed."""

    code: int
    digest: str
    history: History
    verdict: dict[str, object]
    printed: str
    verified: bool


def play(seed: int, text: str = SCENARIO) -> Played:
    """Play a scenario in virtual time."""
    with TemporaryDirectory() as folder:
        console = Console(width=200, record=True, file=io.StringIO())
        request = RunRequest(
            parse_scenario(text), Path("small.toml"), seed, Path(folder), None, "", scenario_text=text, reports=False,
            virtual=True,
        )  # fmt: skip
        code = execute_virtually(request, console)
        (bundle,) = (one for one in Path(folder, "small").iterdir() if not one.is_symlink())
        history = read_history(bundle)
        verdict = msgspec.json.decode((bundle / "verdict.json").read_bytes())
        return Played(
            code, history_digest(history), history, verdict, console.export_text(), not verify_bundle(bundle).altered
        )


def main() -> None:
    """Print the digest of each seed's run."""
    for seed in sys.argv[1:]:
        print(play(int(seed)).digest)  # noqa: T201 - this is the program's output


if __name__ == "__main__":
    main()
