"""Two runs side by side: their facts, their requests and answers, and their plots."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from simulator.checkers.possible import possible
from simulator.report.figures import draw_plots
from simulator.report.requests_table import PERCENTILES, RequestLine, request_lines
from simulator.report.run_facts import facts_of

if TYPE_CHECKING:
    from simulator.report.drawing import Plot
    from simulator.report.report_input import ReportInput

_REFERENCE = re.compile(r'( id="|href="#|url\(#)')
SHOWN = (0, len(PERCENTILES) - 1)
"""The indexes of the percentiles shown, of those in a report's table of requests: the first and the last."""


class PlotPair(msgspec.Struct, frozen=True):
    """The same plot of both runs; None for a run that has no data for it."""

    title: str
    before: Plot | None
    after: Plot | None


class RequestPair(msgspec.Struct, frozen=True):
    """The requests with one operation and status in both runs; None for a run that had none."""

    operation: str
    status: str
    hostile: bool
    before: RequestLine | None
    after: RequestLine | None


class SideBySide(msgspec.Struct, frozen=True):
    """Both runs: facts as (name, before, after), empty for a run that lacks one; requests; plots."""

    facts: list[tuple[str, str, str]]
    requests: list[RequestPair]
    plots: list[PlotPair]


def side_by_side(before: ReportInput, after: ReportInput) -> SideBySide:
    """Return the facts, requests and plots of two runs, matched by name, including those that only one has."""
    facts = [dict([("machines", f"{one.record.machines:,}"), *facts_of(one)]) for one in (before, after)]
    lines = [
        {(one.hostile, one.operation, one.status): one for one in request_lines(side.history, side.record.elapsed_ns)}
        for side in (before, after)
    ]
    plots = [{one.title: one for one in _plots(side, name)} for side, name in ((before, "old"), (after, "new"))]
    return SideBySide(
        [(name, facts[0].get(name, ""), facts[1].get(name, "")) for name in dict.fromkeys([*facts[0], *facts[1]])],
        [
            RequestPair(key[1], key[2], key[0], lines[0].get(key), lines[1].get(key))
            for key in sorted(dict.fromkeys([*lines[0], *lines[1]]), key=lambda key: key[0])
        ],
        [PlotPair(title, plots[0].get(title), plots[1].get(title)) for title in dict.fromkeys([*plots[0], *plots[1]])],
    )


def _plots(side: ReportInput, name: str) -> list[Plot]:
    """Draw a run's plots, with `name` in the ids of their SVG elements, so that two runs fit on one page."""
    try:
        bounds = list(possible(side.history, side.record.facts))
    except (ValueError, OverflowError):
        bounds = []
    return [
        msgspec.structs.replace(one, narrow=_REFERENCE.sub(rf"\g<1>{name}-", one.narrow))
        for one in draw_plots(side, bounds)
    ]
