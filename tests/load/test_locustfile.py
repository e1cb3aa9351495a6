"""The fleet for people who use Locust itself: `locust -f simulator/load/locustfile.py`, with or without a scenario."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from simulator.load.options import LOCUSTFILE
from tests.cli.conftest import Deployment, Hatchfarm, serve_until_stopped
from tests.load.locust_side import locust_side
from tests.support.alone import INCONCLUSIVE, until_conclusive
from tests.support.waiting import until_blocking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TOKEN = "token-of-the-locustfile"
TIMEOUT_SECONDS = 180.0
MACHINES = 8
SCENARIO = """\
version = 1
name = "few"
duration = "5s"
[fleet]
machines = 8
owners = 2
heartbeat_interval = "500ms"
stages = [{ duration = "0s", target = 8 }]
[[load]]
user = "owner-dashboard"
rate = 5
stages = [{ duration = "0s", target = 2 }]
[[attacks]]
name = "consent.foreign"
start = "0s"
duration = "3s"
rate = 2
[[attacks]]
name = "signature.forged"
start = "2s"
duration = "2s"
rate = 5
"""


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    """Have a server for all tests here; each reads what it has more."""
    settings = {"HATCHFARM_API_TOKEN": TOKEN, "METRICS_PUBLIC": "true", "RATE_LIMIT_BURST": "10000"}
    with serve_until_stopped(settings) as (_, url):
        yield Deployment(url, TOKEN)


def shown(deployment: Deployment) -> dict[str, float]:
    with urllib.request.urlopen(f"{deployment.url}/metrics", timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - ours
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}


def locust(
    folder: Path, *arguments: str, token: str = TOKEN, enough: Callable[[], object] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Locust without a web page, to its end; where it has none by itself, until `enough` holds."""
    with subprocess.Popen(
        [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--loglevel", "WARNING", *arguments],
        cwd=folder,
        env=Hatchfarm.environ({"HATCHFARM_API_TOKEN": token} if token else {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            if enough is not None:
                until_blocking(lambda: enough() or process.poll() is not None, TIMEOUT_SECONDS)
                process.terminate()
            out, err = process.communicate(timeout=TIMEOUT_SECONDS)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def lines_of(finished: subprocess.CompletedProcess[str]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(line["method"], line["name"]): line for line in json.loads(finished.stdout)}


def test_without_a_scenario_every_user_is_a_machine(tmp_path: Path, deployment: Deployment) -> None:
    """As many as the command line says; what Locust counts of heartbeats is what the server counted."""
    accepted, before = 'hatchfarm_heartbeats_total{status="200"}', shown(deployment)

    def each_has_been_heard_of() -> bool:
        """Return whether every machine has sent a heartbeat, and one of them another."""
        now = shown(deployment)
        return now[accepted] - before[accepted] > 10 and now["hatchfarm_workers_unknown_total"] == 0

    arguments = ("--host", deployment.url, "-u", "10", "-r", "10", "--json", "--only-summary")
    finished = locust(tmp_path, *arguments, enough=each_has_been_heard_of)
    assert finished.returncode == 0, finished.stderr
    lines, after = lines_of(finished), shown(deployment)
    assert after["hatchfarm_workers_total"] - before["hatchfarm_workers_total"] == 10
    assert lines["POST", "register"]["num_requests"] == 10
    assert lines["POST", "heartbeat"]["num_requests"] == after[accepted] - before[accepted] > 0
    assert sum(line["num_failures"] for line in lines.values()) == 0


class Played(NamedTuple):
    """A run of the scenario: what Locust counted, and what the server had before and after."""

    finished: subprocess.CompletedProcess[str]
    lines: dict[tuple[str, str], dict[str, Any]]
    before: dict[str, float]
    after: dict[str, float]

    @property
    def registered(self) -> int:
        """Return how many machines asked to be registered, within the scenario's few seconds."""
        return int(self.lines.get(("POST", "register"), {}).get("num_requests", 0))


def test_with_a_scenario_it_decides_who_runs_when_and_when_it_ends(tmp_path: Path, deployment: Deployment) -> None:
    (tmp_path / "few.toml").write_text(SCENARIO, encoding="utf-8")

    def play() -> Played:
        before = shown(deployment)
        finished = locust(tmp_path, "--host", deployment.url, "--scenario", "few.toml", "--json", "--only-summary")
        assert finished.returncode == 0, finished.stderr
        return Played(finished, lines_of(finished), before, shown(deployment))

    finished, lines, before, after = played = until_conclusive(
        play, lambda one: 0 if one.registered >= MACHINES else INCONCLUSIVE
    )
    assert played.registered == MACHINES
    # An attack may begin with the run, before any machine is there: it begins as soon as the shard plays.
    assert lines["ATTACK", "consent.foreign"]["num_requests"] > 0
    forged = 'hatchfarm_worker_auth_failures_by_reason_total{reason="invalid_heartbeat_signature"}'
    assert lines["ATTACK", "signature.forged"]["num_requests"] == after[forged] - before[forged] > 0
    assert lines["GET", "summary"]["num_requests"] > 0
    assert sum(line["num_failures"] for line in lines.values()) == 0
    assert TOKEN not in finished.stdout + finished.stderr


@pytest.mark.parametrize(
    ("arguments", "token", "message"),
    [
        (
            ["--host", "http://127.0.0.1:9"],
            "",
            "HATCHFARM_API_TOKEN is not set: it must hold the owner token of http://127.0.0.1:9",
        ),
        ([], TOKEN, "give the target with --host, like --host http://127.0.0.1:8080"),
        (["--host", "http://127.0.0.1:9", "--scenario", "none.toml"], TOKEN, "none.toml: cannot be read"),
    ],
    ids=["no token", "no host", "no scenario"],
)
def test_what_is_missing_is_said_and_exits_as_a_usage_error(
    tmp_path: Path, arguments: list[str], token: str, message: str
) -> None:
    finished = locust(tmp_path, *arguments, token=token)
    assert finished.returncode == 2
    assert finished.stderr.splitlines()[-1].startswith(f"hatchfarm: {message}")


def test_a_user_whom_locust_starts_before_its_test_has_begun_waits_for_that() -> None:
    """As on a worker that comes late: Locust gives it users at once, and the master its part of the run after that."""
    with locust_side() as side:
        assert side.ask("early_user") == ["begun", "owner-o3"]
