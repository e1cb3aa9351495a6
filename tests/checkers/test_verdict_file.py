"""`verdict.json`: valid by its published schema, the same bytes for the same verdict, whole or not at all."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from simulator.checkers.verdict import EXIT_CODES, Finding, Status, Verdict
from simulator.judging.verdict_file import RunVerdict, point_latest, verdict_schema, write_verdict
from tests.support.tiers import examples

ROOT = Path(__file__).parent.parent.parent
PUBLISHED = json.loads((ROOT / "simulator" / "judging" / "verdict.schema.json").read_text(encoding="utf-8"))
validator = Draft202012Validator(PUBLISHED)

texts = st.text(max_size=20)
numbers = st.floats() | st.integers(-(2**63), 2**63 - 1)
anything = st.dictionaries(
    texts, texts | numbers | st.none() | st.booleans() | st.lists(numbers, max_size=3), max_size=3
)
findings = st.builds(Finding, rule=texts, message=texts, at_ns=st.integers(0, 2**62), evidence=anything)
verdicts = st.lists(
    st.builds(
        Verdict,
        name=texts,
        status=st.sampled_from(Status),
        summary=texts,
        findings=st.lists(findings, max_size=2).map(tuple),
        figures=anything,
    ),
    max_size=3,
)
runs = st.builds(
    RunVerdict,
    scenario=texts,
    description=texts,
    seed=st.integers(0, 2**63 - 1),
    target=texts,
    started_at=texts,
    duration_s=st.floats(0, 1e9),
    interrupted=st.none() | texts,
    status=st.sampled_from(Status),
    exit_code=st.sampled_from(sorted(EXIT_CODES.values())),
    checkers=verdicts,
    thresholds=verdicts,
    requests=st.dictionaries(texts, st.integers(0, 2**62), max_size=3),
    latency_s=st.dictionaries(texts, st.none() | st.floats(0, allow_nan=False), max_size=3),
    warnings=st.lists(texts, max_size=3),
    reproduce=texts,
)


def a_run(**changes: Any) -> RunVerdict:
    fields: dict[str, Any] = {
        "scenario": "replay-storm",
        "description": "",
        "seed": 4,
        "target": "its own server",
        "started_at": "2026-01-02T03:04:05.678+00:00",
        "duration_s": 30.0,
        "interrupted": None,
        "status": Status.PASS,
        "exit_code": 0,
        "checkers": [Verdict("replay", Status.PASS, "None was accepted twice.", (), {"accepted": 3})],
        "thresholds": [],
        "requests": {"total": 3},
        "latency_s": {"p50": 0.001, "max": None},
        "warnings": [],
        "reproduce": "hatchfarm run scenarios/replay-storm.toml --seed 4",
    }
    return RunVerdict(**{**fields, **changes})


def test_the_published_schema_is_the_programs_own() -> None:
    assert json.loads(json.dumps(verdict_schema())) == PUBLISHED
    Draft202012Validator.check_schema(PUBLISHED)


@settings(deadline=None, max_examples=examples(60))
@given(runs)
def test_every_verdict_is_valid_and_stable(tmp_path_factory: pytest.TempPathFactory, run: RunVerdict) -> None:
    """Strict JSON whatever the texts and numbers are; writing it again gives the same bytes."""
    folder = tmp_path_factory.mktemp("verdict")
    written = write_verdict(run, folder / "first").read_bytes()
    assert write_verdict(run, folder / "second").read_bytes() == written

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    shown = json.loads(written, parse_constant=refuse)
    assert [error.message for error in validator.iter_errors(shown)] == []
    assert shown["schema_version"] == 1
    assert [one["status"] for one in shown["checkers"]] == [one.status.value for one in run.checkers]


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": "maybe"},
        {"exit_code": "0"},
        {"checkers": [{"name": "replay", "status": "pass"}]},
        {"thresholds": [{"name": "x", "status": "pass", "summary": "", "findings": [{"rule": "r"}]}]},
        {"latency_s": {"p50": "fast"}},
        {"interrupted": 5},
        {"requests": {"total": 0.5}},
    ],
)
def test_the_schema_refuses_what_is_no_verdict(wrong: dict[str, Any]) -> None:
    shown = json.loads(msgspec.json.encode(a_run()))
    assert validator.is_valid(shown)
    assert not validator.is_valid({**shown, **wrong})


@pytest.mark.parametrize("field", ["status", "exit_code", "checkers", "thresholds", "seed", "reproduce", "warnings"])
def test_the_schema_refuses_a_verdict_that_lacks_something(field: str) -> None:
    shown = json.loads(msgspec.json.encode(a_run()))
    del shown[field]
    assert not validator.is_valid(shown)


def test_an_endless_wait_is_written_as_null(tmp_path: Path) -> None:
    """JSON has no infinity."""
    endless = Verdict("threshold", Status.FAIL, "inf ms", (), {"value": math.inf})
    shown = json.loads(write_verdict(a_run(thresholds=[endless]), tmp_path / "run").read_bytes())
    assert shown["thresholds"][0]["figures"] == {"value": None}


def test_people_can_read_and_compare_it(tmp_path: Path) -> None:
    text = write_verdict(a_run(), tmp_path / "run").read_text(encoding="utf-8")
    assert text.startswith('{\n  "schema_version": 1,\n  "scenario": "replay-storm",\n')
    assert text.endswith("}\n")


def test_latest_points_to_the_newest_run(tmp_path: Path) -> None:
    for name in ("one", "two"):
        path = write_verdict(a_run(scenario=name), tmp_path / name)
        assert point_latest(tmp_path / name) == ""
        assert path == tmp_path / name / "verdict.json"
        latest = tmp_path / "latest" / "verdict.json"
        assert json.loads(latest.read_bytes())["scenario"] == name
    assert (tmp_path / "latest").readlink() == Path("two")
    assert {path.name for path in tmp_path.iterdir()} == {"one", "two", "latest"}
    assert {path.name for path in (tmp_path / "two").iterdir()} == {"verdict.json"}


def test_without_links_the_verdict_is_written_all_the_same(tmp_path: Path) -> None:
    """Something else is called `latest` and is left alone."""
    (tmp_path / "latest").mkdir()
    (tmp_path / "latest" / "mine").touch()
    assert write_verdict(a_run(), tmp_path / "one").exists()
    assert "it was left as it is" in point_latest(tmp_path / "one")
    assert {path.name for path in tmp_path.iterdir()} == {"one", "latest"}
    assert (tmp_path / "latest" / "mine").exists()


def test_a_verdict_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    before = write_verdict(a_run(), tmp_path / "run").read_bytes()
    unwritable = Verdict("odd", Status.PASS, "", (), {"value": object()})
    with pytest.raises(TypeError):
        write_verdict(a_run(checkers=[unwritable]), tmp_path / "run")
    assert (tmp_path / "run" / "verdict.json").read_bytes() == before
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        write_verdict(a_run(), tmp_path / "file" / "run")
