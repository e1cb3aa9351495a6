"""`report.html`: one file that needs nothing else, with the verdict first, then why, then all that led to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from reference_server.wire.visible_text import visible
from simulator.attacks import CATALOGUE
from simulator.checkers.bounds import UNBOUNDED
from simulator.checkers.possible import possible
from simulator.limits import FINDINGS_SHOWN_MAX, SCENARIO_SHOWN_MAX_CHARACTERS
from simulator.report import campaign_times, market, reconciliation, requests_table, run_facts, wording
from simulator.report.figures import draw_plots
from simulator.report.naming import Naming
from simulator.report.over_time import clock_of
from simulator.report.text import shortened

if TYPE_CHECKING:
    from simulator.checkers.bounds import ScrapeBounds
    from simulator.checkers.verdict import Verdict
    from simulator.report.report_input import ReportInput

TEMPLATES = Path(__file__).parent / "templates"


def page_templates(*folders: Path) -> Environment:
    """Make the template engine: everything is escaped, and everything unseen is made visible first.

    Templates of other pages lie in `folders` of their own.
    """

    def shown(value: Any) -> Any:
        return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value

    environment = Environment(
        loader=FileSystemLoader([TEMPLATES, *folders]),
        autoescape=True,
        finalize=shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        FINDINGS_SHOWN_MAX=FINDINGS_SHOWN_MAX,
        UNBOUNDED=UNBOUNDED,
        exchange_texts=wording.exchange_texts,
        figure_texts=wording.figure_texts,
        mark=wording.MARKS.__getitem__,
        not_shown_text=wording.not_shown_text,
        readable=wording.readable,
    )
    return environment


def report_page(report_input: ReportInput) -> bytes:
    """Write the page."""
    verdict, record = report_input.verdict, report_input.record
    bounds = _bounds(report_input)
    problems = [one for one in wording.worst_first([*verdict.checkers, *verdict.thresholds])
                if one.status.is_problem]  # fmt: skip
    generator, audit_verdict = (
        next((one for one in verdict.checkers if one.name == name), None) for name in ("generator", "audit")
    )
    clock, links = clock_of(report_input), run_facts.links_of(report_input)
    text = (
        page_templates()
        .get_template("report.html.jinja")
        .render(
            verdict=verdict,
            record=record,
            facts=record.facts,
            headline=wording.headline(verdict),
            problems=problems,
            checkers=wording.worst_first(verdict.checkers),
            thresholds=wording.worst_first(verdict.thresholds),
            plots=draw_plots(report_input, bounds),
            naming=Naming(report_input, clock),
            requests=requests_table.request_lines(report_input.history, record.elapsed_ns),
            percentiles=requests_table.PERCENTILES,
            campaigns=campaign_times.campaign_times(report_input, clock),
            campaign_marks=list(campaign_times.scale_marks(record.elapsed_ns)),
            campaign_size=(campaign_times.WIDTH, campaign_times.HEIGHT),
            run_facts=run_facts.facts_of(report_input),
            packages=run_facts.packages_of(report_input),
            settings=run_facts.server_settings(report_input),
            files=[one for one in links if not run_facts.is_table(one)],
            tables=[one for one in links if run_facts.is_table(one)],
            attacks=sorted(verdict.attacks, key=lambda one: (wording.ORDER.index(one.status), one.campaign)),
            catalogue=CATALOGUE,
            metrics=reconciliation.metric_lines(bounds),
            audit=_audit(report_input, audit_verdict),
            audit_verdict=audit_verdict,
            accounts=market.account_lines(report_input.history),
            generator=generator,
            latency=[(name, value) for name, value in verdict.latency_s.items() if value is not None],
            scenario_text=shortened(report_input.scenario_text, SCENARIO_SHOWN_MAX_CHARACTERS),
        )
    )
    return text.encode()


def _bounds(report_input: ReportInput) -> list[ScrapeBounds]:
    """Work out the bounds; none where the history makes no sense to them, which the checker has said already."""
    try:
        return list(possible(report_input.history, report_input.record.facts))
    except (ValueError, OverflowError):
        return []


def _audit(report_input: ReportInput, audit_verdict: Verdict | None) -> list[reconciliation.AuditLine]:
    """Reconcile the audit; nothing where lists make no sense to it, which the checker has said already."""
    findings = audit_verdict.findings if audit_verdict is not None else ()
    try:
        return reconciliation.audit_lines(
            report_input.history,
            report_input.record.facts,
            {str(one.evidence.get("type")) for one in findings},
        )
    except (ValueError, OverflowError, LookupError):
        return []
