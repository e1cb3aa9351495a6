"""The forms in which a run is reported, each made from the same input."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.report.files import GATES, JUNIT, METRICS, PAGE, SARIF, SUMMARY
from simulator.report.gates import gates_markdown
from simulator.report.junit import junit_xml
from simulator.report.openmetrics import openmetrics
from simulator.report.page import report_page
from simulator.report.report_input import ReportInput
from simulator.report.sarif import sarif_log
from simulator.report.summary import summary_markdown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

VIEWS: Mapping[str, Callable[[ReportInput], bytes]] = {
    SUMMARY: summary_markdown,
    GATES: gates_markdown,
    JUNIT: junit_xml,
    METRICS: openmetrics,
    SARIF: sarif_log,
    PAGE: report_page,
}
"""By file name; the cheap ones first."""

__all__ = ["VIEWS", "ReportInput"]
