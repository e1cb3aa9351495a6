"""Every attack that failed is named by a finding and a note, in the verdict, in SARIF and in JUnit alike."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from reference_server.wire.units import SECOND_NS
from simulator.attacks import CATALOGUE
from simulator.checkers.verdict import Status
from simulator.contract.answers import Answer, Operation
from simulator.history.records import ClaimRecord, FailedExchange
from simulator.judging.judging import judge_run
from simulator.report.junit import junit_xml
from simulator.report.report_input import ReportInput
from simulator.report.sarif import sarif_log
from tests.report.runs import SCENARIO, campaign, uneventful

if TYPE_CHECKING:
    from simulator.history.rows import History
    from simulator.judging.record import RunRecord

ATTACKS = list(enumerate(CATALOGUE, 2))
"""Each attack with its campaign's number; 1 is that of the run by hand."""


def wrong_answer(history: History, number: int, at_ns: int, *, exchange: bytes = b"") -> None:
    """Add a hostile request that was let through."""
    history.append(
        at_ns, at_ns, at_ns + 1, b"\1" * 12, 0, 200, Operation.OTHER, Answer.REFUSED, Answer.ACCEPTED, number
    )
    if exchange:
        history.exchanges.append(FailedExchange(at_ns, at_ns + 1, number, exchange, exchange, "it is refused"))


def broken_claim(history: History, number: int, at_ns: int) -> None:
    """Add a claim that did not hold, beside an answer that was right."""
    history.append(at_ns, at_ns, at_ns + 1, b"\1" * 12, 0, 401, Operation.OTHER, Answer.REFUSED, Answer.REFUSED, number)
    history.claims.append(ClaimRecord(at_ns, number, "claimed", held=False, message="it was let through"))


def judged(run: tuple[RunRecord, History]) -> ReportInput:
    return ReportInput(judge_run(*run), *run, SCENARIO)


def named_in(made: ReportInput) -> dict[str, set[str]]:
    """Return the attacks that each form says failed, with a finding and a note."""
    log: dict[str, Any] = json.loads(sarif_log(made))
    suites = {suite.get("name"): suite for suite in ET.fromstring(junit_xml(made))}  # noqa: S314 - just written
    cases = list(suites["by-hand attacks"].iter("testcase"))
    notes = {one.attack for one in made.verdict.attacks if one.status is Status.FAIL and one.note}
    return {
        "verdict": notes
        & {
            str(finding.evidence.get("attack"))
            for one in made.verdict.checkers
            if one.status is Status.FAIL
            for finding in one.findings
            if str(finding.evidence.get("attack")) in finding.message
        },
        "SARIF": {
            one["ruleId"].removeprefix("attack/")
            for one in log["runs"][0]["results"]
            if one["ruleId"].startswith("attack/")
        },
        "JUnit": {
            str(case.get("name")).partition(" ")[0]
            for case in cases
            if (failure := case.find("failure")) is not None and "\n" in (failure.text or "")
        },
    }


def everywhere(names: set[str]) -> dict[str, set[str]]:
    return {"verdict": names, "SARIF": names, "JUnit": names}


@pytest.mark.parametrize("fail", [wrong_answer, broken_claim])
def test_a_wrong_answer_to_any_attack_is_a_finding_that_names_it(fail: Any) -> None:
    run, history = uneventful()
    for number, name in ATTACKS:
        history.campaigns.append(campaign(number, name))
        fail(history, number, 20 * SECOND_NS + number)
    made = judged((run, history))
    assert made.verdict.status is Status.FAIL
    assert named_in(made) == everywhere(set(CATALOGUE))


def test_no_attack_hides_another_though_all_fail_thousands_of_times() -> None:
    """The counts are true whatever is kept, and long answers push nobody out."""
    run, history = uneventful()
    for number, name in ATTACKS:
        history.campaigns.append(campaign(number, name))
        for one in range(100):
            at_ns = 15 * SECOND_NS + number * 1_000_000 + one
            wrong_answer(history, number, at_ns, exchange=b"long" * 4000 if one < 5 else b"")
    made = judged((run, history))
    assert named_in(made) == everywhere(set(CATALOGUE))
    answers = next(one for one in made.verdict.checkers if one.name == "answers")
    assert answers.findings_total == answers.figures["wrong"] == 100 * len(CATALOGUE)
    assert len(answers.findings) < answers.findings_total
    assert len(msgspec.json.encode(answers.findings)) < 2 << 20
    text = (ET.fromstring(junit_xml(made)).findtext(".//testcase[@name='answers']/failure")) or ""  # noqa: S314 - as above
    assert text.endswith(f"and {answers.findings_total - len(answers.findings):,} more, which were too many to keep")


def test_an_attack_for_whose_finding_no_room_was_left_is_named_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.checkers.answers.kept", lambda findings: (next(iter(findings)),))
    run, history = uneventful()
    for number, name in ATTACKS[:3]:
        history.campaigns.append(campaign(number, name))
        wrong_answer(history, number, 20 * SECOND_NS + number)
    made = judged((run, history))
    assert named_in(made) == everywhere({name for _, name in ATTACKS[:3]})


def test_an_attack_that_was_not_tried_has_one_name_everywhere() -> None:
    run, history = uneventful()
    history.campaigns.append(campaign(2, "tls.spoofed-proto", attempts=0, completed=0, not_tried="it needs another"))
    made = judged((run, history))
    assert made.verdict.status is Status.PASS
    assert [one.status.value for one in made.verdict.attacks] == ["pass", "not tried"]
    skipped = ET.fromstring(junit_xml(made)).find(".//testcase[@name='tls.spoofed-proto (campaign 2)']/skipped")  # noqa: S314 - as above
    assert skipped is not None
    assert skipped.attrib == {"type": "not tried", "message": "it needs another"}
    notes = json.loads(sarif_log(made))["runs"][0]["invocations"][0]["toolExecutionNotifications"]
    (note,) = [one for one in notes if one["descriptor"]["id"].startswith("not-tried/")]
    assert (note["level"], note["message"]["text"]) == ("note", "it needs another")
