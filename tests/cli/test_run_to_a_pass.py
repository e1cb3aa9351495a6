"""A run of two attacks against its own server that passes: what it prints and writes, and the line that repeats it."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from simulator.checkers import CHECKERS
from simulator.history.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Hatchfarm
    from tests.support.forked import Finished

SCENARIO = "my runs/tiny one.toml"
THRESHOLDS = """\
"heartbeat.accepted" = ["rate==1"]
"attacks.sent" = ["count>=12"]
"attacks.accepted" = ["count==0"]
"machines.connected" = ["max==20"]
"alerts.errors" = ["count==0"]
"alerts.worker_auth_failures.fired" = ["count==1"]
"""
FOREIGN_SETTINGS = {
    "REQUIRE_HTTPS": "true",
    "REDIS_ADDR": "127.0.0.1:1",
    "PORT": "1",
    "HOST": "192.0.2.1",
    "WORKER_STATUS_STALE_SECONDS": "1",
    "HATCHFARM_API_TOKEN": "a-token-for-something-else",
}
ROOT = Path(__file__).parent.parent.parent
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
SECRET = re.compile(r"(?<![0-9a-f])[0-9a-f]{48}(?![0-9a-f])")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, hatchfarm_in: Callable[[Path], Hatchfarm]) -> Hatchfarm:
    return hatchfarm_in(tmp_path_factory.mktemp("pass"))


@pytest.fixture(scope="module")
def passed(folder: Hatchfarm, conclusively: Callable[[Callable[[], Finished]], Finished]) -> Finished:
    """One run, among settings meant for another server."""
    path = folder.write(SCENARIO, duration="4s", attacks=True, thresholds=THRESHOLDS)
    return conclusively(lambda: folder.run("run", path, env=FOREIGN_SETTINGS))


@pytest.fixture(scope="module")
def verdict(passed: Finished, folder: Hatchfarm) -> dict[str, Any]:
    assert passed.code == 0, passed
    return folder.verdict()


def test_it_exits_with_0_and_nothing_on_standard_error(passed: Finished) -> None:
    assert (passed.code, passed.err) == (0, ""), passed


def test_it_begins_with_what_it_does_and_the_seed(passed: Finished) -> None:
    assert passed.lines[:2] == ["tiny: 20 machines, 4s, seed 9", "Twenty machines [and brackets]."]


def test_it_ends_with_verdict_results_and_the_line_that_reproduces_it(
    passed: Finished, verdict: dict[str, Any], folder: Hatchfarm
) -> None:
    output, results, report, bundle, reproduce = passed.lines[-5:]
    assert output == "PASS tiny"
    written = folder.folder / results.removeprefix("Results: ")
    assert written.resolve() == (folder.folder / "results" / "tiny" / "latest").resolve()
    assert (folder.folder / report.removeprefix("Report: ")).read_bytes().startswith(b"<!doctype html>")
    manifest = hashlib.sha256((written / "manifest.json").read_bytes()).hexdigest()
    assert bundle == f"Bundle: sha256:{manifest}"
    assert reproduce == f"Reproduce with: {verdict['reproduce']}"
    assert shlex.split(verdict["reproduce"]) == ["hatchfarm", "run", SCENARIO, "--seed", "9"]


def test_off_a_terminal_it_prints_plain_lines_one_a_verdict(passed: Finished, verdict: dict[str, Any]) -> None:
    assert not set(passed.out) & {"\x1b", "\r", "\x07"}
    for one in [*verdict["checkers"], *verdict["thresholds"]]:
        line = re.compile(rf"{one['status']}\s+{re.escape(one['name'])}\s+{re.escape(one['summary'])}")
        assert [text for text in passed.lines if line.fullmatch(text)] != [], one


def test_the_verdict_file_is_valid_against_the_published_schema(verdict: dict[str, Any]) -> None:
    published = ROOT / "simulator" / "judging" / "verdict.schema.json"
    jsonschema.validate(verdict, json.loads(published.read_text(encoding="utf-8")))


def test_the_verdict_file_says_what_was_run_and_what_held(verdict: dict[str, Any]) -> None:
    assert (verdict["scenario"], verdict["seed"], verdict["target"]) == ("tiny", 9, "its own server")
    assert (verdict["status"], verdict["exit_code"], verdict["interrupted"]) == ("pass", 0, None)
    assert verdict["warnings"] == []
    assert [one["name"] for one in verdict["checkers"]] == [*CHECKERS, "features", "log"]
    assert len(verdict["thresholds"]) == THRESHOLDS.count("\n")
    assert {one["status"] for one in [*verdict["checkers"], *verdict["thresholds"]]} == {"pass", "n/a"}
    idle = [one["name"] for one in verdict["checkers"] if one["status"] == "n/a"]
    assert idle == ["revocation", "durability", "nonces", "ledger", "metering", "matching", "isolation", "clock"]
    requests = verdict["requests"]
    assert requests["attacks"] >= 12
    assert requests["lost"] == 0
    # Registration, consent and policy fetch of each machine, and its first heartbeat at least.
    assert requests["total"] >= 4 * 20 + requests["attacks"]


def test_no_secret_is_printed_or_written(passed: Finished, folder: Hatchfarm) -> None:
    """Machine tokens and the token of a run's own server are 48 hexadecimal digits."""
    bundle = (folder.folder / "results" / "tiny" / "latest").resolve()
    files = {path.name: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    tables = [gzip.decompress(content) for name, content in files.items() if name.endswith(".gz")]
    assert len(tables) == len(TABLES)
    everything = passed.out + passed.err + b"".join([*files.values(), *tables]).decode("utf-8", "replace")
    assert SECRET.search("x" + "0123456789abcdef" * 3)
    assert SECRET.findall(everything) == []
    assert FOREIGN_SETTINGS["HATCHFARM_API_TOKEN"] not in everything


def test_the_reproducing_line_works_and_a_terminal_shows_it_live(
    passed: Finished, folder: Hatchfarm, conclusively: Callable[[Callable[[], Finished]], Finished]
) -> None:
    program, *arguments = shlex.split(passed.lines[-1].removeprefix("Reproduce with:"))
    assert program == "hatchfarm"
    before = (folder.folder / "results" / "tiny" / "latest").resolve()
    again = conclusively(lambda: folder.run_on_terminal(*arguments, "--no-reports"))
    assert again.code == 0, again
    shown = ESCAPES.sub("", again.out).replace("\r", "\n")
    assert "\x1b[" in again.out
    # In place: the cursor goes back up to draw the same lines anew, and hides meanwhile.
    assert again.out.count("\x1b[1A") > 10
    assert "\x1b[?25l" in again.out
    assert again.out.rindex("\x1b[?25h") > again.out.rindex("\x1b[?25l")
    assert re.search(r"^phase +running$", shown, re.MULTILINE)
    assert re.search(r"^machines +20 of 20$", shown, re.MULTILINE)
    assert len(set(re.findall(r"0:0([0-9]) of 0:04", shown))) > 2
    lines = [line.rstrip() for line in shown.splitlines() if line.strip()]
    assert lines[-4] == "PASS tiny"
    assert lines[-1] == passed.lines[-1]
    after = (folder.folder / "results" / "tiny" / "latest").resolve()
    assert before != after
    assert folder.verdict()["seed"] == 9
