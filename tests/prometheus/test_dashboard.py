"""The dashboard: every metric of the server is on it, and every query is answered by a real Prometheus."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import trio

from reference_server import dashboard
from simulator.deployment.server_process import own_server
from tests.prometheus.conftest import TIMEOUT_SECONDS, needs_prometheus
from tests.prometheus.prometheus import JOB, prometheus_watching
from tests.support.sources import files_of, tree_of

if TYPE_CHECKING:
    from pathlib import Path

TOKEN = "token-that-prometheus-reads-from-a-file"
NAME = re.compile(r"hatchfarm_[a-z_]+")
ABSENT = (
    "hatchfarm_shared_", "hatchfarm_nonce_store_up", "hatchfarm_nonces_owed", "hatchfarm_nonce_fallbacks",
    "hatchfarm_nonce_conflicts", "hatchfarm_rate_limiter_",
)  # fmt: skip
"""What a server has with Redis alone: each begins one of these."""


def names_in_the_code() -> set[str]:
    """Return the metrics that the server's modules name; some of those that count without their `_total`."""
    found = set()
    for path in files_of("reference_server"):
        if path.name in {"dashboard.py", "alert_rules.py"}:
            continue
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and NAME.fullmatch(node.value):
                found.add(node.value)
    return found


def plain(name: str) -> str:
    return name.removesuffix("_total")


def on_the_dashboard() -> set[str]:
    return set(NAME.findall(" ".join(dashboard.queries())))


def test_every_metric_of_the_server_is_on_it_or_is_left_out_for_a_reason() -> None:
    """And nothing that the server has not."""
    shown = {plain(name) for name in on_the_dashboard()}
    left_out = {plain(name) for name in dashboard.LEFT_OUT}
    there = {plain(name) for name in names_in_the_code()}
    assert len(there) > 30
    assert there == shown | left_out
    assert not shown & left_out
    assert all(dashboard.LEFT_OUT.values())


def panels() -> list[dict[str, Any]]:
    return [one for one in dashboard.dashboard()["panels"] if one["type"] != "row"]


def test_panels_are_whole_and_lie_beside_each_other() -> None:
    made = dashboard.dashboard()
    assert [one["id"] for one in made["panels"]] == list(range(1, len(made["panels"]) + 1))
    cells: set[tuple[int, int]] = set()
    for one in made["panels"]:
        place = one["gridPos"]
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not own & cells, one["title"]
        assert place["x"] + place["w"] <= dashboard.WIDTH
        cells |= own
    for one in panels():
        assert one["title"]
        assert one["targets"]
        assert len({target["refId"] for target in one["targets"]}) == len(one["targets"])
        for target in one["targets"]:
            assert dashboard.TARGET in target["expr"]
            assert "{}" not in target["expr"]


def test_it_names_no_server_and_no_source_of_its_own() -> None:
    made = dashboard.dashboard()
    assert {one["datasource"]["uid"] for one in panels()} == {"${source}"}
    assert [one["name"] for one in made["templating"]["list"]] == ["source", "job", "instance"]
    assert "://" not in dashboard.dashboard_json()


def test_the_command_prints_it_whatever_the_settings_and_starts_no_server() -> None:
    command = (sys.executable, "-m", "simulator.commands.cli", "serve", "--print-dashboard")
    done = subprocess.run(
        command, env={"PORT": "none"}, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == dashboard.dashboard()


def as_grafana_asks(expression: str) -> str:
    """Put in what Grafana puts in for its variables: all servers, and an interval of four scrapes."""
    for variable, value in (("$job", JOB), ("$instance", ".*"), ("$__rate_interval", "1m")):
        expression = expression.replace(variable, value)
    assert "$" not in expression
    return expression


@needs_prometheus
async def test_a_real_prometheus_answers_every_query(tmp_path: Path) -> None:
    """Those over Redis with nothing, for a server that has none; all others with a value a server."""
    rules = tmp_path / "no.rules.yml"
    rules.write_text("groups: []\n", encoding="utf-8")
    answers: dict[str, list[Any]] = {}
    settings = {"HATCHFARM_STATE_FILE": str(tmp_path / "state.json")}
    with trio.fail_after(TIMEOUT_SECONDS):
        async with (
            own_server(settings, TOKEN) as server,
            prometheus_watching(server.url, TOKEN, rules, tmp_path / "prometheus") as prometheus,
        ):
            await prometheus.until_scraped(2)
            for panel in panels():
                for target in panel["targets"]:
                    answers[target["expr"]] = await prometheus.ask(as_grafana_asks(target["expr"]))
            wrong = await prometheus.ask(as_grafana_asks(f"hatchfarm_no_such_metric{{{dashboard.TARGET}}}"))
    empty = {expression for expression, found in answers.items() if not found}
    assert {name for one in empty for name in NAME.findall(one)} == {
        name for name in on_the_dashboard() if name.startswith(ABSENT)
    }
    assert all(one["metric"]["instance"] for found in answers.values() for one in found)
    assert wrong == []
