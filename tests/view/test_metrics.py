"""A run's own metrics: what they say of a moment, that Prometheus' own tools take them, and that it can scrape them."""

from __future__ import annotations

import shutil
import subprocess
import urllib.request
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from reference_server.wire.units import SECOND_NS
from simulator.view.exposition import RunCollector
from simulator.view.serving import ServingError, serving
from simulator.worlds.progress import Kind, Phase
from tests.http.processes import running
from tests.prometheus.conftest import needs_prometheus
from tests.prometheus.prometheus import JOB, Prometheus
from tests.view.states import Played, moments

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.view.state import ViewState

START_SECONDS = 180.0


def busy() -> ViewState:
    """Return the third moment of the run that the captures show, with what was answered until then."""
    played = Played()
    looks = moments(played)
    state = [next(looks) for _ in range(3)][-1]
    return msgspec.structs.replace(
        state,
        answers={("heartbeat", 200): 2_341, ("heartbeat", 503): 2, ("heartbeat", 0): 1, ("register", 201): 1_000},
        attack_answers={("replay.exact", 401): 131, ("replay.exact", 200): 1},
        buckets=(1, 0, 2_000, *[0] * 9, 300, 42),
        response_total_ns=90 * SECOND_NS,
        alerts_raised=dict(played.progress.alerts_raised),
    )


def exposed(state: ViewState | None) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(RunCollector(lambda: state))
    return generate_latest(registry)


def samples(text: bytes) -> dict[str, float]:
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for one in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(one.labels.items()))
            found[f"{one.name.removeprefix('hatchfarm_run_')}{{{labels}}}"] = one.value
    return found


def test_each_figure_of_a_moment_is_a_sample() -> None:
    found = samples(exposed(busy()))
    expected = {
        "info{scenario=two-alerts,seed=7}": 1.0,
        "elapsed_seconds{}": 9.5,
        "duration_seconds{}": 30.0,
        "phase{phase=running}": 1.0,
        "phase{phase=judging}": 0.0,
        "machines_wanted{}": 1000.0,
        "going_on{kind=fault}": 1.0,
        "going_on{kind=attack}": 2.0,
        "heartbeats_total{result=accepted}": 2_341.0,
        "heartbeats_accepted_per_second{}": 318.0,
        "answers_total{operation=heartbeat,status=503}": 2.0,
        "answers_total{operation=heartbeat,status=none}": 1.0,
        "attack_answers_total{attack=replay.exact,status=401}": 131.0,
        "attacks_total{result=accepted}": 1.0,
        "response_time_seconds_bucket{le=0.001}": 1.0,
        "response_time_seconds_bucket{le=0.005}": 2_001.0,
        "response_time_seconds_bucket{le=10.0}": 2_301.0,
        "response_time_seconds_bucket{le=+Inf}": 2_343.0,
        "response_time_seconds_count{}": 2_343.0,
        "response_time_seconds_sum{}": 90.0,
        "unsent_starts_total{reason=held_up}": 12.0,
        "alerts_raised_total{alert=worker auth failures}": 1.0,
        "threshold_value{metric=heartbeat.accepted,threshold=rate>0.999}": 0.98113,
        "threshold_holds{metric=heartbeat.accepted,threshold=rate>0.999}": 0.0,
        "threshold_holds{metric=requests.lost,threshold=count==0}": 0.0,
        "threshold_holds{metric=heartbeat.response_time,threshold=p(99)<250ms}": 1.0,
    }
    assert {name: found.get(name) for name in expected} == expected
    assert not any(name.startswith("threshold_holds{metric=market.response_time") for name in found), "nobody knows yet"
    assert sum(found[f"phase{{phase={phase}}}"] for phase in Phase) == 1
    assert {f"going_on{{kind={kind}}}" for kind in Kind} < found.keys()


def test_before_the_first_look_there_is_nothing() -> None:
    assert exposed(None) == b""


def test_the_latest_moment_is_served_on_the_loopback_interface_until_the_run_ends() -> None:
    latest = [busy()]
    with serving(0, lambda: latest[0]) as url:
        assert url.startswith("http://127.0.0.1:")
        first = get(url)
        latest[0] = msgspec.structs.replace(busy(), accepted=9_999)
        assert samples(first)["heartbeats_total{result=accepted}"] == 2_341
        assert samples(get(url))["heartbeats_total{result=accepted}"] == 9_999
        taken = int(url.split(":")[2].partition("/")[0])
        with (
            pytest.raises(ServingError, match=f"--serve-metrics {taken}: cannot listen there on 127.0.0.1"),
            serving(taken, lambda: None),
        ):
            pass
    with pytest.raises(OSError, match="refused"):
        get(url)


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=START_SECONDS) as answer:  # noqa: S310 - a URL of ours
        body: bytes = answer.read()
    return body


@needs_prometheus
def test_promtool_finds_nothing_wrong() -> None:
    checked = subprocess.run(
        ["promtool", "check", "metrics"],  # noqa: S607 - as users call it
        input=exposed(busy()), capture_output=True, check=False, timeout=START_SECONDS,
    )  # fmt: skip
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


@needs_prometheus
async def test_prometheus_scrapes_them(tmp_path: Path) -> None:
    with serving(0, busy) as url:
        path = tmp_path / "prometheus.yml"
        scraped = {"job_name": JOB, "static_configs": [{"targets": [url.split("/")[2]]}]}
        settings: dict[str, Any] = {"global": {"scrape_interval": "500ms"}, "scrape_configs": [scraped]}
        path.write_text(yaml.safe_dump(settings), encoding="utf-8")
        command = (
            shutil.which("prometheus") or "prometheus", f"--config.file={path}",
            f"--storage.tsdb.path={tmp_path / 'data'}", "--web.listen-address=127.0.0.1:0",
        )  # fmt: skip
        async with running(command) as process:
            with trio.fail_after(START_SECONDS):
                listening = await process.stderr.line_with('msg="Listening on"')
                await process.stderr.line_with("Server is ready to receive web requests")
                prometheus = Prometheus(listening.rpartition("address=")[2])
                await prometheus.until_it_scrapes()
                query = "histogram_quantile(0.5, hatchfarm_run_response_time_seconds_bucket)"
                (found,) = (await prometheus._data("query", query=query))["result"]
            assert 0.0025 < float(found["value"][1]) <= 0.005
            assert await process.stop() == 0
