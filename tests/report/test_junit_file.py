"""`junit.xml`, as a JUnit parser reads it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

import junitparser
import pytest

from simulator.report.junit import junit_xml
from simulator.report.text import one_line
from tests.report.runs import HOSTILE, broken, hostile, report_input, uneventful, unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from simulator.history.rows import History
    from simulator.judging.record import RunRecord

CONTROLS = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")


def read(run: tuple[RunRecord, History]) -> Any:
    parsed = junitparser.JUnitXml.fromstring(junit_xml(report_input(run)))
    assert isinstance(parsed, junitparser.JUnitXml)
    return parsed


def cases(parsed: Any) -> Iterator[tuple[str, str, list[Any]]]:
    for suite in parsed:
        for case in suite:
            yield suite.name, case.name, list(case.result)


@pytest.mark.parametrize("make", [uneventful, broken, unknown, hostile])
def test_there_is_a_case_for_every_check_threshold_and_campaign(
    make: Callable[[], tuple[RunRecord, History]],
) -> None:
    made = report_input(make())
    names = [name for _, name, _ in cases(read(make()))]
    assert names == [
        *(one_line(one.name) for one in [*made.verdict.checkers, *made.verdict.thresholds]),
        *(f"{one_line(one.attack)} (campaign {one.campaign})" for one in made.verdict.attacks),
    ]


@pytest.mark.parametrize("make", [uneventful, broken, unknown, hostile])
def test_the_counts_are_those_of_the_cases(make: Callable[[], tuple[RunRecord, History]]) -> None:
    parsed = read(make())
    results = [result for _, _, results in cases(parsed) for result in results]
    kinds = {
        junitparser.Failure: parsed.failures,
        junitparser.Error: parsed.errors,
        junitparser.Skipped: parsed.skipped,
    }
    for kind, count in kinds.items():
        assert sum(isinstance(result, kind) for result in results) == count
    assert sum(suite.tests for suite in parsed) == parsed.tests
    before = (parsed.tests, parsed.failures, parsed.errors, parsed.skipped)
    parsed.update_statistics()
    assert (parsed.tests, parsed.failures, parsed.errors, parsed.skipped) == before


def test_a_pass_has_no_result_and_a_failure_says_what_and_when() -> None:
    assert [result for _, _, results in cases(read(uneventful())) for result in results] == []
    found = {name: results for _, name, results in cases(read(broken()))}
    (result,) = found["answers"]
    assert isinstance(result, junitparser.Failure)
    assert " answers 1 wrong; replay.exact: a hostile heartbeat of worker" in result.message
    assert "12.700 s answers.attack-accepted: replay.exact: a hostile heartbeat" in result.text
    (result,) = found["replay.exact (campaign 1)"]
    assert result.message == "what it claims: 6 sent, 5 refused, 1 accepted, 1 wrong, 0 unjudged"
    assert found["replay"] == []


def test_what_could_not_be_known_is_an_error_and_what_was_not_tried_is_skipped() -> None:
    """A run that proves nothing must look neither like a pass nor like proof against the server."""
    found = {name: results for _, name, results in cases(read(unknown()))}
    assert isinstance(found["whole run"][0], junitparser.Error)
    assert found["whole run"][0].type == "inconclusive"
    assert isinstance(found["heartbeat.accepted: rate==1"][0], junitparser.Error)
    assert isinstance(found["revoke.race (campaign 2)"][0], junitparser.Skipped)
    assert found["revoke.race (campaign 2)"][0].message == "the target shows no consents"
    assert isinstance(found["skew.ahead (campaign 3)"][0], junitparser.Error)


def test_suites_say_what_was_run() -> None:
    suites = list(read(broken()))
    assert [suite.name for suite in suites] == ["by-hand checks", "by-hand thresholds", "by-hand attacks"]
    for suite in suites:
        assert suite.timestamp == "2026-01-02T03:04:05.678+00:00"
        assert suite.time == 40
        properties = {one.name: one.value for one in suite.properties()}
        assert properties["reproduce"] == "hatchfarm run scenarios/by-hand.toml --seed 7"


def test_hostile_text_is_legal_xml_and_stays_text() -> None:
    text = junit_xml(report_input(hostile()))
    assert not CONTROLS.search(text)
    root = ET.fromstring(text)  # noqa: S314 - what was just written
    assert {element.tag for element in root.iter()} == {
        "testsuites", "testsuite", "properties", "property", "testcase", "failure", "error",
    }  # fmt: skip
    assert root.get("name") == f"hatchfarm {one_line(HOSTILE)}"
