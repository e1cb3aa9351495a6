"""Runs against a deployment that somebody else started, and against things that are no such deployment."""

from __future__ import annotations

import json
import ssl
from typing import TYPE_CHECKING

import msgspec
import pytest

from simulator.checkers.verdict import Status
from simulator.client.target import Target
from simulator.judging.facts import settings_warnings
from simulator.judging.judging import judge_run
from simulator.running.scenario_needs import target_warnings
from simulator.scenario.loading import parse_scenario
from tests.report.runs import uneventful

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from tests.cli.conftest import Deployment, Hatchfarm
    from tests.support.forked import Finished

THRESHOLDS = '"heartbeat.accepted" = ["rate==1"]\n"machines.connected" = ["max==20"]\n'


def http(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (status, len(body), body)


HEALTHY = {"/health": http(b'{"status":"healthy"}')}


def test_a_deployment_passes_and_its_token_is_told_to_nobody(
    hatchfarm: Hatchfarm, deployment: Deployment, conclusively: Callable[[Callable[[], Finished]], Finished]
) -> None:
    path = hatchfarm.write("tiny.toml", duration="2500ms", thresholds=THRESHOLDS)
    env = {"HATCHFARM_TARGET": deployment.url, "HATCHFARM_API_TOKEN": deployment.token}
    passed = conclusively(lambda: hatchfarm.run("run", path, "--no-reports", env=env))
    assert (passed.code, passed.err) == (0, ""), passed
    verdict = hatchfarm.verdict()
    assert (verdict["status"], verdict["target"]) == ("pass", deployment.url)
    assert passed.lines[-1] == f"Reproduce with: hatchfarm run tiny.toml --seed 9 --target {deployment.url}"
    assert deployment.token not in passed.out + json.dumps(verdict)
    warnings = [f"warning: {one}" for one in verdict["warnings"]]
    assert len(warnings) > 0
    assert passed.lines[2 : 2 + len(warnings)] == warnings, "before the run, while it can still be mended"
    at = passed.lines.index("PASS tiny. Judged by the published profile: 0 advisories.")
    assert passed.lines[at - len(warnings) : at] == warnings


def test_a_wrong_token_exits_with_2_and_names_the_flag(hatchfarm: Hatchfarm, deployment: Deployment) -> None:
    path = hatchfarm.write("tiny.toml", duration="1s")
    refused = hatchfarm.run("run", path, "--target", deployment.url, "--token", "not-the-token")
    assert refused.code == 2
    assert refused.err == (
        f"hatchfarm run: {deployment.url} refuses the owner token: "
        "give the right one in HATCHFARM_API_TOKEN or by --token-file\n"
    )
    assert "not-the-token" not in refused.out


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ({}, "/metrics answered 404: is this a HatchFarm server?"),
        ({"/health": http(b"<html></html>")}, "/health answered 200: is this a HatchFarm server?"),
        ({"/health": http(b"", b"503 Sorry")}, "/health answered 503: is this a HatchFarm server?"),
        ({"/health": b"SSH-2.0-OpenSSH_9.9\r\n"}, " cannot be reached (no HTTP answer: "),
        ({"/health": b"\x00\xff\r\n\r\n" * 40}, " cannot be reached (no HTTP answer: "),
        ({"/health": b""}, " cannot be reached (no HTTP answer: closed before the answer was whole)"),
        (HEALTHY, "/metrics answered 404: is this a HatchFarm server?"),
        ({**HEALTHY, "/metrics": http(b"<html>\n</html>\n")}, "/metrics is not in the Prometheus text format ("),
        ({**HEALTHY, "/metrics": http(b'hatchfarm_x{a="b\n')}, "/metrics is not in the Prometheus text format ("),
        ({**HEALTHY, "/metrics": http(b"\xff\x00")}, "/metrics is not in the Prometheus text format ("),
    ],
    ids=["404", "other page", "503", "SSH", "garbage", "nothing", "no metrics", "HTML", "half a line", "bytes"],
)
@pytest.mark.parametrize("command", ["run", "doctor"])
def test_a_target_that_is_no_hatchfarm_exits_with_2_and_one_message(
    hatchfarm: Hatchfarm,
    impostor: Callable[[Mapping[str, bytes]], AbstractContextManager[str]],
    answers: dict[str, bytes],
    says: str,
    command: str,
) -> None:
    path = hatchfarm.folder / hatchfarm.write("tiny.toml", duration="1s")
    scenario = [str(path), "--out", str(hatchfarm.folder / "results")] if command == "run" else []
    with impostor(answers) as url:
        refused = hatchfarm.invoke(command, *scenario, "--target", url, "--token", "x")
    assert refused.code == 2
    if command == "run":
        assert refused.err.startswith(f"hatchfarm run: {url}{says}")
        assert refused.err.count("\n") == 1
    else:
        (wrong,) = [line for line in refused.lines if line.startswith("wrong")]
        assert " ".join(wrong.split()).startswith(f"wrong target {url}{says}")


def test_something_that_only_shows_metrics_is_refused_when_it_takes_no_policy(
    hatchfarm: Hatchfarm, impostor: Callable[[Mapping[str, bytes]], AbstractContextManager[str]]
) -> None:
    path = hatchfarm.folder / hatchfarm.write("tiny.toml", duration="1s")
    with impostor({**HEALTHY, "/metrics": http(b"")}) as url:
        refused = hatchfarm.invoke(
            "run", str(path), "--out", str(hatchfarm.folder / "results"), "--target", url, "--token", "x"
        )
    assert refused.code == 2
    assert refused.err.startswith("hatchfarm run: POST /policies answered 404: ")


def target(*, own_addresses: bool) -> Target:
    return Target("https", "farm.example", 443, "192.0.2.7", "token", own_addresses, ssl.create_default_context())


@pytest.mark.parametrize(
    ("own_addresses", "workers", "warnings"),
    [
        (True, 0, []),
        (
            False,
            0,
            ["all machines share one address, so the server's per-IP limits count the whole fleet as one client"],
        ),
        (
            True,
            7,
            [
                (
                    "the target already has 7 workers: whatever they do widens what the checkers must allow, and when "
                    "they go stale its alert fires, whatever this run does. Start it anew, or judge a fresh one"
                )
            ],
        ),
    ],
)
def test_a_run_warns_of_what_weakens_its_verdict(own_addresses: bool, workers: int, warnings: list[str]) -> None:  # noqa: FBT001 - a column of the table
    assert target_warnings(target(own_addresses=own_addresses), workers, over_hosts=False) == warnings


SCENARIO = """
version = 1
name = "settings"
duration = "5s"
[fleet]
machines = 10
heartbeat_interval = "1s"
"""


def test_a_target_is_judged_by_its_own_staleness_and_says_so() -> None:
    scenario = parse_scenario(SCENARIO)
    (unknown,) = settings_warnings(scenario, None)
    assert unknown.startswith("the target does not show after how many seconds it calls workers stale: ")
    assert unknown.endswith("how many must be is not judged")
    assert settings_warnings(scenario, 60.0) == []
    (warning,) = settings_warnings(scenario, 20.0)
    assert warning.startswith("the target calls workers stale after 20s, not after the scenario's 60s")


def test_a_target_is_asked_to_have_the_alert_settings_that_the_api_does_not_show() -> None:
    settings = "[server]\nsettings = { WORKER_AUTH_FAIL_ALERT_THRESHOLD = 12, AUDIT_EVENTS_PER_STREAM = 50 }\n"
    (warning,) = settings_warnings(parse_scenario(SCENARIO + settings), 60.0)
    assert "as if started with WORKER_AUTH_FAIL_ALERT_THRESHOLD=12, AUDIT_EVENTS_PER_STREAM=50:" in warning


def test_a_bound_on_memory_is_judged_of_a_server_of_the_runs_own_alone() -> None:
    """Of a target nobody sees it: that says so, and makes no run inconclusive."""
    scenario = parse_scenario(SCENARIO + '[thresholds]\n"server.memory" = ["max<1MB"]\n')
    (warning,) = settings_warnings(scenario, 60.0)
    assert warning.startswith("server.memory is not judged: ")
    record, history = uneventful()
    bounded = msgspec.structs.replace(record, thresholds={"server.memory": ("max<1MB",)}, memory_max_bytes=2_000_000)
    own = msgspec.structs.replace(bounded, given_target=False)
    assert [one.status for one in judge_run(own, history).thresholds] == [Status.FAIL]
    silent = msgspec.structs.replace(own, memory_max_bytes=None)
    assert [one.status for one in judge_run(silent, history).thresholds] == [Status.INCONCLUSIVE]
    other = msgspec.structs.replace(bounded, given_target=True, memory_max_bytes=None)
    assert judge_run(other, history).thresholds == []
