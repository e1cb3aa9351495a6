"""A comparison as one self-contained HTML page, in the style of a run's report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from simulator.comparing import wording
from simulator.comparing.deciding import Says
from simulator.comparing.outcome import CANNOT_TELL, NO_SLOWER, SLOWER
from simulator.comparing.side_by_side import SHOWN
from simulator.report.page import page_templates
from simulator.report.requests_table import PERCENTILES

if TYPE_CHECKING:
    from simulator.comparing.outcome import Comparison, Line
    from simulator.comparing.side_by_side import SideBySide

TEMPLATES = Path(__file__).parent / "templates"
STATUS = {NO_SLOWER: "pass", SLOWER: "fail", CANNOT_TELL: "inconclusive"}
CLASSES = {
    Says.FASTER: "pass",
    Says.NO_DIFFERENCE: "pass",
    Says.SLOWER: "fail",
    Says.CANNOT_TELL: "inconclusive",
}
"""The CSS class of a report's style that colours each result."""
SCALE_MIN, SCALE_MAX = 0.1, 1.0
"""The smallest and the largest end of the axis of changes, as a share."""
WIDTH = 240.0
"""The width of the picture of one line, in its own units."""


class Band(msgspec.Struct, frozen=True):
    """Positions in a line's picture: its interval, its estimate, and the range of changes that noise may hide."""

    low: float
    high: float
    estimate: float
    hidden_low: float
    hidden_high: float


def scale_of(comparison: Comparison) -> float:
    """Return the end of the axis, as a share, so that all lines fit as far as `SCALE_MAX` allows."""
    ends = [
        abs(end)
        for line in comparison.lines
        for end in (line.decision.low, line.decision.high, line.decision.change, line.decision.smallest)
        if end is not None
    ]
    return min(SCALE_MAX, max([SCALE_MIN, *ends]))


def band_of(line: Line, scale: float) -> Band:
    """Return where a line is drawn, from 0 to `WIDTH`; an infinite end is drawn at the edge."""

    def at(share: float | None, otherwise: float) -> float:
        inside = max(-scale, min(scale, otherwise if share is None else share))
        return (inside / scale + 1) / 2 * WIDTH

    found = line.decision
    smallest = scale if found.smallest is None else found.smallest
    return Band(
        at(found.low, -scale), at(found.high, scale), at(found.change, 0), at(-smallest, -scale), at(smallest, scale)
    )


def comparison_page(comparison: Comparison, sides: SideBySide | None = None) -> bytes:
    """Return the HTML page; if `sides` is given, with both runs side by side."""
    templates = page_templates(TEMPLATES)
    templates.globals.update(
        value_text=wording.value_text,
        change_text=wording.change_text,
        interval_text=wording.interval_text,
        smallest_text=wording.smallest_text,
        rounds_text=wording.rounds_text,
        legend=wording.legend,
        advice=wording.advice,
        band_of=band_of,
        class_of=CLASSES.__getitem__,
    )
    text = templates.get_template("comparison.html.jinja").render(
        comparison=comparison, status=STATUS[comparison.exit_code], scale=scale_of(comparison), width=WIDTH,
        sides=sides, percentiles=[(place, PERCENTILES[place]) for place in SHOWN],
    )  # fmt: skip
    return text.encode()
