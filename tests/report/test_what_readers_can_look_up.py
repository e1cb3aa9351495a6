"""Findings name workers, the wall clock and the rule in words; a page says what was run with what."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

import msgspec
import pytest

from simulator.bundle.rebuilding import rebuild
from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.limits import FILES_LINKED_MAX
from simulator.platform.machine_facts import MachineFacts
from simulator.report import run_facts
from simulator.report.naming import Naming
from simulator.report.over_time import RunClock, clock_of
from simulator.report.page import report_page
from tests.report.pages import Page
from tests.report.runs import broken, report_input, uneventful, with_verdicts

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.report.report_input import ReportInput

HOST = MachineFacts("A CPU", 2, 8 << 30, "Linux 6", "CPython 3.11", {"hatchfarm-harness": "0.9", "trio": "1"}, "abc", 1)


@pytest.fixture(autouse=True)
def _without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw nothing: that costs seconds of CPU, and no test here is about plots."""
    monkeypatch.setattr("simulator.report.page.draw_plots", lambda _report_input, _bounds: [])


@pytest.fixture
def made() -> ReportInput:
    return report_input(broken())


def named(made: ReportInput) -> Naming:
    return Naming(made, clock_of(made))


def test_machines_are_named_by_their_workers(made: ReportInput) -> None:
    naming = named(made)
    assert naming.with_workers("machine 1 was late, machine 7 not") == "machine 1 (wrk_1) was late, machine 7 not"
    finding = Finding("x.y", "machine 0's nonce", 1_000_000_000, {"machine": 0, "sent_ns": 2_000_000_000, "n": 3})
    assert naming.message(finding) == "machine 0 (wrk_0)'s nonce"
    assert naming.evidence(finding) == [
        ("machine", "0, worker wrk_0 of ada"),
        ("sent_ns", "2000000000, about 03:04:07.678 UTC"),
        ("n", "3"),
    ]


def test_a_finding_says_when_by_both_clocks_and_what_was_at_no_moment_says_nothing(made: ReportInput) -> None:
    naming = named(made)
    assert naming.moment(Finding("x.y", "late", 1_500_000_000)) == "1.500 s, about 03:04:07.178 UTC"
    assert naming.moment(Finding("x.y", "late", 0)) == ""
    assert Naming(made, RunClock(None)).moment(Finding("x.y", "late", 1_500_000_000)) == "1.500 s"


def test_a_finding_says_what_a_correct_server_does(made: ReportInput) -> None:
    naming = named(made)
    attack = naming.expected(Finding("answers.attack-accepted", "accepted", 1, {"campaign": 1}))
    assert attack.startswith("401 invalid heartbeat auth; one worker_auth_failed event, reason nonce_replayed")
    known = naming.expected(Finding("outage.stopped-answering", "silent", 1))
    assert known.endswith(".")
    assert naming.expected(Finding("made.up", "odd", 1)) == ""
    checked = with_verdicts(
        made, Verdict("outage", Status.FAIL, "It failed.", (Finding("outage.stopped-answering", "silent", 1),))
    )
    assert f"Expected: {known}" in Page(report_page(checked).decode()).texts("p")


def test_a_page_says_what_the_run_was_made_with() -> None:
    run, history = uneventful(host=HOST, options=("--virtual",), memory_max_bytes=54_000_000)
    text = "[server.settings]\nWORKER_STATUS_STALE_SECONDS = 6\n[fleet]\nmachines = 2\n"
    page = Page(report_page(report_input((run, history), text)).decode())
    terms = dict(zip(page.texts("dt"), page.texts("dd"), strict=True))
    wanted = {
        "version": "0.9", "commit": "abc", "Python": "CPython 3.11", "CPU": "A CPU, 2 cores", "memory": "8.0 GiB",
        "trio": "1", "flags": "--virtual", "most memory of a server": "54.0 MB", "WORKER_STATUS_STALE_SECONDS": "6",
    }  # fmt: skip
    assert wanted.items() <= terms.items()


def test_a_run_of_an_earlier_version_says_that_it_did_not_note_it() -> None:
    page = Page(report_page(report_input(uneventful(), "not TOML")).decode())
    paragraphs = page.texts("p")
    assert "This run is of an earlier version, which did not note what it was run on." in paragraphs
    assert any(one.startswith("The scenario's text cannot be read") for one in paragraphs)


def test_a_page_links_to_every_file_of_its_run_and_no_other(bundle: Path) -> None:
    rebuild(bundle, None)
    page = Page((bundle / "report.html").read_text(encoding="utf-8"))
    links = {unquote(str(one.attributes["href"])) for one in page.all("a") if str(one.attributes["href"])[0] != "#"}
    files = {f"./{path.relative_to(bundle).as_posix()}" for path in bundle.rglob("*") if path.is_file()}
    assert links == files - {"./report.html"}


def test_a_page_elsewhere_links_to_the_reports_beside_it_alone(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine.txt").touch()
    rebuild(bundle, tmp_path / "elsewhere")
    page = Page((tmp_path / "elsewhere" / "report.html").read_text(encoding="utf-8"))
    links = {str(one.attributes["href"]) for one in page.all("a") if str(one.attributes["href"])[0] != "#"}
    assert links == {f"./{name}" for name in ("junit.xml", "findings.sarif", "summary.md", "metrics.om", "gates.md")}


def test_names_of_files_are_bounded_and_no_addresses_of_anything_else(made: ReportInput) -> None:
    odd = msgspec.structs.replace(made, files=("a b&<.txt", "javascript:alert(1)", *map(str, range(1000))))
    links = run_facts.links_of(odd)
    assert len(links) == FILES_LINKED_MAX
    page = Page(report_page(odd).decode())
    addresses = [str(one.attributes["href"]) for one in page.all("a")]
    assert "./a%20b%26%3C.txt" in addresses
    assert "./javascript%3Aalert%281%29" in addresses
    assert all(one.startswith(("#", "./")) for one in addresses)
