"""Locust's web UI in a real browser: a fleet is started and stopped from its form, and a conducted run is watched."""

from __future__ import annotations

import json
import re
import socket
from typing import TYPE_CHECKING

import pytest

from tests.load.processes import HATCHFARM, LOCUST, conclusively, metrics, running, serving
from tests.support.alone import INCONCLUSIVE
from tests.support.chromium import chromium
from tests.support.ports import free_port
from tests.support.waiting import until_blocking

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.chromium import Browser

MACHINES, AGAIN = 200, 30
START_SECONDS, SHOWN_SECONDS, END_SECONDS = 120.0, 120.0, 180.0
KNOWN, UNHEARD = "hatchfarm_workers_total", "hatchfarm_workers_unknown_total"
STALE, ACCEPTED = "hatchfarm_workers_stale_total", 'hatchfarm_heartbeats_total{status="200"}'
USERS, REQUESTS, FAILURES = "users", "requests", "failures"
SHOWN = """(() => {
  const lines = document.body.innerText.split("\\n").map(line => line.trim()).filter(line => line);
  const after = label => lines[lines.indexOf(label) + 1];
  const row = [...document.querySelectorAll("table tbody tr")].map(row => [...row.cells].map(cell => cell.innerText))
    .find(cells => cells[1] === "heartbeat") || ["", "", "0", "0"];
  return {status: after("Status"), users: Number(after("Users")), requests: Number(row[2]), failures: Number(row[3])};
})()"""
"""What the page shows: the state of the test, its users, and the heartbeats of the statistics table."""
SCENARIO = """\
version = 1
name = "watched"
seed = 4
duration = "{duration}"
[server.settings]
RATE_LIMIT_BURST = 1000
[fleet]
machines = 60
owners = 2
heartbeat_interval = "1500ms"
stages = [{{ duration = "1s", target = 60 }}]
[thresholds]
"heartbeat.accepted" = ["rate>0.999", "count>=100"]
"""


def button(text: str) -> str:
    """Find a button by what it says."""
    return f"[...document.querySelectorAll('button')].find(one => one.innerText.toLowerCase() === {json.dumps(text)})"


def shows(condition: str) -> str:
    """Return what the page shows once it is so, as an expression to wait for."""
    return f"(shown => ({condition}) && shown)({SHOWN})"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as started:
        yield started


@pytest.fixture
def port() -> int:
    """A port on which nothing listens."""
    return free_port()


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def start(browser: Browser, users: int) -> None:
    """Fill in the form and press its button."""
    browser.wait("document.querySelector('input[name=userCount]') !== null", SHOWN_SECONDS)
    browser.write("input[name=userCount]", str(users))
    browser.write("input[name=spawnRate]", "100")
    browser.press(button("start"))


def test_a_fleet_is_started_watched_and_stopped_from_the_form(browser: Browser, port: int) -> None:
    """The form's users are the server's machines; the button silences each of them, and no heartbeat is uncounted."""
    with serving({"WORKER_STATUS_STALE_SECONDS": "1", "RATE_LIMIT_BURST": "1000"}) as url:
        command = [*LOCUST, "--host", url, "--web-host", "127.0.0.1", "--web-port", str(port)]
        with running(command):
            until_blocking(lambda: listens(port), START_SECONDS)
            with browser.tab(f"http://127.0.0.1:{port}/", 1280):
                start(browser, MACHINES)
                first = browser.wait(shows(f"shown.users === {MACHINES} && shown.requests > 0"), SHOWN_SECONDS)
                assert first["status"].lower() == "running"
                until_blocking(lambda: (now := metrics(url))[KNOWN] == MACHINES and now[UNHEARD] == 0, SHOWN_SECONDS)
                grown = browser.wait(shows(f"shown.requests > {first[REQUESTS]}"), SHOWN_SECONDS)
                assert grown[FAILURES] == 0
                browser.press(button("stop"))
                browser.wait(shows("shown.status.toLowerCase() === 'stopped'"), SHOWN_SECONDS)
                until_blocking(lambda: metrics(url)[STALE] == MACHINES, SHOWN_SECONDS)
                silent = metrics(url)
                browser.wait(shows(f"shown.requests === {silent[ACCEPTED]:.0f}"), SHOWN_SECONDS)
                assert silent[KNOWN] == MACHINES
                assert silent["hatchfarm_alert_stale_workers"] == 1
                assert metrics(url)[ACCEPTED] == silent[ACCEPTED]
                browser.press(button("new"))
                start(browser, AGAIN)
                browser.wait(shows(f"shown.users === {AGAIN} && shown.requests > 0"), SHOWN_SECONDS)
                assert metrics(url)[KNOWN] == MACHINES + AGAIN


def test_who_stops_a_run_in_its_page_gets_a_verdict_of_what_was(browser: Browser, port: int, tmp_path: Path) -> None:
    """It is an interrupted run, and so never a pass."""
    (tmp_path / "watched.toml").write_text(SCENARIO.format(duration="2m"), encoding="utf-8")
    command = [*HATCHFARM, "run", "watched.toml", "--web", "--web-port", str(port), "--no-reports"]
    with running(command, cwd=tmp_path) as process:
        until_blocking(lambda: listens(port) or process.poll() is not None, START_SECONDS)
        with browser.tab(f"http://127.0.0.1:{port}/", 1280):
            first = browser.wait(shows("shown.users === 60 && shown.requests > 0"), SHOWN_SECONDS)
            grown = browser.wait(shows(f"shown.requests > {first[REQUESTS]}"), SHOWN_SECONDS)
            assert (grown["status"].lower(), grown[USERS], grown[FAILURES]) == ("running", 60, 0)
            browser.press(button("stop"))
            output, _ = process.communicate(timeout=END_SECONDS)
    assert process.returncode == INCONCLUSIVE, output
    assert re.search(r"Locust ended the test after [0-9.]+s: it was stopped there", output)


def test_a_run_shows_itself_while_it_lasts_and_ends_by_itself(browser: Browser, port: int, tmp_path: Path) -> None:
    """The page shows the fleet as users and heartbeats as requests; nobody presses anything, and a verdict comes."""
    (tmp_path / "watched.toml").write_text(SCENARIO.format(duration="12s"), encoding="utf-8")
    output: list[str] = []

    def run() -> int:
        command = [*HATCHFARM, "run", "watched.toml", "--web", "--web-port", str(port), "--no-reports"]
        with running(command, cwd=tmp_path) as process:
            until_blocking(lambda: listens(port) or process.poll() is not None, START_SECONDS)
            with browser.tab(f"http://127.0.0.1:{port}/", 1280):
                browser.wait(shows("shown.users === 60 && shown.requests > 0"), SHOWN_SECONDS)
            output.append(process.communicate(timeout=END_SECONDS)[0])
        return process.returncode

    assert conclusively(run) == 0, output[-1]
    assert "PASS watched" in output[-1]
    assert not listens(port)
