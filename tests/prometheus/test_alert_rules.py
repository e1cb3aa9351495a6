"""The printed rules by Prometheus' own tools: when each alert fires and clears, and what it tells who is woken."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from reference_server.alert_rules import ALERT_RULES
from reference_server.core.auth_failures import HEARTBEAT_REASONS, POLICY_FETCH_REASONS
from reference_server.wire.exposition import Figures, expose
from simulator.client.checking import parse_metrics
from tests.prometheus.conftest import PRINT_RULES, TIMEOUT_SECONDS, needs_prometheus
from tests.support.pages import block, page

if TYPE_CHECKING:
    from pathlib import Path

PAGE = page("prometheus")
RULES: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in yaml.safe_load(ALERT_RULES)["groups"] for rule in group["rules"]
}
STALE, AUTH, MISSING = "HatchFarmStaleWorkers", "HatchFarmWorkerAuthFailures", "HatchFarmMetricsMissing"
TARGET = {"job": "farm", "instance": "a:8080"}
OTHER = {"job": "farm", "instance": "b:8080"}


def series(name: str, values: str, target: dict[str, str] = TARGET, **labels: str) -> dict[str, str]:
    """One input series, a value a minute."""
    shown = ",".join(f'{label}="{value}"' for label, value in {**target, **labels}.items())
    return {"series": f"{name}{{{shown}}}", "values": values}


def alert(name: str, summary: str, description: str, target: dict[str, str] = TARGET) -> dict[str, Any]:
    """One firing alert with all that it must say."""
    severity = {STALE: "warning", AUTH: "critical", MISSING: "critical"}[name]
    runbook = RULES[name]["annotations"]["runbook"]
    return {
        "exp_labels": {**target, "severity": severity},
        "exp_annotations": {"summary": summary, "description": description, "runbook": runbook},
    }


STALE_ALERT = alert(
    STALE,
    "Workers of a:8080 have fallen silent.",
    "3 of 600 workers had no heartbeat accepted for longer than WORKER_STATUS_STALE_SECONDS.",
)
AUTH_ALERT = alert(
    AUTH,
    "Workers of a:8080 fail to prove who they are.",
    "12 failures within WORKER_AUTH_FAIL_ALERT_WINDOW_SECONDS, which reaches WORKER_AUTH_FAIL_ALERT_THRESHOLD. "
    "By reason, within the last five minutes and estimated: invalid_machine_token 4, nonce_replayed 12.",
)
MISSING_TEXT = "Prometheus has read none for a minute, so neither of the other alerts can fire."
HEALTHY = [
    series("up", "1x9"),
    series("hatchfarm_uptime_seconds", "0+60x9"),
    series("hatchfarm_workers_total", "600x9"),
    series("hatchfarm_alert_stale_workers", "0x9"),
    series("hatchfarm_alert_worker_auth_failures", "0x9"),
]


def with_series(*changed: dict[str, str]) -> list[dict[str, str]]:
    """A healthy server's series, but for these."""
    by_name = {one["series"]: one for one in [*HEALTHY, *changed]}
    return list(by_name.values())


Expected = list[tuple[str, str, list[dict[str, Any]]]]
CASES: dict[str, tuple[list[dict[str, str]], Expected]] = {
    "stale workers fire with the first scrape that says so and clear with the first that does not": (
        with_series(
            series("hatchfarm_alert_stale_workers", "0 0 1 1 0 0"),
            series("hatchfarm_workers_stale_total", "0 0 3 3 0 0"),
        ),
        [
            ("1m59s", STALE, []),
            ("2m", STALE, [STALE_ALERT]),
            ("3m59s", STALE, [STALE_ALERT]),
            ("4m", STALE, []),
            ("3m", AUTH, []),
            ("5m", MISSING, []),
        ],
    ),
    "auth failures fire with the first scrape that says so, name their reasons, and clear": (
        with_series(
            series("hatchfarm_alert_worker_auth_failures", "0 0 0 0 0 1 1 0 0"),
            series("hatchfarm_worker_auth_failures_recent", "0 0 0 2 8 12 11 9 2"),
            series("hatchfarm_worker_auth_failures_by_reason_total", "0 0 3 6 9 12 12 12", reason="nonce_replayed"),
            series(
                "hatchfarm_worker_auth_failures_by_reason_total", "7 7 8 9 10 11 11 11", reason="invalid_machine_token"
            ),
            series("hatchfarm_worker_auth_failures_by_reason_total", "9x9", reason="invalid_timestamp"),
        ),
        [
            ("4m59s", AUTH, []),
            ("5m", AUTH, [AUTH_ALERT]),
            ("7m", AUTH, []),
            ("5m", STALE, []),
            ("8m", MISSING, []),
        ],
    ),
    "nothing fires while counts grow that the gauges do not call an alert": (
        with_series(
            series("hatchfarm_workers_unknown_total", "600x9"),
            series("hatchfarm_worker_auth_failures_total", "0+1000x9"),
            series("hatchfarm_worker_auth_failures_recent", "9x9"),
            series("up", "0x9", {"job": "another", "instance": "c:80"}),
        ),
        [(moment, name, []) for moment in ("0m", "1m", "5m", "9m") for name in RULES],
    ),
    "of two servers the one concerned is named": (
        with_series(
            series("hatchfarm_alert_stale_workers", "1x9"),
            series("hatchfarm_workers_stale_total", "3x9"),
            series("hatchfarm_alert_stale_workers", "0x9", OTHER),
            series("hatchfarm_workers_stale_total", "0x9", OTHER),
            series("hatchfarm_workers_total", "900x9", OTHER),
        ),
        [("5m", STALE, [STALE_ALERT])],
    ),
    "a server that shows its gauges alone is told of all the same": (
        [series("hatchfarm_alert_stale_workers", "1x9"), series("hatchfarm_alert_worker_auth_failures", "1x9")],
        [
            (
                "5m",
                STALE,
                [
                    alert(
                        STALE,
                        "Workers of a:8080 have fallen silent.",
                        "Some of its workers had no heartbeat accepted for longer than WORKER_STATUS_STALE_SECONDS.",
                    ),
                ],
            ),
            (
                "5m",
                AUTH,
                [
                    alert(
                        AUTH,
                        "Workers of a:8080 fail to prove who they are.",
                        "Too many failures within WORKER_AUTH_FAIL_ALERT_WINDOW_SECONDS, which reaches "
                        "WORKER_AUTH_FAIL_ALERT_THRESHOLD. "
                        "By reason, within the last five minutes and estimated: none.",
                    ),
                ],
            ),
        ],
    ),
    "a server that cannot be read fires after a minute, silences what it can no longer know, and clears": (
        [
            series("up", "1 1 0 0 0 1 1 1"),
            series("up", "1x9", OTHER),
            series("hatchfarm_uptime_seconds", "0 60 stale _ _ 0 60 120"),
            series("hatchfarm_uptime_seconds", "0+60x9", OTHER),
            series("hatchfarm_alert_stale_workers", "1 1 stale _ _ 0 0 0"),
        ],
        [
            ("1m", MISSING, []),
            ("2m59s", MISSING, []),
            ("3m", MISSING, [alert(MISSING, "The metrics of a:8080 are missing.", MISSING_TEXT)]),
            ("3m", STALE, []),
            ("5m", MISSING, []),
        ],
    ),
    "a server that was never there fires after a minute": (
        [series("up", "0x9", {"job": "another", "instance": "c:80"})],
        [
            ("59s", MISSING, []),
            ("1m", MISSING, [alert(MISSING, "The metrics of any HatchFarm server are missing.", MISSING_TEXT, {})]),
            ("5m", STALE, []),
            ("5m", AUTH, []),
        ],
    ),
}


def promtool(folder: Path, rules: Path, case: str) -> subprocess.CompletedProcess[str]:
    """Have promtool test a rule file against one case, evaluating it every second."""
    inputs, expected = CASES[case]
    test = {
        "rule_files": [str(rules)],
        "evaluation_interval": "1s",
        "tests": [
            {
                "interval": "1m",
                "input_series": inputs,
                "alert_rule_test": [
                    {"eval_time": moment, "alertname": name, "exp_alerts": alerts} for moment, name, alerts in expected
                ],
            },
        ],
    }
    path = folder / "test.yml"
    path.write_text(yaml.safe_dump(test), encoding="utf-8")
    return subprocess.run(
        ["promtool", "test", "rules", str(path)],  # noqa: S607 - whichever is installed
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
    )


@needs_prometheus
@pytest.mark.parametrize("case", CASES)
def test_promtool_sees_that(case: str, printed_rules: Path, tmp_path: Path) -> None:
    done = promtool(tmp_path, printed_rules, case)
    assert (done.returncode, done.stdout + done.stderr) == (0, f"Unit Testing:  {tmp_path}/test.yml\n  SUCCESS\n\n")


FIRES, SURGES, _, _, _, UNREAD, NEVER = CASES
STALE_GAUGE, AUTH_GAUGE = "hatchfarm_alert_stale_workers", "hatchfarm_alert_worker_auth_failures"
MUTANTS = {
    "the stale rule fires when nobody is stale": (FIRES, f"{STALE_GAUGE} == 1", f"{STALE_GAUGE} == 0"),
    "the stale rule watches the other gauge": (FIRES, STALE_GAUGE, AUTH_GAUGE),
    "the auth rule watches the other gauge": (SURGES, AUTH_GAUGE, STALE_GAUGE),
    "the stale rule waits": (FIRES, f"{STALE_GAUGE} == 1", f"{STALE_GAUGE} == 1\n        for: 1s"),
    "the auth rule goes on": (SURGES, f"{AUTH_GAUGE} == 1", f"max_over_time({AUTH_GAUGE}[2m]) == 1"),
    "a severity is another": (FIRES, "severity: warning", "severity: critical"),
    "a description counts something else": (FIRES, "hatchfarm_workers_stale_total{", "hatchfarm_workers_total{"),
    "reasons that did not occur are listed": (SURGES, "[5m]) > 0", "[5m])"),
    "missing metrics wait for nothing": (UNREAD, "for: 1m", "for: 0s"),
    "a server that is down is not looked for": (UNREAD, "up == 0", "up == 2"),
    "a server that never was is not looked for": (
        NEVER,
        "absent(hatchfarm_uptime_seconds)",
        "(hatchfarm_uptime_seconds < 0)",
    ),
    "any target that is down counts": (NEVER, "present_over_time(hatchfarm_uptime_seconds[1d])", "up"),
}


@needs_prometheus
@pytest.mark.parametrize("mutant", MUTANTS)
def test_promtool_does_not_accept_that(mutant: str, tmp_path: Path) -> None:
    """The cases can fail: each of these broken rule files is loadable, and is told from the right one."""
    case, before, after = MUTANTS[mutant]
    assert before in ALERT_RULES
    rules = tmp_path / "broken.rules.yml"
    rules.write_text(ALERT_RULES.replace(before, after), encoding="utf-8")
    check = subprocess.run(
        ["promtool", "check", "rules", str(rules)],  # noqa: S607 - as above
        capture_output=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
    )
    assert check.returncode == 0
    done = promtool(tmp_path, rules, case)
    assert done.returncode == 1
    assert "FAILED" in done.stderr


@needs_prometheus
def test_promtool_accepts_the_printed_file(printed_rules: Path) -> None:
    done = subprocess.run(
        ["promtool", "check", "rules", "--lint=all", "--lint-fatal", str(printed_rules)],  # noqa: S607 - as above
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "SUCCESS: 3 rules found" in done.stdout


def test_the_command_prints_the_rules_whatever_the_settings_and_starts_no_server() -> None:
    """Settings that a server would refuse to start with do not matter to it."""
    done = subprocess.run(
        PRINT_RULES, env={"PORT": "none"}, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, ALERT_RULES, "")


def test_each_rule_says_what_it_is_what_to_do_and_where_there_is_more() -> None:
    """Every alert has a severity, a runbook that needs no network, and a heading in the docs that it names."""
    assert list(RULES) == [STALE, AUTH, MISSING]
    for name, rule in RULES.items():
        assert set(rule["labels"]) == {"severity"}
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}
        assert "://" not in str(rule)
        assert rule["annotations"]["runbook"].endswith(f"\nMore: docs/prometheus.md, {name}.\n")
        assert f"\n### {name}\n" in PAGE


def test_rules_and_docs_name_only_metrics_and_reasons_that_the_server_shows() -> None:
    reasons = dict.fromkeys(HEARTBEAT_REASONS + POLICY_FETCH_REASONS, 0)
    figures = Figures(0, 0, 0, 0, 0, 0, reasons, 0, alert_stale_workers=False, alert_auth_failures=False, nonces=0,
                      rate_limit_buckets=0, rate_limited=0, heartbeat_answers={})  # fmt: skip
    shown = {name.partition("{")[0] for name in parse_metrics(expose(figures).decode())}
    for text in (ALERT_RULES, PAGE):
        assert set(re.findall(r"hatchfarm_(?!run_)\w+", text)) <= shown  # a run has its own, of which the page says so
        assert set(re.findall(r"\b(?:nonce|invalid|timestamp)_[a-z_]*[a-z]\b", text)) <= set(reasons)


@needs_prometheus
def test_promtool_accepts_the_configuration_of_the_docs(printed_rules: Path, tmp_path: Path) -> None:
    """The docs' prometheus.yml can be pasted, with its two files beside it."""
    configuration = block("yaml", "rule_files")
    (tmp_path / "prometheus.yml").write_text(configuration, encoding="utf-8")
    (tmp_path / "hatchfarm.token").write_text("token", encoding="utf-8")
    shutil.copy(printed_rules, tmp_path / "hatchfarm.rules.yml")
    done = subprocess.run(
        ["promtool", "check", "config", str(tmp_path / "prometheus.yml")],  # noqa: S607 - as above
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 rule files found" in done.stdout
