"""What GitHub Actions is shown: nothing elsewhere, no line that a server could have written as a command."""

from __future__ import annotations

import io
import re
from pathlib import Path

import msgspec
from rich.console import Console

from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.comparing.deciding import Tolerance
from simulator.comparing.runs import Run, compare_runs
from simulator.comparing.showing import show
from simulator.judging.judging import judge_run
from simulator.report.text import printed
from simulator.running.in_ci import SUMMARY_MAX_BYTES, add_to_summary, annotation, annotations_of, place_of
from simulator.running.run import RunRequest, _introduce
from simulator.running.terminal import show_verdict
from simulator.scenario.loading import parse_scenario
from tests.report.runs import uneventful


def shown(environ: dict[str, str], text: bytes = b"## PASS\n") -> str:
    out = io.StringIO()
    add_to_summary(Console(file=out, width=1000), environ, text)
    return out.getvalue()


def test_a_summary_is_added_to_the_jobs_and_nowhere_else(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    path.write_bytes(b"before\n")
    assert shown({"GITHUB_STEP_SUMMARY": str(path)}) == ""
    assert path.read_bytes() == b"before\n"
    job = {"GITHUB_STEP_SUMMARY": str(path), "GITHUB_ACTIONS": "true"}
    assert shown(job) == ""
    assert path.read_bytes() == b"before\n## PASS\n"
    assert shown({**job, "GITHUB_STEP_SUMMARY": str(tmp_path)}).startswith("::warning::the summary could not be added")


def test_a_summary_that_is_too_long_is_cut_at_a_line(tmp_path: Path) -> None:
    job = {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"), "GITHUB_ACTIONS": "true"}
    shown(job, b"a line\n" * SUMMARY_MAX_BYTES)
    written = (tmp_path / "summary.md").read_bytes()
    assert SUMMARY_MAX_BYTES - 7 <= len(written) <= SUMMARY_MAX_BYTES
    assert set(written.split(b"\n")) == {b"a line", b""}


def test_no_text_ends_an_annotation_or_begins_another() -> None:
    line = annotation("error", "a,b.toml", 3, "x::y", "100%\n::error::mine\r\x1b[31m")
    assert "\n" not in line
    assert "\r" not in line
    assert "\x1b" not in line
    assert line.startswith("::error file=a%2Cb.toml,line=3,title=x%3A%3Ay::100%25")


COMMAND = re.compile(r"^\s*::[a-z]|##\[", re.IGNORECASE | re.MULTILINE)
"""What the runner takes for a command: it looks past the spaces before the first kind, and for the second anywhere."""
FORGED = (
    "::stop-commands::x\n::error file=a.toml,line=1::mine\n \t::Add-Mask::a ##[error]b ##[add-mask]c :::warning::d\n"
)


def test_no_text_of_a_log_is_a_command_and_no_harmless_one_is_changed() -> None:
    assert COMMAND.search(FORGED)
    for at in range(len(FORGED)):
        assert not COMMAND.search(f"{printed(FORGED)[at:]}"), "wherever a table breaks the line"
    assert "\n" not in printed(FORGED)
    assert printed("http://[::1]:8000/a: #[b] :: c") == "http://[::1]:8000/a: #[b] :: c"


def test_a_comparison_and_a_verdict_that_others_wrote_hold_no_command() -> None:
    record, history = uneventful()
    verdict = msgspec.structs.replace(judge_run(record, history), scenario=FORGED, started_at=FORGED)
    verdict.thresholds.append(Verdict(FORGED, Status.FAIL, FORGED, (Finding(FORGED, FORGED, 0, {}),)))
    run = Run(FORGED, verdict, record, history)
    good = msgspec.structs.replace(run, verdict=msgspec.structs.replace(verdict, thresholds=[]))
    out = io.StringIO()
    console = Console(file=out, width=60)
    for one, other in ((good, run), (run, good)):
        show(compare_runs(one, other, FORGED, Tolerance()), console)
    show_verdict(console, verdict)
    assert "stop-commands" in out.getvalue()
    assert not COMMAND.search(out.getvalue())


def test_a_scenario_begins_with_its_description_and_with_no_command() -> None:
    description = FORGED.replace("\n", "\\n").replace("\t", "\\t")
    text = SCENARIO.replace('name = "ends-early"', f'name = "ends-early"\ndescription = "{description}"')
    request = RunRequest(parse_scenario(text), Path("one.toml"), 1, Path("results"), None, "token")
    out = io.StringIO()
    _introduce(request, Console(file=out, width=1000))
    assert "stop-commands" in out.getvalue()
    assert not COMMAND.search(out.getvalue())


SCENARIO = """\
version = 1
name = "ends-early"
duration = "40s"

[fleet]
machines = 10

[thresholds]
"heartbeat.response_time" = ["p(99)<1s"]

[[abort_on_fail]]
metric = "heartbeat.accepted"
threshold = "rate==1"

[[abort_on_fail]]
metric = "heartbeat.response_time"
threshold = "p(99)<2s"
"""


def test_a_threshold_is_marked_where_it_was_asked_for() -> None:
    record, history = uneventful()
    names = ("heartbeat.response_time: p(99)<1s", "heartbeat.accepted: rate==1", "heartbeat.response_time: p(99)<2s")
    verdict = msgspec.structs.replace(
        judge_run(record, history), attacks=[], thresholds=[Verdict(name, Status.FAIL, "worse") for name in names]
    )
    lines = [*annotations_of(verdict, parse_scenario(SCENARIO), "one.toml", SCENARIO)]
    assert [re.findall("line=([0-9]+),", line) for line in lines] == [["9"], ["13"], ["17"]]


def test_a_file_is_named_within_the_checkout_and_not_at_all_outside(tmp_path: Path) -> None:
    inside = {"GITHUB_WORKSPACE": str(tmp_path)}
    assert place_of(tmp_path / "scenarios" / "one.toml", inside) == "scenarios/one.toml"
    assert place_of(Path("/elsewhere/one.toml"), inside) == ""
