"""`hatchfarm report` and `hatchfarm verify`, as people and CI jobs call them."""

from __future__ import annotations

import hashlib
import re
import shutil
from typing import TYPE_CHECKING

import msgspec
import pytest

from simulator.bundle import manifest
from simulator.commands.cli import app
from simulator.platform.machine_facts import machine_facts
from tests.report.runs import uneventful, written
from tests.support.invoking import invoke

if TYPE_CHECKING:
    from pathlib import Path

VIEWS = ("report.html", "junit.xml", "findings.sarif", "summary.md", "metrics.om", "gates.md")


def hatchfarm(*arguments: str | Path, **environ: str) -> tuple[int, list[str], str]:
    """Call the command; gives its exit code, the lines it printed, and its complaints."""
    result = invoke(app, [*map(str, arguments)], env=dict(environ))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, [line.rstrip() for line in result.stdout.splitlines()], result.stderr


def digest_of(folder: Path) -> str:
    return "sha256:" + hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()


def files_of(folder: Path) -> int:
    return len(manifest.read_manifest(folder)[0].files)


def test_verify_says_that_a_run_is_genuine(bundle: Path) -> None:
    code, lines, output = hatchfarm("verify", bundle, "--digest", digest_of(bundle))
    assert (code, output) == (0, "")
    assert lines == [f"{bundle}: {files_of(bundle)} files, {digest_of(bundle)}", "GENUINE judged anew it is fail again"]


def test_without_a_digest_verify_says_what_that_leaves_open(bundle: Path) -> None:
    code, lines, _ = hatchfarm("verify", bundle)
    assert code == 0
    assert lines[-1].startswith("Compare the digest with the line `Bundle: …` that the run printed")


def test_verify_names_what_was_altered_and_exits_with_1(bundle: Path) -> None:
    (bundle / "verdict.json").write_bytes((bundle / "verdict.json").read_bytes().replace(b'"seed": 7', b'"seed": 8'))
    (bundle / "junit.xml").unlink()
    (bundle / "a\x1b[31m[red]b").touch()
    code, lines, output = hatchfarm("verify", bundle)
    assert (code, output) == (1, "")
    assert lines[:4] == [
        r"ALTERED a\x1b[31m[red]b was added",
        "ALTERED junit.xml is missing",
        "ALTERED verdict.json was altered",
        "DIFFERS seed was 8, judged anew it is 7",
    ]
    assert lines[-2:] == [f"{bundle}: {files_of(bundle)} files, {digest_of(bundle)}", "NOT GENUINE"]


def test_another_verdict_alone_exits_with_1(bundle: Path) -> None:
    (bundle / "verdict.json").write_bytes((bundle / "verdict.json").read_bytes().replace(b'"seed": 7', b'"seed": 8'))
    manifest.write_manifest(bundle)
    code, lines, _ = hatchfarm("verify", bundle)
    assert (code, lines[-1]) == (1, "ANOTHER VERDICT")


@pytest.mark.parametrize(("judged_by", "named"), [("f" * 40, True), ("here", False), ("", False)])
def test_a_verdict_of_another_commit_is_named_with_it(tmp_path: Path, judged_by: str, *, named: bool) -> None:
    here = msgspec.structs.replace(machine_facts(), commit="here")
    written(tmp_path / "judged", uneventful(host=msgspec.structs.replace(here, commit=judged_by)))
    bundle = tmp_path / "judged"
    (bundle / "verdict.json").write_bytes(
        re.sub(rb'"seed": \d+', b'"seed": 99', (bundle / "verdict.json").read_bytes())
    )
    manifest.write_manifest(bundle)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simulator.platform.machine_facts.machine_facts", lambda: here)
        code, lines, _ = hatchfarm("verify", bundle)
    assert code == 1
    wanted = [f"It was judged by commit {judged_by}, and this is here: verify it by that one."] if named else []
    assert lines[lines.index("ANOTHER VERDICT") + 1 :] == wanted


def test_another_digest_exits_with_1(bundle: Path) -> None:
    code, lines, _ = hatchfarm("verify", bundle, HATCHFARM_DIGEST="sha256:" + "0" * 64)
    assert (code, lines[-1]) == (1, "NOT GENUINE")


@pytest.mark.parametrize("digest", ["", "sha256:123", "sha1:" + "0" * 64, "0" * 65, "g" * 64, "0" * 64 + "\n"])
def test_what_is_no_digest_says_nothing_of_the_bundle_and_exits_with_2(bundle: Path, digest: str) -> None:
    code, lines, output = hatchfarm("verify", bundle, "--digest", digest)
    assert (code, lines) == (2, [])
    assert "sha256: and 64 hexadecimal digits" in output


@pytest.mark.parametrize("command", ["verify", "report"])
def test_a_run_is_found_by_folder_verdict_scenario_or_as_the_latest(bundle: Path, command: str) -> None:
    older = bundle.parent.parent / "other" / "2020-01-01T00-00-00.000"
    shutil.copytree(bundle, older)
    (older.parent / "latest").symlink_to(older.name)
    out = bundle.parent.parent
    for results in (bundle, bundle / "verdict.json", bundle.parent, bundle.parent / "latest"):
        assert hatchfarm(command, results)[0] == 0
    for environ in ({}, {"HATCHFARM_RESULTS": "latest"}):
        code, lines, _ = hatchfarm(command, "--out", out, **environ)
        assert code == 0
        assert str(bundle) in lines[0]


@pytest.mark.parametrize("command", ["verify", "report"])
def test_what_is_no_run_exits_with_2_and_one_line(tmp_path: Path, command: str) -> None:
    (tmp_path / "empty").mkdir()
    for arguments, why in (
        (["gone"], "gone is no folder of results"),
        ([str(tmp_path / "empty")], ".json cannot be read (No such file or directory)"),
        (["latest", "--out", str(tmp_path)], f"there are no results in {tmp_path}"),
    ):
        code, lines, output = hatchfarm(command, *arguments)
        assert (code, lines) == (2, [])
        assert output.startswith(f"hatchfarm {command}: ")
        assert why in output
        assert output.count("\n") == 1


def test_report_makes_the_same_reports_again_and_the_digest_stays(bundle: Path) -> None:
    before, digest = {name: (bundle / name).read_bytes() for name in VIEWS}, digest_of(bundle)
    for name in VIEWS:
        (bundle / name).unlink()
    code, lines, _ = hatchfarm("report", bundle)
    assert code == 0
    assert {name: (bundle / name).read_bytes() for name in VIEWS} == before
    assert lines == [f"Results: {bundle}", f"Report: {bundle / 'report.html'}", f"Bundle: {digest}"]
    assert hatchfarm("verify", bundle, "--digest", digest)[0] == 0


def test_reports_of_another_version_get_a_new_digest_and_that_is_said(bundle: Path) -> None:
    (bundle / "summary.md").write_text("An older version wrote less.", encoding="utf-8")
    manifest.write_manifest(bundle)
    old = digest_of(bundle)
    code, lines, _ = hatchfarm("report", bundle)
    assert code == 0
    assert lines[0] == f"The reports are not those there were, so the bundle's digest is no longer {old}"
    assert lines[-1] == f"Bundle: {digest_of(bundle)}"
    assert digest_of(bundle) != old
    assert hatchfarm("verify", bundle)[0] == 0


@pytest.mark.parametrize("name", ["verdict.json", "scenario.toml"])
def test_altered_evidence_gets_no_new_manifest(bundle: Path, name: str) -> None:
    """But may be drawn elsewhere, for whoever wants to look at it."""
    before = digest_of(bundle)
    (bundle / name).write_bytes((bundle / name).read_bytes() + b"\n")
    code, lines, output = hatchfarm("report", bundle)
    assert (code, lines) == (2, [])
    assert f"{name} was altered" in output
    assert digest_of(bundle) == before
    elsewhere = bundle.parent.parent / "elsewhere"
    code, lines, _ = hatchfarm("report", bundle, "--to", elsewhere)
    assert (code, lines) == (0, [f"Results: {elsewhere}", f"Report: {elsewhere / 'report.html'}"])
    assert {path.name for path in elsewhere.iterdir()} == set(VIEWS)


def test_a_report_that_cannot_be_made_exits_with_1(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(_report_input: object) -> bytes:
        raise ValueError("no ink")

    monkeypatch.setattr("simulator.report.views.VIEWS", {"report.html": cannot})
    code, lines, _ = hatchfarm("report", bundle)
    assert code == 1
    assert lines[0] == "warning: report.html could not be made (ValueError: no ink)"
