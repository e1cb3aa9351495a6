"""What was run with what: versions, machine and settings; and the files beside a report."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from simulator.limits import EVIDENCE_SHOWN_MAX_CHARACTERS, FILES_LINKED_MAX
from simulator.platform.wording import plural
from simulator.report.scenario_tables import table_of
from simulator.report.text import shortened

if TYPE_CHECKING:
    from simulator.report.report_input import ReportInput

GIBIBYTE = 1 << 30
OWN_PACKAGE = "hatchfarm-harness"
PURPOSES = {
    "verdict.json": "the verdict, for programs",
    "run.json": "what judging needs besides the history",
    "scenario.toml": "the scenario's file, before flags and variables, without secrets",
    "junit.xml": "each check as a test case",
    "findings.sarif": "what failed, for viewers of security findings",
    "summary.md": "the verdict for a CI job's page",
    "gates.md": "what a release needs proven, and how it stands",
    "metrics.om": "what the server showed, as OpenMetrics",
    "manifest.json": "the digest of every file",
    "history/rows.npz": "every request, for numpy",
    "trace.jsonl.zst": "every message, to be replayed",
}
"""What is in the files that are known by name."""


def facts_of(report_input: ReportInput) -> list[tuple[str, str]]:
    """Return what the run was made with, each with its name; what a bundle of before does not say is left out."""
    record, host = report_input.record, report_input.record.host
    facts = [
        ("seed", str(record.seed)),
        ("profile", record.profile.value),
        ("target", f"{record.target}{' (given)' if record.given_target else ''}"),
        ("flags", " ".join(record.options) or "none"),
        ("time", "virtual" if record.facts.virtual else "real"),
    ]
    if record.memory_max_bytes is not None:
        facts.append(("most memory of a server", f"{record.memory_max_bytes / 1e6:,.1f} MB"))
    if host is None:
        return facts
    return [
        ("version", host.packages.get(OWN_PACKAGE, "unknown")),
        ("commit", host.commit or "no checkout"),
        ("Python", host.python),
        ("system", host.system),
        ("CPU", f"{host.cpu}, {plural(host.cores, 'core')}"),
        ("memory", f"{host.memory_bytes / GIBIBYTE:.1f} GiB"),
        ("load before the verdict", f"{host.load:g}"),
        *facts,
    ]


def packages_of(report_input: ReportInput) -> list[tuple[str, str]]:
    """Return the versions of the packages that figures may depend on."""
    host = report_input.record.host
    return [] if host is None else [(name, value) for name, value in host.packages.items() if name != OWN_PACKAGE]


def server_settings(report_input: ReportInput) -> list[tuple[str, str]] | None:
    """Return the settings that the scenario gave a server; None where its text cannot be read any more."""
    server = table_of(report_input, "server")
    settings = None if server is None else server.get("settings", {})
    if not isinstance(settings, dict):
        return None
    return [(str(name), shortened(str(value), EVIDENCE_SHOWN_MAX_CHARACTERS)) for name, value in settings.items()]


def links_of(report_input: ReportInput) -> list[tuple[str, str, str]]:
    """Return the files beside the report: address, name, and what is in each that is known."""
    return [(quote(name), name, PURPOSES.get(name, "")) for name in report_input.files[:FILES_LINKED_MAX]]


def is_table(link: tuple[str, str, str]) -> bool:
    """Return whether a file is one of the history's many tables, of which a page says the same."""
    return link[1].startswith("history/") and not link[2]
